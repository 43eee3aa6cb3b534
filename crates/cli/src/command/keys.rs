//! `herd keys`: with which clients on other machines are let in.

use std::time::Duration;

use proto::view::KeyView;
use serde::Deserialize;
use serde_json::json;

use super::{line, lines, typed};
use crate::World;
use crate::args::KeysCommand;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{Align, Table, Tone, clean};

/// Others are told, and what they do not hear now they hear later.
const CHANGE_WITHIN: Duration = Duration::from_secs(30);

/// A key that was just made.
#[derive(Deserialize)]
struct Made {
    key: String,
}

pub(super) fn keys(
    door: &Door,
    command: Option<KeysCommand>,
    json: bool,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    match command {
        None | Some(KeysCommand::List) => list(door, json, world),
        Some(KeysCommand::Add { name, rpm, at_once }) => {
            let answer =
                door.post("/fleet/keys", &json!({ "name": name, "rpm": rpm, "at_once": at_once }), CHANGE_WITHIN)?;
            if json {
                return line(world, &answer);
            }
            let Made { key } = typed(answer)?;
            writeln!(world.out, "{}", clean(&key))?;
            Ok(writeln!(
                world.err,
                "This is the key ‘{}’. It is shown this once: give it to the client as its API key. \
                 `herd doctor` says where clients on other machines are answered.",
                clean(name.trim())
            )?)
        }
        Some(KeysCommand::Revoke { name }) => {
            let answer = door.post("/fleet/keys/revoke", &json!({ "name": name }), CHANGE_WITHIN)?;
            if json {
                return line(world, &answer);
            }
            Ok(writeln!(world.out, "The key ‘{}’ lets nobody in any more.", clean(name.trim()))?)
        }
    }
}

fn list(door: &Door, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = door.get("/fleet/keys")?;
    if json {
        return lines(world, &answer);
    }
    let keys: Vec<KeyView> = typed(answer)?;
    if keys.is_empty() {
        return Ok(writeln!(world.out, "No key was made. `herd keys add NAME` makes one, for one client.")?);
    }
    use Align::{Left, Right};
    let mut table = Table::new(&[("KEY", Left), ("CREATED", Left), ("PER MINUTE", Right), ("AT ONCE", Right)]);
    let limit = |limit: Option<u32>| limit.map_or_else(|| "any".to_owned(), |limit| limit.to_string());
    for KeyView { name, created, rpm, at_once } in keys {
        table.toned([
            (Tone::Plain, name),
            (Tone::Plain, created),
            (Tone::Plain, limit(rpm)),
            (Tone::Plain, limit(at_once)),
        ]);
    }
    Ok(world.out.write_all(table.text("", world.paint()).as_bytes())?)
}
