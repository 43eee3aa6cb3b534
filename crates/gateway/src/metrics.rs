//! Counters and histograms of the door, and `/metrics` in Prometheus' text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proto::{Outcome, Trace};

use crate::fleet::Gauges;

/// Upper bounds of the histograms' buckets, in seconds.
const BOUNDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

const OUTCOMES: [Outcome; 5] =
    [Outcome::Completed, Outcome::Failed, Outcome::ClientDisconnected, Outcome::Incomplete, Outcome::Rejected];

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    fn observe(&self, seconds: f64) {
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add((seconds * 1e6) as u64, Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            below += bucket.load(Relaxed);
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        below += self.buckets[BOUNDS.len()].load(Relaxed);
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {below}");
        let _ = writeln!(text, "{name}_sum {}", self.sum_us.load(Relaxed) as f64 / 1e6);
        let _ = writeln!(text, "{name}_count {below}");
    }
}

/// What the door counts. Counters only ever grow and are lost with the process, as Prometheus expects.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    open: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES.len()],
    retries: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    response_bytes: AtomicU64,
    denied: AtomicU64,
    connections: AtomicU64,
    duration: Histogram,
    ttft: Histogram,
}

impl Metrics {
    pub(crate) fn begun(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn denied(&self) {
        self.denied.fetch_add(1, Relaxed);
    }

    pub(crate) fn connected(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn disconnected(&self) {
        self.connections.fetch_sub(1, Relaxed);
    }

    pub(crate) fn ended(&self, trace: &Trace) {
        self.open.fetch_sub(1, Relaxed);
        let outcome = OUTCOMES.iter().position(|outcome| *outcome == trace.outcome).unwrap_or(0);
        self.outcomes[outcome].fetch_add(1, Relaxed);
        self.prompt_tokens.fetch_add(trace.prompt_tokens.unwrap_or(0), Relaxed);
        self.completion_tokens.fetch_add(trace.completion_tokens.unwrap_or(0), Relaxed);
        self.response_bytes.fetch_add(trace.response_bytes, Relaxed);
        self.duration.observe(trace.latency_ms / 1e3);
        if let Some(ttft_ms) = trace.ttft_ms {
            self.ttft.observe(ttft_ms / 1e3);
        }
    }

    /// Requests that have ended, however they did.
    pub(crate) fn all_ended(&self) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.load(Relaxed)).sum()
    }

    /// Everything in Prometheus' text exposition format, version 0.0.4.
    pub(crate) fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::with_capacity(4096);
        let mut number = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        number(
            "herd_requests_open",
            "gauge",
            "Inference requests that came in and have not ended.",
            self.open.load(Relaxed),
        );
        number("herd_requests_in_flight", "gauge", "Requests that a backend is working on.", gauges.in_flight);
        number("herd_requests_queued", "gauge", "Requests that wait for a slot.", gauges.queued);
        number("herd_client_connections", "gauge", "Open connections of clients.", self.connections.load(Relaxed));
        number("herd_retries_total", "counter", "Attempts that failed before any content.", self.retries.load(Relaxed));
        number("herd_denied_total", "counter", "Requests refused for their Host or Origin.", self.denied.load(Relaxed));
        number(
            "herd_prompt_tokens_total",
            "counter",
            "Tokens of prompts, as backends counted them.",
            self.prompt_tokens.load(Relaxed),
        );
        number(
            "herd_completion_tokens_total",
            "counter",
            "Tokens of answers, as backends counted them.",
            self.completion_tokens.load(Relaxed),
        );
        number(
            "herd_response_bytes_total",
            "counter",
            "Bytes of answers sent to clients.",
            self.response_bytes.load(Relaxed),
        );
        number(
            "herd_traces_dropped_total",
            "counter",
            "Trace rows not stored because the writer was behind.",
            gauges.traces_dropped,
        );
        let _ = writeln!(
            text,
            "# HELP herd_requests_total Inference requests by how they ended.\n# TYPE herd_requests_total counter"
        );
        for (outcome, count) in OUTCOMES.iter().zip(&self.outcomes) {
            let _ = writeln!(text, "herd_requests_total{{outcome=\"{}\"}} {}", outcome.as_str(), count.load(Relaxed));
        }
        let _ = writeln!(text, "# HELP herd_backend_up Whether a backend answers.\n# TYPE herd_backend_up gauge");
        for (name, up, _, _) in &gauges.backends {
            let _ = writeln!(text, "herd_backend_up{{backend=\"{}\"}} {}", label(name), u8::from(*up));
        }
        let _ = writeln!(
            text,
            "# HELP herd_backend_in_flight Requests that a backend is working on.\n# TYPE herd_backend_in_flight gauge"
        );
        for (name, _, in_flight, _) in &gauges.backends {
            let _ = writeln!(text, "herd_backend_in_flight{{backend=\"{}\"}} {in_flight}", label(name));
        }
        let _ =
            writeln!(text, "# HELP herd_backend_models Models that a backend has.\n# TYPE herd_backend_models gauge");
        for (name, _, _, models) in &gauges.backends {
            let _ = writeln!(text, "herd_backend_models{{backend=\"{}\"}} {models}", label(name));
        }
        self.duration.write(&mut text, "herd_request_duration_seconds", "From arrival to the end of the answer.");
        self.ttft.write(&mut text, "herd_time_to_first_token_seconds", "From arrival to the first content.");
        text
    }
}

fn label(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let histogram = Histogram::default();
        for seconds in [0.0005, 0.02, 500.0] {
            histogram.observe(seconds);
        }
        let mut text = String::new();
        histogram.write(&mut text, "x", "help");
        assert!(text.contains("x_bucket{le=\"0.001\"} 1\n"), "{text}");
        assert!(text.contains("x_bucket{le=\"120\"} 2\n"), "{text}");
        assert!(text.contains("x_bucket{le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.contains("x_count 3\n"), "{text}");
    }

    #[test]
    fn names_cannot_break_the_format() {
        let gauges = Gauges { backends: vec![("a\"b\n\\".to_owned(), true, 1, 2)], ..Gauges::default() };
        let text = Metrics::default().text(&gauges);
        assert!(text.contains(r#"herd_backend_up{backend="a\"b\n\\"} 1"#), "{text}");
    }
}
