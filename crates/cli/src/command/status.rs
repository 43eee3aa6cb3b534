//! `herd status`: a short paragraph, and a table of the backends.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proto::view::{BackendView, NodeView, StatusView};
use proto::{Health, Link};

use super::nodes::presence;
use super::{line, typed};
use crate::World;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{Align, Paint, Table, Tone, clean, count, date_time, sentence, span_s};

pub(super) fn status(door: &Door, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = door.get("/fleet/self")?;
    if json {
        return line(world, &answer);
    }
    let status: StatusView = typed(answer)?;
    let fleet = if status.nodes > 1 { others(door) } else { Others::default() };
    let text = told(&status, &fleet, world.paint(), &world.zone);
    Ok(world.out.write_all(text.as_bytes())?)
}

/// What is told of the fleet around this machine, where it can be read.
#[derive(Default)]
struct Others {
    name: Option<String>,
    nodes: Vec<NodeView>,
}

fn others(door: &Door) -> Others {
    let status = door.get("/fleet/status").unwrap_or_default();
    let name = status["fleet"]["name"].as_str().map(clean).filter(|name| !name.is_empty());
    Others { name, nodes: door.get("/fleet/nodes").and_then(typed).unwrap_or_default() }
}

fn told(status: &StatusView, fleet: &Others, paint: Paint, zone: &TimeZone) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let name = paint.paint(Tone::Heading, &clean(&status.name));
    let up = span_s(status.uptime_s);
    say(format!("{name} {} (Herd {}, up {up}).", doing(status), clean(&status.version)));
    if status.share.state != "on" {
        let until = status.share.until.as_deref().and_then(|until| until.parse::<Timestamp>().ok());
        let until = until.and_then(|until| date_time(until.as_second() as f64, zone));
        let until = until.map_or_else(String::new, |until| format!(" This ends at {until}."));
        say(paint.paint(Tone::Warning, &format!("{}{until}", sentence(&status.share.reason))));
    }
    say(format!("{} Apps reach it at {}.", working(status), reached_at(status)));
    if status.nodes > 1 {
        let leader = match &status.leader {
            Some(leader) if leader.is_self => "this one leads".to_owned(),
            Some(leader) => format!("{} leads", clean(&leader.name)),
            None => "nobody leads".to_owned(),
        };
        let name = fleet.name.as_ref().map_or_else(String::new, |name| format!(" ‘{name}’"));
        say(format!("The fleet{name} has {} machines; {leader}.", status.nodes));
        let missing: Vec<String> = fleet
            .nodes
            .iter()
            .filter(|node| node.presence != "here")
            .map(|node| format!("‘{}’ is {}", clean(&node.name), presence(&node.presence).1))
            .collect();
        if !missing.is_empty() {
            say(paint.paint(Tone::Warning, &format!("{}; see `herd nodes`.", clean(&missing.join(", ")))));
        }
    }
    say(format!("Its database and logs are in {}.", clean(&status.data_dir)));
    say(String::new());
    if status.backends.is_empty() {
        say("No inference server found. Start Ollama, or name a server: herd serve --backend URL".to_owned());
    } else {
        text.push_str(&backends(&status.backends).text("", paint));
    }
    text
}

fn doing(status: &StatusView) -> String {
    let models = count(status.models.into(), "model", "models");
    let up = status.backends.iter().filter(|backend| backend.health.is_up()).count();
    let servers = count(up as u64, "inference server", "inference servers");
    match status.share.state.as_str() {
        "on" if up == 0 => "is ready, but no inference server answers".to_owned(),
        "on" => format!("serves {models} from {servers}"),
        "draining" if status.share.code == "finishing" => "is finishing its work before it pauses".to_owned(),
        "draining" => "is finishing its work before it stops".to_owned(),
        "off" => "shares nothing".to_owned(),
        state => format!("is {}", clean(state)),
    }
}

fn working(status: &StatusView) -> String {
    match (status.in_flight, status.queued) {
        (0, 0) => "No request is running.".to_owned(),
        (running, 0) => sentence(&format!("{} running", is_are(running))),
        (running, queued) => sentence(&format!("{} running, {} waiting for a slot", is_are(running), queued)),
    }
}

fn is_are(requests: u32) -> String {
    let requests_text = count(requests.into(), "request", "requests");
    if requests == 1 { format!("{requests_text} is") } else { format!("{requests_text} are") }
}

fn reached_at(status: &StatusView) -> String {
    match status.listening.first() {
        Some(address) => format!("http://{}", clean(address)),
        None => "no address".to_owned(),
    }
}

fn backends(backends: &[BackendView]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("BACKEND", Left),
        ("STATE", Left),
        ("MODELS", Right),
        ("LOADED", Right),
        ("BUSY", Right),
        ("WHERE", Left),
        ("NOTE", Left),
    ]);
    for backend in backends {
        let (tone, state, reason) = match &backend.health {
            Health::Up => (Tone::Good, "up", ""),
            Health::Loading => (Tone::Warning, "loading", ""),
            Health::Hung => (Tone::Bad, "hung", "accepts connections, does not answer"),
            Health::Down { reason } => (Tone::Bad, "down", reason.as_str()),
        };
        let version = backend.version.as_deref().unwrap_or("");
        let busy = match backend.slots {
            Some(slots) => format!("{} of {slots}", backend.in_flight),
            None => backend.in_flight.to_string(),
        };
        let open = if backend.link == Link::Unencrypted { "not encrypted" } else { "" };
        let notes: Vec<&str> = [reason, open].into_iter().filter(|note| !note.is_empty()).collect();
        table.toned([
            (Tone::Plain, format!("{} {version}", backend.id).trim_end().to_owned()),
            (tone, state.to_owned()),
            (Tone::Plain, backend.models.to_string()),
            (Tone::Plain, backend.loaded.to_string()),
            (Tone::Plain, busy),
            (Tone::Plain, backend.url.clone()),
            (Tone::Warning, notes.join("; ")),
        ]);
    }
    table
}
