//! The stand-in's own routes under /_fake, which no real server has.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use crate::answer::{JSON, Payload, Reply, reply};
use crate::fake::Fake;
use crate::faults::{Fault, MOST};
use crate::text;

/// Answers a request under /_fake.
pub(crate) fn answer(fake: &Fake, method: &str, path: &str, body: &[u8]) -> Reply {
    match (method, path) {
        ("GET", "/_fake/faults") => {
            let faults = fake.faults.lock().unwrap_or_else(PoisonError::into_inner);
            told(200, &json!(faults.list()))
        }
        ("POST", "/_fake/faults") => match serde_json::from_slice::<Fault>(body) {
            Ok(fault) => {
                let set = fake.faults.lock().unwrap_or_else(PoisonError::into_inner).set(fault);
                if set { told(200, &json!({})) } else { told(409, &json!({"error": format!("{MOST} faults are set")})) }
            }
            Err(error) => told(400, &json!({"error": error.to_string()})),
        },
        ("DELETE", "/_fake/faults") => {
            fake.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
            told(200, &json!({}))
        }
        ("GET", "/_fake/requests") => told(200, &fake.log.json()),
        ("DELETE", "/_fake/requests") => {
            fake.log.clear();
            told(200, &json!({}))
        }
        ("GET", "/_fake/state") => told(200, &state(fake)),
        _ => told(404, &json!({"error": "no such control"})),
    }
}

/// Per model, since the start: what runs, what waits, and what was done.
fn state(fake: &Fake) -> Value {
    let mut models = Map::new();
    let mut all = [0u64; 3];
    for (name, tally) in fake.scheduler.tallies() {
        let tokens = tally.tokens.load(Ordering::Relaxed);
        let in_flight = tally.in_flight.load(Ordering::Relaxed);
        let queued = tally.queued.load(Ordering::Relaxed);
        all = [all[0] + tokens, all[1] + in_flight, all[2] + queued];
        models.insert(
            name,
            json!({
                "in_flight": in_flight,
                "queued": queued,
                "starts": tally.starts.load(Ordering::Relaxed),
                "loads": tally.loads.load(Ordering::Relaxed),
                "evictions": tally.evictions.load(Ordering::Relaxed),
                "tokens": tokens,
            }),
        );
    }
    let loaded: Vec<String> = fake.scheduler.running().iter().map(|running| running.model.name.short()).collect();
    json!({"models": models, "loaded": loaded, "tokens": all[0], "in_flight": all[1], "queued": all[2],
        "pending": fake.scheduler.pending()})
}

fn told(status: u16, value: &Value) -> Reply {
    reply(status, JSON, Payload::whole(text::json(value)))
}
