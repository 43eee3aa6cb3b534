//! `herd models` and `herd ps`: what can be asked for, and what of it is in memory.

use proto::view::{LaneView, ModelView};

use super::{lines, typed};
use crate::World;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{Align, Table, bytes, clean, date_time, span_s, tokens};

pub(super) fn models(door: &Door, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = door.get("/fleet/models")?;
    if json {
        return lines(world, &answer);
    }
    let models: Vec<ModelView> = typed(answer)?;
    if models.is_empty() {
        let advice = "No model found. Fetch one with Ollama (`ollama pull …`), or start another inference server.";
        return Ok(writeln!(world.out, "{advice}")?);
    }
    use Align::{Left, Right};
    let several = several_nodes(models.iter().map(|model| model.node.as_str()));
    let mut columns = vec![
        ("MODEL", Left),
        ("SIZE", Right),
        ("QUANT", Left),
        ("CONTEXT", Right),
        ("LOADED", Left),
        ("BACKEND", Left),
        ("CAN", Left),
    ];
    if several {
        columns.insert(1, ("NODE", Left));
    }
    let mut table = Table::new(&columns);
    for model in &models {
        // Everything continues text; said only where there is nothing else to say of a model.
        let mut can: Vec<&str> = model.capabilities.iter().map(String::as_str).collect();
        if can.len() > 1 {
            can.retain(|capability| *capability != "completion");
        }
        let mut row = vec![
            model.name.clone(),
            model.size.map_or_else(String::new, bytes),
            model.quantization.clone().unwrap_or_default(),
            model.context_trained.map_or_else(String::new, tokens),
            if model.loaded.is_some() { "yes".to_owned() } else { String::new() },
            model.backend.clone(),
            can.join(", "),
        ];
        if several {
            row.insert(1, model.node.clone());
        }
        table.row(row);
    }
    let text = table.text("", world.paint());
    Ok(world.out.write_all(text.as_bytes())?)
}

pub(super) fn ps(door: &Door, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = door.get("/fleet/ps")?;
    if json {
        return lines(world, &answer);
    }
    let lanes: Vec<LaneView> = typed(answer)?;
    if lanes.is_empty() {
        return Ok(writeln!(world.out, "No model is in memory; the first request for one loads it.")?);
    }
    use Align::{Left, Right};
    let several = several_nodes(lanes.iter().map(|lane| lane.model.node.as_str()));
    let mut columns = vec![
        ("MODEL", Left),
        ("STATE", Left),
        ("WORK", Right),
        ("WAIT", Right),
        ("MEMORY", Right),
        ("ON GPU", Right),
        ("CONTEXT", Right),
        ("STAYS", Left),
        ("BACKEND", Left),
        ("", Left),
    ];
    if several {
        columns.insert(1, ("NODE", Left));
    }
    let mut table = Table::new(&columns);
    for lane in &lanes {
        let loaded = lane.model.loaded.as_ref();
        let on_gpu = match loaded.map(|loaded| (loaded.size_vram, loaded.size)) {
            Some((Some(vram), Some(size))) if size > 0 => {
                format!("{:.0}%", 100.0 * vram.min(size) as f64 / size as f64)
            }
            Some((Some(vram), _)) => bytes(vram),
            _ => String::new(),
        };
        let of = lane.slots.map_or_else(String::new, |slots| format!("/{slots}"));
        let mut row = vec![
            lane.model.name.clone(),
            lane.state.clone(),
            format!("{}{of}", lane.in_flight),
            if lane.waiting > 0 { lane.waiting.to_string() } else { String::new() },
            loaded.and_then(|loaded| loaded.size).map_or_else(String::new, bytes),
            on_gpu,
            loaded.and_then(|loaded| loaded.context).map_or_else(String::new, tokens),
            loaded.and_then(|loaded| loaded.expires_at.as_deref()).map_or_else(String::new, |at| stays(at, world)),
            lane.model.backend.clone(),
            lane.reason.as_deref().map(clean).unwrap_or_default(),
        ];
        if several {
            row.insert(1, lane.model.node.clone());
        }
        table.row(row);
    }
    let text = table.text("", world.paint());
    Ok(world.out.write_all(text.as_bytes())?)
}

/// Whether rows are of more than one machine: a machine alone need not be named.
fn several_nodes<'a>(mut nodes: impl Iterator<Item = &'a str>) -> bool {
    let first = nodes.next();
    nodes.any(|node| Some(node) != first)
}

/// How long a model stays that is unloaded at `at` (RFC 3339): `for 4 min`, `until 2026-12-24 18:05:09`.
fn stays(at: &str, world: &World<'_>) -> String {
    const A_DAY: u64 = 86_400;
    const A_YEAR: u64 = 365 * A_DAY;
    let Ok(at) = at.parse::<jiff::Timestamp>() else { return at.to_owned() };
    let Ok(at_s) = u64::try_from(at.as_second()) else { return "for good".to_owned() };
    match at_s.saturating_sub(world.unix_ms / 1000) {
        0 => "is about to go".to_owned(),
        left @ 1..A_DAY => format!("for {}", span_s(left)),
        // "Keep it loaded" reaches us as a date centuries away.
        A_YEAR.. => "for good".to_owned(),
        _ => date_time(at_s as f64, &world.zone).map_or_else(String::new, |at| format!("until {at}")),
    }
}
