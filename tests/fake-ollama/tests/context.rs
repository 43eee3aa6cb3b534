//! Prompts that are longer than the context: what is dropped, what is cut in silence, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

mod client;

use client::{call, json};
use fake_ollama::{Options, Server};
use serde_json::{Value, json};

/// About `tokens` tokens.
fn text(tokens: usize) -> String {
    "abc ".repeat(tokens)
}

fn start() -> Server {
    let models = ["tiny", "smollm2", "all-minilm"].map(str::to_owned).to_vec();
    Server::start(Options { models, ..Options::default() }).unwrap()
}

/// Asks with 512 tokens of context; the answer's status and its body.
fn ask(server: &Server, path: &str, mut body: Value) -> (u16, Value) {
    body["stream"] = json!(false);
    if path.starts_with("/api") {
        body["options"]["num_ctx"] = json!(512);
    }
    let (status, text) = call(server, "POST", path, &body.to_string());
    (status, serde_json::from_str(&text).unwrap())
}

fn said(words: &str) -> Value {
    json!([{"role": "user", "content": words}])
}

/// 512 tokens become 258 and the status stays 200; only the count tells.
#[test]
fn a_long_prompt_is_cut_in_silence_to_its_head_and_newest_half() {
    for (model, path, more, left) in [
        ("smollm2", "/api/generate", json!({}), 258),
        ("smollm2", "/api/chat", json!({}), 258),
        ("tiny", "/api/generate", json!({}), 259),
        ("smollm2", "/api/generate", json!({"num_keep": 100}), 306),
        ("smollm2", "/api/generate", json!({"num_keep": 0}), 256),
        ("smollm2", "/api/generate", json!({"num_keep": -1}), 511),
    ] {
        let server = start();
        let body = json!({"model": model, "prompt": text(2000), "messages": said(&text(2000)), "options": more});
        let (status, answer) = ask(&server, path, body);
        assert_eq!((status, answer["prompt_eval_count"].as_u64()), (200, Some(left)), "{model} {path} {more}");
        let requests = json(&server, "GET", "/_fake/requests", "");
        assert_eq!(requests[0]["prompt_tokens"], left, "which the log tells, too");
    }
    // The default of 4096 tokens leaves 2051 of the tiny model's.
    let server = start();
    let body = json!({"model": "tiny", "prompt": text(9000), "stream": false});
    assert_eq!(json(&server, "POST", "/api/generate", &body.to_string())["prompt_eval_count"], 2051);
}

/// As JSON in a text, with the numbers another machine could be chosen by.
#[test]
fn a_long_last_message_is_refused_where_the_engine_fills_in_the_template() {
    let server = start();
    let (status, answer) = ask(&server, "/api/chat", json!({"model": "tiny", "messages": said(&text(2000))}));
    assert_eq!(status, 400);
    let inner: Value = serde_json::from_str(answer["error"].as_str().unwrap()).unwrap();
    let inner = &inner["error"];
    assert_eq!((&inner["type"], &inner["n_ctx"]), (&json!("exceed_context_size_error"), &json!(512)));
    assert!(inner["n_prompt_tokens"].as_u64().unwrap() >= 2000, "{inner}");
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let body = json!({"model": "tiny", "max_tokens": 5, "messages": said(&text(9000))});
        let (status, answer) = ask(&server, path, body);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.starts_with("{\"error\":{\"code\":400"), "{path}: {message}");
    }
}

#[test]
fn who_forbids_cutting_is_refused() {
    for (model, path, more, words) in [
        ("smollm2", "/api/generate", json!({"truncate": false}), "exceed_context_size_error"),
        ("smollm2", "/api/chat", json!({"truncate": false}), "exceed_context_size_error"),
        ("tiny", "/api/chat", json!({"truncate": false}), "exceed_context_size_error"),
        ("tiny", "/api/chat", json!({"shift": false}), "exceed_context_size_error"),
        ("smollm2", "/api/generate", json!({"shift": false}), "the prompt is longer than the context length currently"),
        ("all-minilm", "/api/embed", json!({"truncate": false}), "the input length exceeds the context length"),
    ] {
        let server = start();
        let words_in = "word ".repeat(2000);
        let mut body = json!({"model": model, "prompt": text(2000), "input": words_in, "messages": said(&text(2000))});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = ask(&server, path, body);
        assert!(status == 400 && answer["error"].as_str().unwrap().contains(words), "{model} {path} {more}: {answer}");
    }
}

#[test]
fn a_long_conversation_loses_its_oldest_messages_and_keeps_the_system() {
    let turns = |last: &str| {
        json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": text(300)},
            {"role": "assistant", "content": text(300)}, {"role": "user", "content": last}])
    };
    for model in ["tiny", "smollm2"] {
        let server = start();
        let count = |messages: &Value| {
            let (status, answer) = ask(&server, "/api/chat", json!({"model": model, "messages": messages}));
            assert_eq!(status, 200, "{model}: {answer}");
            answer["prompt_eval_count"].as_u64().unwrap()
        };
        let mut kept = turns("hello");
        kept.as_array_mut().unwrap().remove(1);
        assert_eq!(count(&turns("hello")), count(&kept), "{model}: the oldest is gone");
        let (status, answer) =
            ask(&server, "/api/chat", json!({"model": model, "messages": turns("hello"), "truncate": false}));
        assert!(status == 400 && answer["error"].as_str().unwrap().contains("exceed_context_size"), "{answer}");
    }
}

/// num_ctx 0 loads four tokens: a prompt that Ollama fills in is cut to three, while the engine has room for more.
#[test]
fn a_num_ctx_of_zero_leaves_three_tokens_of_a_prompt() {
    let server = start();
    let body = r#"{"model":"tiny","prompt":"hello there my friend","stream":false,"options":{"num_ctx":0}}"#;
    assert_eq!(json(&server, "POST", "/api/generate", body)["prompt_eval_count"], 3);
    let body = r#"{"model":"tiny","messages":[{"role":"user","content":"hello there"}],"stream":false,"options":{"num_ctx":0}}"#;
    assert!(json(&server, "POST", "/api/chat", body)["prompt_eval_count"].as_u64().unwrap() > 4);
}

#[test]
fn texts_to_embed_are_cut_to_the_context() {
    let server = start();
    let words = "word ".repeat(2000);
    let body = json!({"model": "all-minilm", "input": words}).to_string();
    assert_eq!(json(&server, "POST", "/api/embed", &body)["prompt_eval_count"], 512);
}
