//! How fast models have been, from what is on record: a start for whoever predicts.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::read::{Cells, ReadError};

/// Newest requests that are looked at.
const LOOKED_AT: i64 = 10_000;

/// Newest requests of one model on one backend that count.
const COUNTED: usize = 64;

/// Fewest tokens whose time says something: of shorter prompts and answers the time is mostly something else's.
const LEAST_PROMPT: u64 = 128;
const LEAST_ANSWER: u64 = 8;

/// How fast one model of one backend has been.
#[derive(Clone, Debug, PartialEq)]
pub struct Speed {
    /// The identity of its node.
    pub node_key: String,
    /// The backend there.
    pub backend: String,
    /// The model.
    pub model: String,
    /// Tokens of a prompt per second, as a median. What a server still knew of a conversation counts as read.
    pub prefill: Option<f64>,
    /// Tokens of an answer per second, as a median.
    pub decode: Option<f64>,
}

/// The speeds of all models that answered at or after `since` (Unix seconds).
pub(crate) fn speeds(connection: &Connection, since: f64) -> Result<Vec<Speed>, ReadError> {
    let mut statement = connection.prepare(
        "SELECT node_key, backend, model, prompt_tokens, completion_tokens, latency_ms, time_to_first_token_ms,
                ifnull(queued_ms, 0)
         FROM request_traces
         WHERE timestamp >= ?1 AND status = 'completed' AND node_key IS NOT NULL AND backend IS NOT NULL
         ORDER BY timestamp DESC LIMIT ?2",
    )?;
    let mut samples: BTreeMap<[String; 3], [Vec<f64>; 2]> = BTreeMap::new();
    let mut rows = statement.query((since, LOOKED_AT))?;
    while let Some(row) = rows.next()? {
        let cells = Cells(row);
        let key = [0, 1, 2].map(|at| cells.text(at).unwrap_or_default());
        let [prefills, decodes] = samples.entry(key).or_default();
        let (Some(latency), Some(first)) = (cells.real(5), cells.real(6)) else { continue };
        let reading = first - cells.real(7).unwrap_or(0.0);
        if let Some(prompt) = cells.count(3).filter(|prompt| *prompt >= LEAST_PROMPT) {
            sample(prefills, prompt, reading);
        }
        if let Some(answer) = cells.count(4).filter(|answer| *answer >= LEAST_ANSWER) {
            sample(decodes, answer - 1, latency - first);
        }
    }
    let speed = |([node_key, backend, model], [prefills, decodes]): ([String; 3], [Vec<f64>; 2])| {
        let speed = Speed { node_key, backend, model, prefill: median(prefills), decode: median(decodes) };
        (speed.prefill.is_some() || speed.decode.is_some()).then_some(speed)
    };
    Ok(samples.into_iter().filter_map(speed).collect())
}

#[allow(clippy::cast_precision_loss, reason = "tokens are far fewer")]
fn sample(samples: &mut Vec<f64>, tokens: u64, took_ms: f64) {
    if samples.len() < COUNTED && took_ms >= 1.0 {
        samples.push(tokens as f64 * 1000.0 / took_ms);
    }
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}
