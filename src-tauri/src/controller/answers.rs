//! What Herd last said, and when each of its answers is old.

use std::time::Duration;

use proto::Moment;
use serde_json::Value;
use tray::{Answers, Local, Running};

use crate::client::{Client, Fault};

/// How old the list of machines may become.
const NODES: Duration = Duration::from_secs(10);
/// How old what the doctor says may become.
const DOCTOR: Duration = Duration::from_secs(60);
/// How old the last requests may become.
const TRACES: Duration = Duration::from_secs(10);

/// The answers.
#[derive(Default)]
pub(super) struct Known {
    status: Value,
    share: Value,
    nodes: Aged,
    doctor: Aged,
    traces: Aged,
    /// The time of the newest request that was looked at, in seconds since 1970.
    looked_at: Option<f64>,
    /// Models of requests that failed for want of machines, not yet told.
    starved: Vec<String>,
}

/// An answer, and when it came.
#[derive(Default)]
struct Aged {
    value: Value,
    came: Option<Moment>,
}

impl Aged {
    /// Asks again if the answer is older than `most`. One that does not come leaves the old one: it may be of a Herd that
    /// does not know the question.
    async fn refresh(&mut self, client: &Client, path: &str, now: Moment, most: Duration) -> bool {
        if self.came.is_some_and(|came| now.since(came) < most) {
            return false;
        }
        self.came = Some(now);
        match client.get(path).await {
            Ok(value) => {
                self.value = value;
                true
            }
            Err(_) => false,
        }
    }
}

impl Known {
    /// Asks for what is old. The error is that of the one answer that must come.
    pub(super) async fn refresh(&mut self, client: &Client, now: Moment, wants_traces: bool) -> Result<(), Fault> {
        self.status = client.get("/fleet/self").await?;
        // A Herd without this question has its short answer in the status.
        self.share = client.get("/fleet/share").await.unwrap_or(Value::Null);
        self.nodes.refresh(client, "/fleet/nodes", now, NODES).await;
        self.doctor.refresh(client, "/fleet/doctor", now, DOCTOR).await;
        if wants_traces && self.traces.refresh(client, "/dashboard/api/traces?limit=20", now, TRACES).await {
            self.look_for_starved();
        }
        Ok(())
    }

    /// Everything is old: something was done.
    pub(super) fn forget(&mut self) {
        self.nodes.came = None;
        self.doctor.came = None;
    }

    /// What the answers say.
    pub(super) fn running(&self, local: Local<'_>) -> Option<Running> {
        let answers = Answers {
            status: &self.status,
            share: &self.share,
            nodes: &self.nodes.value,
            doctor: &self.doctor.value,
            asking: &self.status["asking"],
        };
        Running::read(answers, local)
    }

    /// The models of requests that failed for want of machines since this was last asked.
    pub(super) fn starved(&mut self) -> Vec<String> {
        std::mem::take(&mut self.starved)
    }

    fn look_for_starved(&mut self) {
        let traces = self.traces.value["traces"].as_array().map(Vec::as_slice).unwrap_or_default();
        let time = |trace: &Value| trace["timestamp"].as_f64().unwrap_or_default();
        let newest = traces.iter().map(time).fold(self.looked_at.unwrap_or_default(), f64::max);
        // What failed before the app was started is no news.
        if let Some(looked_at) = self.looked_at {
            let wanting = |trace: &&Value| trace["http_status"] == 503 && time(trace) > looked_at;
            let models = traces.iter().filter(wanting).filter_map(|trace| trace["original_model"].as_str());
            self.starved = models.map(str::to_owned).collect();
        }
        self.looked_at = Some(newest);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_new_failures_for_want_of_machines_are_news() {
        let trace = |time: f64, status: u16, model: &str| json!({ "timestamp": time, "http_status": status, "original_model": model });
        let mut known = Known::default();
        for (traces, expected) in [
            (vec![trace(1.0, 503, "before the start")], vec![]),
            (vec![trace(2.0, 200, "a"), trace(1.0, 503, "before the start")], vec![]),
            (vec![trace(4.0, 404, "b"), trace(3.0, 503, "c"), trace(1.0, 503, "before the start")], vec!["c"]),
            (vec![trace(4.0, 404, "b"), trace(3.0, 503, "c")], vec![]),
        ] {
            known.traces.value = json!({ "traces": traces });
            known.look_for_starved();
            assert_eq!(known.starved(), expected);
        }
    }
}
