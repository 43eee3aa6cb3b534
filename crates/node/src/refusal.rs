//! How a refusal of the placement is told to a client.

use std::time::Duration;

use dialect::{Cause, Failure};
use proto::{Api, Dialect};
use routing::Refusal;

/// What the client of `api` is told, who asked for `requested`.
pub(crate) fn failure(refusal: &Refusal, api: Api, requested: &str) -> Failure {
    let retry = |cause, text: String, after: Duration| {
        let mut failure = Failure::new(cause, text);
        failure.retry_after_s = Some(u32::try_from(after.as_secs().max(1)).unwrap_or(u32::MAX));
        failure
    };
    match refusal {
        Refusal::UnknownModel { .. } => Failure::model_not_found(api, requested),
        Refusal::NoBackend => retry(
            Cause::Unavailable,
            "no inference server answers on this machine: start Ollama or llama-server, or name one with \
             `herd serve --backend URL`"
                .to_owned(),
            Duration::from_secs(2),
        ),
        Refusal::NotSpoken { model, backends } => Failure::new(
            Cause::Unsupported,
            format!(
                "model '{model}' is served by {}, which does not offer {}, nor anything that it could be translated to",
                backends.join(", "),
                api.path()
            ),
        ),
        // Ollama's own words (two blanks), which clients look for.
        Refusal::QueueFull { retry_after, .. } => retry(
            Cause::Busy,
            "server busy, please try again.  maximum pending requests exceeded".to_owned(),
            *retry_after,
        ),
        Refusal::Unavailable { model, retry_after } => retry(
            Cause::Unavailable,
            format!(
                "model '{model}' is known, but no inference server that has it answers right now; try again shortly"
            ),
            *retry_after,
        ),
        Refusal::ContextTooLong { needed, most } => {
            let text = match api.dialect() {
                // The words on which Anthropic's clients shorten the conversation.
                Dialect::Anthropic => format!("prompt is too long: {needed} tokens > {most} maximum"),
                _ => format!(
                    "the prompt needs a context of {needed} tokens, and the most that this model can be given here is \
                     {most}"
                ),
            };
            Failure::new(Cause::ContextLength, text)
        }
        Refusal::LoadFailed { model, reason, retry_after } => {
            retry(Cause::Unavailable, format!("model '{model}' could not be loaded: {reason}"), *retry_after)
        }
        Refusal::Exhausted { tried } => retry(
            Cause::BadGateway,
            format!("all {tried} inference servers that could serve this failed"),
            Duration::from_secs(2),
        ),
        Refusal::Occupied => retry(
            Cause::Busy,
            "server busy, please try again.  maximum pending requests exceeded".to_owned(),
            Duration::from_secs(1),
        ),
        Refusal::OutOfReach { model, why, retry_after } => retry(
            Cause::Unavailable,
            format!("no machine that has model '{model}' can take this request: {}", why.join(", ")),
            *retry_after,
        ),
        Refusal::Unfit { model, why } => Failure::new(
            Cause::Unsupported,
            format!("no machine that has model '{model}' may serve this request: {}", why.join(", ")),
        ),
        Refusal::Draining => {
            retry(Cause::Unavailable, "Herd is stopping on this machine".to_owned(), Duration::from_secs(5))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_status() {
        let model = "m".to_owned();
        let second = Duration::from_secs(1);
        for (refusal, status, retry) in [
            (Refusal::UnknownModel { model: model.clone() }, 404, false),
            (Refusal::NoBackend, 503, true),
            (Refusal::NotSpoken { model: model.clone(), backends: vec!["x (vllm)".to_owned()] }, 501, false),
            (Refusal::QueueFull { waiting: 9, retry_after: second }, 503, true),
            (Refusal::Unavailable { model, retry_after: Duration::ZERO }, 503, true),
            (Refusal::ContextTooLong { needed: 9000, most: 4096 }, 400, false),
            (Refusal::LoadFailed { model: "m".to_owned(), reason: "x".to_owned(), retry_after: second }, 503, true),
            (Refusal::Exhausted { tried: 2 }, 502, true),
            (Refusal::Draining, 503, true),
            (Refusal::Occupied, 503, true),
            (Refusal::OutOfReach { model: "m".to_owned(), why: vec![], retry_after: second }, 503, true),
            (Refusal::Unfit { model: "m".to_owned(), why: vec!["a is too small".to_owned()] }, 501, false),
        ] {
            let failure = failure(&refusal, Api::OllamaChat, "m");
            assert_eq!(failure.status(), status, "{refusal:?}");
            assert_eq!(failure.retry_after_s.is_some(), retry, "{refusal:?}");
        }
    }
}
