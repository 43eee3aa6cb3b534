//! `herd nodes`, `herd devices` and `herd leader`: the machines of the fleet.

use proto::view::{DeviceView, LeaderView, NodeView};

use super::{line, lines, typed};
use crate::World;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{Align, Table, Tone, clean, duration_ms, span_s};

/// Characters of an identity that are enough for people, as in the log.
const SHORT_ID: usize = 8;

pub(super) fn nodes(door: &Door, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = door.get("/fleet/nodes")?;
    if json {
        return lines(world, &answer);
    }
    let nodes: Vec<NodeView> = typed(answer)?;
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("NODE", Left),
        ("STATE", Left),
        ("MODELS", Right),
        ("LOADED", Right),
        ("HERD", Left),
        ("ROUND TRIP", Right),
        ("WHERE", Left),
        ("NOTE", Left),
    ]);
    let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
    for node in &nodes {
        let (tone, state) = presence(&node.presence);
        table.toned([
            (Tone::Plain, node.name.clone()),
            (tone, state.to_owned()),
            (Tone::Plain, number(node.models)),
            (Tone::Plain, number(node.loaded)),
            (Tone::Plain, node.version.clone().unwrap_or_default()),
            (Tone::Plain, node.rtt_ms.map_or_else(String::new, duration_ms)),
            (Tone::Plain, node.address.clone().unwrap_or_default()),
            (Tone::Plain, note(node)),
        ]);
    }
    world.out.write_all(table.text("", world.paint()).as_bytes())?;
    if nodes.len() <= 1 {
        writeln!(world.out, "This machine is alone. `herd pair` shows a code with which another one joins.")?;
    }
    Ok(())
}

pub(super) fn devices(door: &Door, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = door.get("/fleet/devices")?;
    if json {
        return lines(world, &answer);
    }
    let devices: Vec<DeviceView> = typed(answer)?;
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("JOINED", Right),
        ("DEVICE", Left),
        ("ROLE", Left),
        ("STATE", Left),
        ("ID", Left),
        ("NOTE", Left),
    ]);
    for device in &devices {
        let (tone, state) = presence(&device.presence);
        table.toned([
            (Tone::Plain, device.seniority.to_string()),
            (Tone::Plain, device.name.clone()),
            (Tone::Plain, device.role.clone()),
            (tone, state.to_owned()),
            (Tone::Plain, device.id.chars().take(SHORT_ID).collect()),
            (Tone::Plain, if device.is_self { "this machine".to_owned() } else { String::new() }),
        ]);
    }
    world.out.write_all(table.text("", world.paint()).as_bytes())?;
    if devices.len() <= 1 {
        writeln!(world.out, "No other machine has joined. `herd pair` shows a code with which one does.")?;
    }
    Ok(())
}

pub(super) fn leader(door: &Door, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = door.get("/fleet/leader")?;
    if json {
        return line(world, &answer);
    }
    let leader: Option<LeaderView> = typed(answer)?;
    Ok(match leader {
        Some(leader) if leader.is_self => {
            writeln!(world.out, "This machine, ‘{}’, leads the fleet.", clean(&leader.name))
        }
        Some(leader) => writeln!(world.out, "‘{}’ leads the fleet.", clean(&leader.name)),
        None => writeln!(world.out, "No machine leads the fleet now. `herd nodes` shows which are here."),
    }?)
}

/// The word for where a machine is, and its colour.
pub(super) fn presence(presence: &str) -> (Tone, &str) {
    match presence {
        "here" => (Tone::Good, "here"),
        "elsewhere" => (Tone::Warning, "elsewhere"),
        "left" => (Tone::Faint, "left"),
        "gone" => (Tone::Bad, "gone"),
        other => (Tone::Plain, other),
    }
}

fn note(node: &NodeView) -> String {
    let mut notes = Vec::new();
    if node.is_self {
        notes.push("this machine".to_owned());
    }
    if node.leads {
        notes.push("leads".to_owned());
    }
    if let Some(share) = node.share.as_ref().filter(|share| share.state != "on") {
        let reason = share.reason.trim_end_matches('.');
        notes.push(if reason.is_empty() { share.state.clone() } else { format!("{}: {reason}", share.state) });
    }
    if node.presence == "elsewhere" {
        notes.push("only others hear it".to_owned());
    }
    if let Some(silent) = node.silent_for_s.filter(|_| node.presence == "gone") {
        // Negative or beyond u64 saturates in the cast.
        notes.push(format!("silent for {}", span_s(silent as u64)));
    }
    notes.extend(node.trouble.clone());
    notes.join("; ")
}
