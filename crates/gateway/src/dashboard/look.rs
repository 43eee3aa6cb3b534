//! Everything that the overview shows, as one JSON object. Each part is looked at as often as it is worth.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use proto::Moment;
use serde_json::{Map, Value, json};

use super::merge::without_nulls;
use crate::door::Door;
use crate::fleet::View;

/// Requests of the history that are shown.
const TRACES: usize = 30;
/// How soon a request that has ended is shown: reading the history is not free.
const TRACES_AT_MOST_EACH: Duration = Duration::from_millis(500);

/// What was seen, and when.
#[derive(Default)]
pub(super) struct Parts {
    seen: BTreeMap<&'static str, (Moment, Value)>,
    /// Requests that had ended when the history was read.
    ended: u64,
}

/// A part, where it is seen, and for how long that will do.
fn parts() -> [(&'static str, View, Duration); 11] {
    let every = Duration::from_millis;
    [
        ("self", View::Status, every(0)),
        ("lanes", View::Loaded, every(0)),
        ("queue", View::FleetQueue, every(0)),
        ("status", View::FleetStatus, every(1_000)),
        ("nodes", View::Nodes, every(1_000)),
        ("leader", View::Leader, every(1_000)),
        ("models", View::Models, every(2_000)),
        ("devices", View::Devices, every(2_000)),
        ("traces", View::Traces(TRACES), every(5_000)),
        ("doctor", View::Doctor, every(10_000)),
        ("totals", View::Overview, every(15_000)),
    ]
}

impl Parts {
    /// Looks at all that is old by now, and tells everything. What cannot be seen is absent.
    pub(super) async fn look(&mut self, door: &Door, now: Moment) -> Map<String, Value> {
        let ended = door.metrics().all_ended();
        let due = parts().into_iter().filter(|(name, _, lasts)| match self.seen.get(name) {
            None => true,
            Some((at, _)) if *name == "traces" && ended != self.ended => now.since(*at) >= TRACES_AT_MOST_EACH,
            Some((at, _)) => now.since(*at) >= *lasts,
        });
        let looks = due.map(|(name, view, _)| async move { (name, door.fleet().view(view).await) });
        for (name, seen) in join_all(looks).await {
            if name == "traces" {
                self.ended = ended;
            }
            let value = seen.ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or(Value::Null);
            self.seen.insert(name, (now, value));
        }
        self.compose()
    }

    fn compose(&self) -> Map<String, Value> {
        let part = |name| self.seen.get(name).map_or(Value::Null, |(_, value): &(Moment, Value)| value.clone());
        let (mut own, status) = (part("self"), part("status"));
        // What changes all the time without anything having happened would be news for ever.
        if let Some(uptime) = own["uptime_s"].as_u64() {
            own["uptime_s"] = json!(uptime / 60 * 60);
        }
        let mut queue = part("queue");
        if let Some(queue) = queue.as_object_mut() {
            queue.remove("timestamp");
        }
        let mut doctor = part("doctor");
        if let Some(checks) = doctor.as_array_mut() {
            checks.retain(|check| check["state"] != "ok");
        }
        let mut whole = json!({
            "fleet": status["fleet"], "leader": part("leader"), "nodes": nodes(part("nodes"), &status, &own),
            "share": own["share"], "models": part("models"), "lanes": part("lanes"), "queue": queue,
            "devices": part("devices"), "traces": part("traces")["traces"], "totals": part("totals"), "doctor": doctor,
        });
        whole["self"] = own;
        without_nulls(&mut whole);
        match whole {
            Value::Object(whole) => whole,
            _ => Map::new(),
        }
    }
}

/// The rows of the machines, each with its servers and how busy it is.
fn nodes(mut rows: Value, status: &Value, own: &Value) -> Value {
    for row in rows.as_array_mut().into_iter().flatten() {
        // Of a machine that is heard, the fractions of a second since would be news for ever.
        if row["presence"] == "here" {
            row["silent_for_s"] = Value::Null;
        }
        let known = status["nodes"].as_array().into_iter().flatten().find(|known| known["node_key"] == row["id"]);
        let (servers, in_flight, queued) = match (row["self"] == true, known) {
            (true, _) => (&own["backends"], &own["in_flight"], &own["queued"]),
            (false, Some(known)) => {
                (&known["backends"], &known["ollama"]["requests_active"], &known["requests_queued"])
            }
            (false, None) => continue,
        };
        row["backends"] = servers.clone();
        row["in_flight"] = in_flight.clone();
        row["queued"] = queued.clone();
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_told_with_how_busy_they_are() {
        let rows = json!([
            { "id": "a", "self": true },
            { "id": "b", "self": false, "presence": "gone", "silent_for_s": 4.2 },
            { "id": "c", "self": false, "presence": "here", "silent_for_s": 0.3 },
        ]);
        let status = json!({ "nodes": [
            { "node_key": "a", "backends": [], "ollama": { "requests_active": 9 } },
            { "node_key": "b", "backends": [{ "id": "ollama" }], "ollama": { "requests_active": 2 }, "requests_queued": 1 },
        ] });
        let own = json!({ "backends": [{ "id": "x" }], "in_flight": 1, "queued": 0 });
        let mut rows = nodes(rows, &status, &own);
        without_nulls(&mut rows);
        assert_eq!(
            rows,
            json!([
                { "id": "a", "self": true, "backends": [{ "id": "x" }], "in_flight": 1, "queued": 0 },
                { "id": "b", "self": false, "presence": "gone", "silent_for_s": 4.2, "backends": [{ "id": "ollama" }], "in_flight": 2, "queued": 1 },
                { "id": "c", "self": false, "presence": "here" },
            ])
        );
    }

    #[test]
    fn time_that_passes_is_no_news() {
        let mut parts = Parts::default();
        let mut seen = |uptime: u64, timestamp: f64| {
            parts.seen.insert("self", (Moment::default(), json!({ "uptime_s": uptime, "leader": null })));
            parts.seen.insert("queue", (Moment::default(), json!({ "pending": 0, "timestamp": timestamp })));
            parts.compose()
        };
        assert_eq!(seen(61, 1.0), seen(119, 2.0));
        assert_eq!(Value::Object(seen(61, 1.0)), json!({ "queue": { "pending": 0 }, "self": { "uptime_s": 60 } }));
    }
}
