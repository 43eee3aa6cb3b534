//! Prints what translating an answer costs per record. Run with `--release`.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::hint::black_box;
use std::time::Instant;

use dialect::{AnswerTranslator, Expect};
use proto::Api;

const RECORDS: u32 = 2_000;

/// The least time per record of a run, of several, in nanoseconds: what disturbs only ever adds.
fn best_ns(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..200 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(RECORDS));
    }
    best
}

/// Translates a stream of `record`s that come one by one, and writes each out, as a server would.
fn translates(name: &str, client: Api, upstream: Api, record: &str) {
    let mut out = Vec::with_capacity(4_096);
    let ns = best_ns(|| {
        let expect = Expect::new(client, upstream, "llama3.2:3b", true);
        let mut translator = AnswerTranslator::new(expect, "0123456789abcdefghij", 1_795_260_655_353);
        for _ in 0..RECORDS {
            translator.feed(black_box(record.as_bytes()), &mut out).expect("the record is a good one");
            black_box(&out);
            out.clear();
        }
    });
    println!("{name:34} {ns:8.1} ns/record of {} B", record.len());
}

fn main() {
    let line = "{\"model\":\"llama3.2:3b\",\"created_at\":\"2026-11-21T11:30:55.354088675Z\",\"message\":{\"role\":\"assistant\",\"content\":\" reply\"},\"done\":false}\n";
    let generated = "{\"model\":\"llama3.2:3b\",\"created_at\":\"2026-11-21T11:30:55.354088675Z\",\"response\":\" reply\",\"done\":false}\n";
    let chunk = "data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\" reply\"}}],\"created\":1795260661,\"id\":\"chatcmpl-5BOd9qNizfIrvWchOzBqfqTjzRCcNfKx\",\"model\":\"llama3.2:3b\",\"system_fingerprint\":\"b1-7e4c0a9\",\"object\":\"chat.completion.chunk\"}\n\n";
    translates("Ollama chat to chat completions", Api::ChatCompletions, Api::OllamaChat, line);
    translates("Ollama chat to messages", Api::Messages, Api::OllamaChat, line);
    translates("Ollama chat to responses", Api::Responses, Api::OllamaChat, line);
    translates("Ollama generate to completions", Api::Completions, Api::OllamaGenerate, generated);
    translates("chat completions to Ollama chat", Api::OllamaChat, Api::ChatCompletions, chunk);
    translates("chat completions to messages", Api::Messages, Api::ChatCompletions, chunk);
    translates("chat completions to responses", Api::Responses, Api::ChatCompletions, chunk);
}
