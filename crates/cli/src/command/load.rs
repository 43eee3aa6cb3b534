//! `herd load` and `herd unload`: has a model in memory, or out of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::line;
use crate::World;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{clean, tokens};

/// Longer than the node waits for a model itself, so that it is the node that says what is the matter.
const LONGEST: Duration = Duration::from_secs(630);

pub(super) fn load(
    door: &Door,
    model: &str,
    context: Option<u64>,
    json: bool,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    writeln!(world.err, "Loading {} …", clean(model))?;
    let answer = door.post("/fleet/load", &json!({ "model": model, "context": context }), LONGEST)?;
    if json {
        return line(world, &answer);
    }
    let text = |name: &str| answer[name].as_str().map(clean).unwrap_or_default();
    let with = match answer["context"].as_u64() {
        Some(context) => format!(" with {} tokens of context", tokens(context)),
        None => String::new(),
    };
    Ok(writeln!(world.out, "{} is in memory at {}{with}.", text("model"), text("backend"))?)
}

pub(super) fn unload(door: &Door, model: &str, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    writeln!(world.err, "Unloading {} as soon as nobody uses it …", clean(model))?;
    let answer: Value = door.post("/fleet/unload", &json!({ "model": model }), LONGEST)?;
    if json {
        return line(world, &answer);
    }
    Ok(writeln!(world.out, "{} is not in memory any more.", answer["model"].as_str().map(clean).unwrap_or_default())?)
}
