//! `herd traces`: the latest requests, one line each.

use proto::view::TraceView;

use super::{lines, not_understood, typed};
use crate::World;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{Align, Table, Tone, age, duration_ms};

pub(super) fn traces(door: &Door, n: u16, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let mut answer = door.get(&format!("/dashboard/api/traces?limit={n}"))?;
    let list = answer.get_mut("traces").map(serde_json::Value::take).ok_or_else(|| not_understood("no `traces`"))?;
    if json {
        return lines(world, &list);
    }
    let traces: Vec<TraceView> = typed(list)?;
    if traces.is_empty() {
        let advice = "No request yet. Point an app at the address that `herd status` shows.";
        return Ok(writeln!(world.out, "{advice}")?);
    }
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("REQUEST", Left),
        ("WHEN", Left),
        ("MODEL", Left),
        ("NODE", Left),
        ("FIRST", Right),
        ("TOTAL", Right),
        ("TOKENS", Right),
        ("END", Left),
    ]);
    for trace in &traces {
        let tokens = match (trace.prompt_tokens, trace.completion_tokens) {
            (None, None) => String::new(),
            (prompt, answer) => format!("{}+{}", prompt.unwrap_or(0), answer.unwrap_or(0)),
        };
        let (tone, end) = ended(&trace.status);
        table.toned([
            (Tone::Plain, trace.request_id.clone()),
            (Tone::Plain, age(trace.timestamp, world.unix_ms)),
            (Tone::Plain, trace.model.clone()),
            (Tone::Plain, trace.node_id.clone()),
            (Tone::Plain, trace.time_to_first_token_ms.map_or_else(String::new, duration_ms)),
            (Tone::Plain, trace.latency_ms.map_or_else(String::new, duration_ms)),
            (Tone::Plain, tokens),
            (tone, end.to_owned()),
        ]);
    }
    let text = table.text("", world.paint());
    Ok(world.out.write_all(text.as_bytes())?)
}

/// The shortest word for how a request ended.
fn ended(status: &str) -> (Tone, &str) {
    match status {
        "completed" => (Tone::Good, "ok"),
        "client_disconnected" => (Tone::Faint, "client left"),
        "incomplete" => (Tone::Bad, "broke off"),
        "rejected" => (Tone::Warning, "refused"),
        "failed" => (Tone::Bad, "failed"),
        other => (Tone::Plain, other),
    }
}
