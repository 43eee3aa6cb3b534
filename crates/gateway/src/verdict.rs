//! What a backend's error answer means: whose mistake it is, and whether another backend may do better.

use proto::Api;

use crate::fleet::Ending;

/// What to do with an answer that is not a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The client's mistake: every backend would say so. Passed on as it is.
    ClientsMistake,
    /// It does not have the model after all; another may.
    ModelGone,
    /// It does not know the path; another may.
    NotSpoken,
    /// It is full; another may not be.
    Busy,
    /// It failed; another may not.
    Failed,
}

impl Verdict {
    /// Whether another backend is worth a try.
    pub(crate) fn asks_for_another(self) -> bool {
        self != Verdict::ClientsMistake
    }

    /// What the placement is told.
    pub(crate) fn ending(self) -> Ending {
        match self {
            Verdict::ClientsMistake | Verdict::ModelGone | Verdict::NotSpoken => Ending::Refused,
            Verdict::Busy => Ending::Busy,
            Verdict::Failed => Ending::Failed,
        }
    }
}

/// Texts in answers of status 500 and above that blame the request. Ollama and llama-server use 500 and 501 for these
/// (measured on Ollama 0.33 and llama-server 10434, November 2026).
const BLAME_THE_REQUEST: [&str; 9] = [
    "must be of type",
    "invalid format",
    "image input is not supported",
    "audio input is not supported",
    "exceed_context_size_error",
    "does not support",
    "failed to parse grammar",
    "Failed to parse grammar",
    "returned invalid tool call arguments",
];

/// Judges an answer of `status` (400 or above) with `body`, of which at least the beginning is given.
pub(crate) fn judge(api: Api, status: u16, body: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    match status {
        404 if names_no_model(api, &text) => Verdict::NotSpoken,
        404 => Verdict::ModelGone,
        405 => Verdict::NotSpoken,
        429 | 503 => Verdict::Busy,
        500.. if BLAME_THE_REQUEST.iter().any(|words| text.contains(words)) => Verdict::ClientsMistake,
        501 => Verdict::NotSpoken,
        500.. => Verdict::Failed,
        // llama-server's router mode says so with 400.
        400 if text.contains("model '") && text.contains("not found") => Verdict::ModelGone,
        _ => Verdict::ClientsMistake,
    }
}

/// Whether a 404 is about the path: then it does not speak of a model.
fn names_no_model(api: Api, text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    // Ollama: plain text. llama-server: "File Not Found". FastAPI servers: {"detail":"Not Found"}.
    lower.contains("404 page not found")
        || lower.contains("file not found")
        || lower.contains("\"detail\":\"not found\"")
        || (api != Api::OllamaShow && !lower.contains("model"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_whose_mistake_it_is() {
        use Verdict::*;
        for (status, body, verdict) in [
            (400, r#"{"error":"model is required"}"#, ClientsMistake),
            (404, r#"{"error":"model 'nope' not found"}"#, ModelGone),
            (404, "404 page not found", NotSpoken),
            (404, r#"{"error":{"message":"File Not Found","type":"not_found_error","code":404}}"#, NotSpoken),
            (404, r#"{"detail":"Not Found"}"#, NotSpoken),
            (405, "405 method not allowed", NotSpoken),
            (500, r#"{"error":"option \"num_ctx\" must be of type integer"}"#, ClientsMistake),
            (500, r#"{"error":"invalid format: \"xml\""}"#, ClientsMistake),
            (500, r#"{"error":"an error was encountered while running the model: unexpected EOF"}"#, Failed),
            (500, r#"{"error":"llama-server process no longer running: unknown "}"#, Failed),
            (
                501,
                r#"{"error":"This server does not support embeddings. Start it with `--embeddings`"}"#,
                ClientsMistake,
            ),
            (502, "", Failed),
            (503, r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#, Busy),
            (429, "", Busy),
            (
                400,
                r#"{"error":{"code":400,"message":"model 'x' not found","type":"invalid_request_error"}}"#,
                ModelGone,
            ),
        ] {
            assert_eq!(judge(Api::OllamaChat, status, body.as_bytes()), verdict, "{status} {body}");
        }
    }
}
