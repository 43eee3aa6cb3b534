//! Answers, translated from every backend for every client. `GOLDEN=write` rewrites the files; the difference is read like code.
#![allow(clippy::unwrap_used, reason = "tests")]

mod assemble;
mod client;
mod complete;
mod embeddings;
mod goldens;
mod prefill;
mod properties;
mod rules;
mod schema;
mod upstream;

use dialect::{AnswerTranslator, Expect, Failure, ForcedTool};
use proto::Api;

/// 2026-11-21T11:30:55.353Z
const NOW_MS: u64 = 1_795_260_655_353;
const ID: &str = "0123456789abcdefghij";

/// The pairs that are translated: what the client calls, what the backend answers.
const PAIRS: [(Api, Api); 11] = [
    (Api::ChatCompletions, Api::OllamaChat),
    (Api::Responses, Api::OllamaChat),
    (Api::Messages, Api::OllamaChat),
    (Api::Completions, Api::OllamaGenerate),
    (Api::OllamaChat, Api::ChatCompletions),
    (Api::OllamaGenerate, Api::ChatCompletions),
    (Api::Responses, Api::ChatCompletions),
    (Api::Messages, Api::ChatCompletions),
    (Api::OllamaGenerate, Api::Completions),
    (Api::Completions, Api::OllamaChat),
    (Api::OllamaGenerate, Api::OllamaChat),
];

fn expect(client: Api, upstream: Api, stream: bool) -> Expect {
    Expect { logprobs: true, include_usage: true, ..Expect::new(client, upstream, "asked", stream) }
}

/// What a translation came to.
#[derive(Debug, PartialEq)]
struct Done {
    text: String,
    failure: Option<Failure>,
    sequence: Option<u64>,
}

/// Translates `pieces` one after the other, as far as it goes.
fn translate<'a>(expect: Expect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Done {
    let mut translator = AnswerTranslator::new(expect, ID, NOW_MS);
    let mut out = Vec::new();
    let run = || {
        for piece in pieces {
            translator.feed(piece, &mut out)?;
        }
        translator.finish(&mut out)
    };
    let failure = run().err();
    Done { text: String::from_utf8(out).unwrap(), failure, sequence: translator.sequence() }
}

fn forced_one() -> Option<ForcedTool> {
    Some(ForcedTool::One { name: "get_weather".to_owned() })
}
