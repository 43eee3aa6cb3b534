//! Prints what reading a request body and watching an answer cost. Run with `--release`.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use dialect::{StreamWatch, scan};
use proto::Api;

/// The least time of a run, of several, in nanoseconds: what disturbs only ever adds.
fn best_ns(rounds: u32, mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..20 {
        let start = Instant::now();
        for _ in 0..rounds {
            run();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
    }
    best
}

fn scans(name: &str, body: &str) {
    assert!(scan(body.as_bytes(), false).is_ok(), "{name}");
    let rounds = u32::try_from(20_000_000 / (body.len() + 2_000)).unwrap_or(1).max(1);
    let ns = best_ns(rounds, || {
        black_box(scan(black_box(body.as_bytes()), false)).ok();
    });
    println!("scan   {name:32} {:9} B {ns:12.0} ns {:7.2} GB/s", body.len(), body.len() as f64 / ns);
}

fn watches(name: &str, api: Api, first: &str, record: &str, records_per_frame: usize) {
    let first = Bytes::copy_from_slice(first.as_bytes());
    let frame = Bytes::from(record.repeat(records_per_frame));
    let frames = 2_000 / records_per_frame;
    let ns = best_ns(20, || {
        let mut watch = StreamWatch::new(api, true);
        watch.feed(&first);
        for _ in 0..frames {
            black_box(watch.feed(black_box(&frame)));
        }
        black_box(watch.finish());
    });
    println!("watch  {name:32} {:4} records/frame {:9.1} ns/record", records_per_frame, ns / 2_000.0);
}

fn main() {
    let chat = r#"{"model":"llama3.2:3b","messages":[{"role":"user","content":"Why is the sky blue? Be brief."}],"stream":true}"#;
    scans("tiny chat", chat);
    scans(
        "tiny chat with options",
        r#"{"model":"llama3.2:3b","messages":[{"role":"system","content":"x"},{"role":"user","content":"hi"}],"stream":false,"options":{"num_ctx":8192,"temperature":0.1},"keep_alive":"5m","metadata":{"tags":["a","b"]}}"#,
    );
    for every in [8, 20, 60, 1_000, 1_000_000] {
        let line = format!("{}\\n", "x".repeat(every));
        let text = line.repeat(1_000_000 / line.len() + 1);
        scans(
            &format!("1 MB prompt, escape per {every} B"),
            &format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"llama3.2:3b"}}"#),
        );
    }
    let turns = r#"{"role":"user","content":"short question?"},{"role":"assistant","content":"A short answer."},"#
        .repeat(10_000);
    scans("1 MB of short messages", &format!(r#"{{"model":"m","messages":[{}]}}"#, turns.trim_end_matches(',')));
    let numbers = "123,".repeat(250_000);
    scans("1 MB of token numbers", &format!(r#"{{"model":"m","input":[{}]}}"#, numbers.trim_end_matches(',')));

    let ollama = "{\"model\":\"tiny\",\"created_at\":\"2026-11-21T11:30:55.354088675Z\",\"message\":{\"role\":\"assistant\",\"content\":\" reply\"},\"done\":false}\n";
    let chunk = "data: {\"id\":\"chatcmpl-209\",\"object\":\"chat.completion.chunk\",\"created\":1795260661,\"model\":\"tiny\",\"system_fingerprint\":\"fp_ollama\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" reply\"},\"finish_reason\":null}]}\n\n";
    let delta = "event: response.output_text.delta\ndata: {\"content_index\":0,\"delta\":\" by\",\"item_id\":\"msg_260077\",\"logprobs\":[],\"output_index\":0,\"sequence_number\":639,\"type\":\"response.output_text.delta\"}\n\n";
    let block = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" reply\"}}\n\n";
    for per_frame in [1, 10, 100] {
        watches("Ollama chat", Api::OllamaChat, ollama, ollama, per_frame);
        watches("OpenAI chat", Api::ChatCompletions, chunk, chunk, per_frame);
        watches("Responses", Api::Responses, delta, delta, per_frame);
        watches("Messages", Api::Messages, block, block, per_frame);
    }
    let tiny = Bytes::from_static(br#"{"model":"tiny","created_at":"2026-11-21T11:30:57.672066719Z","message":{"role":"assistant","content":"This reply comes from a tiny but real model ."},"done":true,"done_reason":"stop","total_duration":4711281,"load_duration":531730,"prompt_eval_count":21,"prompt_eval_duration":231000,"eval_count":11,"eval_duration":1079000}"#);
    let ns = best_ns(10_000, || {
        let mut watch = StreamWatch::new(Api::OllamaChat, false);
        watch.feed(black_box(&tiny));
        black_box(watch.finish());
    });
    println!("watch  one tiny answer, not streamed, start to end: {ns:.0} ns");
}
