//! `herd join`, `leave`, `remove`, `rename` and `fleet new`: who belongs to the fleet, and under which name.

use std::time::Duration;

use serde_json::{Value, json};

use super::ask::confirm;
use super::line;
use crate::World;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::clean;

/// A code is good for three minutes, in which somebody has to say yes; then the fleet is handed over.
const JOIN_WITHIN: Duration = Duration::from_secs(240);
/// Others are told, and what they do not hear now they hear later.
const CHANGE_WITHIN: Duration = Duration::from_secs(30);
/// Names that are told one by one.
const NAMED: usize = 8;

pub(super) fn join(
    door: &Door,
    code: &str,
    address: Option<&str>,
    json: bool,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let at = address.map_or_else(String::new, |address| format!(" at {}", clean(address)));
    writeln!(world.err, "Looking for the machine that shows this code{at}; somebody there may have to agree …")?;
    let answer = door.post("/fleet/join", &json!({ "code": code, "address": address }), JOIN_WITHIN)?;
    if json {
        return line(world, &answer);
    }
    let fleet = named(&answer);
    let members = listed(&answer["members"]).map_or_else(String::new, |names| format!(" with {names}"));
    Ok(writeln!(world.out, "This machine is in the fleet{fleet} now{members}. `herd nodes` shows how they are doing.")?)
}

pub(super) fn leave(door: &Door, yes: bool, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    confirm("Leave the fleet? This machine works alone afterwards.", yes, json, world)?;
    let answer = door.post("/fleet/leave", &json!({}), CHANGE_WITHIN)?;
    let done = "This machine has left the fleet and works alone now. `herd join CODE` brings it into one.";
    told(&answer, done, json, world)
}

pub(super) fn remove(door: &Door, name: &str, yes: bool, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let shown = clean(name);
    confirm(
        &format!("Remove ‘{shown}’ from the fleet? It is cut off at once, and needs a new code to come back."),
        yes,
        json,
        world,
    )?;
    let answer = door.post("/fleet/remove", &json!({ "device": name }), CHANGE_WITHIN)?;
    let done = format!("‘{shown}’ does not belong to the fleet any more. `herd devices` shows who does.");
    told(&answer, &done, json, world)
}

pub(super) fn rename(door: &Door, name: &str, new: &str, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = door.post("/fleet/rename", &json!({ "device": name, "name": new }), CHANGE_WITHIN)?;
    told(&answer, &format!("‘{}’ is called ‘{}’ from now on.", clean(name), clean(new.trim())), json, world)
}

pub(super) fn new_fleet(
    door: &Door,
    name: Option<&str>,
    yes: bool,
    json: bool,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let question = "Begin a new fleet with this machine alone? All others must be let in again.";
    confirm(question, yes, json, world)?;
    let answer = door.post("/fleet/new", &json!({ "name": name }), CHANGE_WITHIN)?;
    let fleet = named(&answer);
    let others = listed(&answer["pair_again"]).unwrap_or_else(|| "others".to_owned());
    let done = format!("A new fleet{fleet} begins with this machine alone. Let {others} in with `herd pair`.");
    told(&answer, &done, json, world)
}

fn told(answer: &Value, sentence: &str, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    if json {
        return line(world, answer);
    }
    Ok(writeln!(world.out, "{sentence}")?)
}

/// ` ‘Home’`, the fleet's name where the answer has one.
fn named(answer: &Value) -> String {
    let name = answer["fleet"]["name"].as_str().map(clean).filter(|name| !name.is_empty());
    name.map_or_else(String::new, |name| format!(" ‘{name}’"))
}

/// `den, studio and 3 more`: names, or things that have one.
fn listed(list: &Value) -> Option<String> {
    let names = list.as_array()?.iter().filter_map(|entry| entry.as_str().or_else(|| entry["name"].as_str()));
    let names: Vec<String> = names.map(clean).collect();
    let (named, more) = names.split_at(names.len().min(NAMED));
    let (last, first) = named.split_last()?;
    Some(match (first, more.len()) {
        ([], 0) => last.clone(),
        (first, 0) => format!("{} and {last}", first.join(", ")),
        (_, more) => format!("{} and {more} more", named.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_up_to_a_point() {
        let many = "abcdefghij";
        for (count, told) in [
            (0, None),
            (1, Some("a")),
            (2, Some("a and b")),
            (3, Some("a, b and c")),
            (10, Some("a, b, c, d, e, f, g, h and 2 more")),
        ] {
            let list: Vec<Value> = many.chars().take(count).map(|name| json!({"id": "x", "name": name})).collect();
            assert_eq!(listed(&json!(list)).as_deref(), told);
        }
        assert_eq!(listed(&json!(["a", "b\u{7}"])).as_deref(), Some("a and b"));
        assert_eq!(listed(&Value::Null), None);
    }
}
