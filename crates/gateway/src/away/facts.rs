//! What the node that served a request tells its door beside the answer.

use http::{HeaderMap, HeaderValue};
use proto::Trace;
use serde::{Deserialize, Serialize};

use crate::headers;

/// Bytes of the longest [`Facts`] that are believed.
const LONGEST: usize = 4096;
/// Characters of an error that are told.
const LONGEST_ERROR: usize = 500;

/// What is known of an answer. With its first content most is missing; at its end all is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Facts {
    /// The backend that served it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
    /// The model that served it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// The context that the backend was asked for, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<u64>,
    /// What became of the context that it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context_verdict: Option<String>,
    /// Milliseconds that it waited at the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queued_ms: Option<f64>,
    /// Milliseconds of these that went into loading the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) loaded_ms: Option<f64>,
    /// Tokens of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_tokens: Option<u64>,
    /// Tokens of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) completion_tokens: Option<u64>,
    /// Why the model stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finish_reason: Option<String>,
    /// Milliseconds of reading the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefill_ms: Option<f64>,
    /// Milliseconds of writing the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decode_ms: Option<f64>,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Facts {
    /// What `trace` says.
    pub(crate) fn of(trace: &Trace) -> Facts {
        Facts {
            backend: trace.backend.as_ref().map(ToString::to_string),
            model: Some(trace.model.clone()),
            context: trace.context,
            context_verdict: trace.context_verdict.map(str::to_owned),
            queued_ms: Some(trace.queued_ms).filter(|ms| *ms > 0.0),
            loaded_ms: trace.loaded_ms,
            prompt_tokens: trace.prompt_tokens,
            completion_tokens: trace.completion_tokens,
            finish_reason: trace.finish_reason.clone(),
            prefill_ms: trace.prefill_ms,
            decode_ms: trace.decode_ms,
            error: trace.error.as_ref().map(|error| error.chars().take(LONGEST_ERROR).collect()),
        }
    }

    /// As the value of a header: JSON in ASCII.
    pub(crate) fn value(&self) -> HeaderValue {
        let json = serde_json::to_string(self).unwrap_or_default();
        match HeaderValue::from_str(&json) {
            Ok(value) if json.is_ascii() => value,
            _ => {
                // Characters beyond ASCII, as JSON can also write them.
                let mut ascii = String::with_capacity(json.len() + 16);
                for unit in json.chars() {
                    match unit {
                        ' '..='~' => ascii.push(unit),
                        _ => {
                            let mut units = [0; 2];
                            for unit in unit.encode_utf16(&mut units) {
                                ascii.push_str(&format!("\\u{unit:04x}"));
                            }
                        }
                    }
                }
                HeaderValue::from_str(&ascii).unwrap_or(HeaderValue::from_static("{}"))
            }
        }
    }

    /// What `headers` (or trailers) say; `None` where they say nothing that can be read.
    pub(crate) fn read(headers: &HeaderMap) -> Option<Facts> {
        let value = headers.get(headers::FACTS)?;
        (value.len() <= LONGEST).then(|| serde_json::from_slice(value.as_bytes()).ok()).flatten()
    }

    /// Puts them into `trace`, without taking away what is known already.
    pub(crate) fn tell(self, trace: &mut Trace) {
        let (queued, loaded) = (self.queued_ms, self.loaded_ms.filter(|ms| ms.is_finite()));
        if let Some(backend) = self.backend {
            trace.backend = Some(proto::BackendId::new(backend.as_str()));
        }
        if let Some(model) = self.model {
            trace.model = model;
        }
        trace.context = self.context.or(trace.context);
        trace.context_verdict = self.context_verdict.and_then(|word| verdict(&word)).or(trace.context_verdict);
        // Told twice, with the head and at the end: the wait is over with the head.
        if trace.ttft_ms.is_none() && trace.completion_tokens.is_none() {
            trace.queued_ms += queued.filter(|ms| ms.is_finite()).unwrap_or_default();
        }
        trace.loaded_ms = loaded.or(trace.loaded_ms);
        trace.prompt_tokens = self.prompt_tokens.or(trace.prompt_tokens);
        trace.completion_tokens = self.completion_tokens.or(trace.completion_tokens);
        trace.finish_reason = self.finish_reason.or(trace.finish_reason.take());
        trace.prefill_ms = self.prefill_ms.filter(|ms| ms.is_finite()).or(trace.prefill_ms);
        trace.decode_ms = self.decode_ms.filter(|ms| ms.is_finite()).or(trace.decode_ms);
        if trace.error.is_none() {
            trace.error = self.error;
        }
    }
}

fn verdict(word: &str) -> Option<&'static str> {
    use crate::fleet::Verdict::{Cut, Grown, Kept, Passed};
    [Kept, Grown, Cut, Passed].into_iter().map(|known| known.as_str()).find(|known| *known == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_travel_as_a_header() {
        let facts = Facts {
            model: Some("größe 🦙".to_owned()),
            prompt_tokens: Some(7),
            prefill_ms: Some(1.5),
            error: Some("line\none".to_owned()),
            ..Facts::default()
        };
        let mut headers = HeaderMap::new();
        assert_eq!(Facts::read(&headers), None);
        headers.insert(headers::FACTS, facts.value());
        assert!(headers[headers::FACTS].to_str().is_ok());
        assert_eq!(Facts::read(&headers), Some(facts));
        headers.insert(headers::FACTS, HeaderValue::from_static("{"));
        assert_eq!(Facts::read(&headers), None);
    }
}
