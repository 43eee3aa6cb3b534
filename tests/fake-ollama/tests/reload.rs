//! When a loaded model is loaded again: the tables measured on Ollama 0.33, row by row, over every API.

#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

mod client;

use client::{call, json};
use fake_ollama::{Options, Server};
use serde_json::{Value, json};

fn start(models: &[&str]) -> Server {
    Server::start(Options { models: models.iter().map(|&name| name.to_owned()).collect(), ..Options::default() })
        .unwrap()
}

/// Engines that were started so far, for whatever model.
fn starts(server: &Server) -> u64 {
    let state = json(server, "GET", "/_fake/state", "");
    state["models"].as_object().unwrap().values().map(|model| model["starts"].as_u64().unwrap()).sum()
}

fn context(server: &Server) -> Value {
    json(server, "GET", "/api/ps", "")["models"][0]["context_length"].clone()
}

/// Asks `model` for one token with more fields; says whether it was loaded for that, and how much context it has now.
fn ask(server: &Server, model: &str, more: &Value) -> (bool, Value) {
    let mut body = json!({"model": model, "prompt": "hi", "stream": false});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let before = starts(server);
    let (status, text) = call(server, "POST", "/api/generate", &body.to_string());
    assert_eq!(status, 200, "{body}: {text}");
    (starts(server) > before, context(server))
}

/// Fields that ask for a context.
fn num_ctx(value: &Value) -> Value {
    json!({"options": {"num_ctx": value}})
}

/// What is asked of each API, with a number of tokens in its body where there is a place for one.
const APIS: [(&str, &str); 6] = [
    ("/api/chat", r#"{"model":"smollm2","messages":[{"role":"user","content":"hi"}],"stream":false}"#),
    ("/api/generate", r#"{"model":"smollm2","stream":false}"#),
    (
        "/v1/chat/completions",
        r#"{"model":"smollm2","messages":[{"role":"user","content":"hi"}],"num_ctx":2048,"options":{"num_ctx":2048}}"#,
    ),
    ("/v1/completions", r#"{"model":"smollm2","prompt":"hi","num_ctx":2048,"options":{"num_ctx":2048}}"#),
    (
        "/v1/messages",
        r#"{"model":"smollm2","max_tokens":5,"messages":[{"role":"user","content":"hi"}],"num_ctx":2048,"options":{"num_ctx":2048}}"#,
    ),
    ("/v1/responses", r#"{"model":"smollm2","input":"hi","num_ctx":2048,"options":{"num_ctx":2048}}"#),
];

#[test]
fn any_difference_of_num_ctx_reloads() {
    let absent = json!({});
    // Loaded by, asked for next; whether it is loaded again, and the context it has then.
    for (model, first, next, again, after) in [
        ("smollm2", absent.clone(), absent.clone(), false, 4096),
        ("smollm2", absent.clone(), num_ctx(&json!(4096)), false, 4096),
        ("smollm2", num_ctx(&json!(4096)), absent.clone(), false, 4096),
        ("smollm2", absent.clone(), num_ctx(&json!(2048)), true, 2048),
        ("smollm2", absent.clone(), num_ctx(&json!(1024)), true, 1024),
        ("smollm2", absent.clone(), num_ctx(&json!(8192)), true, 8192),
        ("tiny", absent.clone(), num_ctx(&json!(8192)), false, 4096),
        ("tiny", absent.clone(), num_ctx(&json!(100_000)), false, 4096),
        ("smollm2", num_ctx(&json!(2048)), num_ctx(&json!(2048)), false, 2048),
        ("smollm2", num_ctx(&json!(2048)), absent.clone(), true, 4096),
        ("smollm2", num_ctx(&json!(2048)), num_ctx(&Value::Null), true, 4096),
        ("smollm2", num_ctx(&json!(8192)), absent.clone(), true, 4096),
        ("smollm2", absent.clone(), num_ctx(&json!(0)), true, 4),
        ("smollm2", absent.clone(), num_ctx(&json!(-1)), true, 4),
        ("smollm2", absent.clone(), num_ctx(&json!(4096.0)), false, 4096),
        ("smollm2", absent.clone(), num_ctx(&json!(4096.5)), false, 4096),
        ("tiny-see", absent, num_ctx(&json!(512)), true, 2048),
    ] {
        let server = start(&[model]);
        ask(&server, model, &first);
        assert_eq!(ask(&server, model, &next), (again, json!(after)), "{model}: {first} then {next}");
    }
}

#[test]
fn every_api_without_a_num_ctx_means_the_default_and_v1_has_none() {
    for (path, body) in APIS {
        let server = start(&["smollm2"]);
        ask(&server, "smollm2", &num_ctx(&json!(2048)));
        assert_eq!(call(&server, "POST", path, body).0, 200);
        assert_eq!((starts(&server), context(&server)), (2, json!(4096)), "{path}");
        // And nothing is loaded again when the default is there.
        assert_eq!(call(&server, "POST", path, body).0, 200);
        assert_eq!(starts(&server), 2, "{path}");
    }
}

#[test]
fn a_num_ctx_of_the_modelfile_is_the_default_of_that_model() {
    for (path, body) in APIS {
        let server = start(&["smol-b"]);
        assert_eq!(call(&server, "POST", path, &body.replace("smollm2", "smol-b")).0, 200);
        assert_eq!(context(&server), 2048, "{path}");
        assert_eq!(ask(&server, "smol-b", &json!({})), (false, json!(2048)), "{path}");
    }
}

#[test]
fn the_default_can_be_set() {
    let server = Server::start(Options { context: 3000, ..Options::default() }).unwrap();
    assert_eq!(ask(&server, "smollm2", &json!({})), (true, json!(3000)));
    assert_eq!(ask(&server, "smollm2", &num_ctx(&json!(3000))), (false, json!(3000)));
    assert_eq!(call(&server, "POST", APIS[2].0, APIS[2].1).0, 200);
    assert_eq!((starts(&server), context(&server)), (1, json!(3000)));
    assert_eq!(ask(&server, "smollm2", &num_ctx(&json!(4096))), (true, json!(4096)));
    assert_eq!(ask(&server, "smollm2", &json!({})), (true, json!(3000)));
}

#[test]
fn a_num_ctx_in_words_is_refused_and_nothing_happens() {
    let server = start(&["smollm2"]);
    ask(&server, "smollm2", &json!({}));
    let body = r#"{"model":"smollm2","prompt":"hi","options":{"num_ctx":"4096"}}"#;
    let (status, text) = call(&server, "POST", "/api/generate", body);
    assert_eq!((status, text.as_str()), (500, r#"{"error":"option \"num_ctx\" must be of type integer"}"#));
    assert_eq!(starts(&server), 1);
}

#[test]
fn options_that_describe_the_machine_reload_and_those_of_sampling_do_not() {
    let option = |name: &str, value: Value| json!({"options": {name: value}});
    // After an automatic load; whether it is loaded again, and whether it is again without the option.
    for (more, again, back) in [
        (option("temperature", json!(0.5)), false, false),
        (option("seed", json!(1)), false, false),
        (option("num_predict", json!(1)), false, false),
        (option("num_keep", json!(8)), false, false),
        (option("top_k", json!(1)), false, false),
        (option("top_p", json!(0.5)), false, false),
        (option("min_p", json!(0.5)), false, false),
        (option("repeat_penalty", json!(1.5)), false, false),
        (option("presence_penalty", json!(1.5)), false, false),
        (option("frequency_penalty", json!(1.5)), false, false),
        (option("repeat_last_n", json!(8)), false, false),
        (option("stop", json!(["x"])), false, false),
        (option("mirostat", json!(1)), false, false),
        (option("penalize_newline", json!(true)), false, false),
        (option("numa", json!(true)), false, false),
        (option("low_vram", json!(true)), false, false),
        (option("f16_kv", json!(false)), false, false),
        (option("use_mlock", json!(true)), false, false),
        (option("logits_all", json!(true)), false, false),
        (option("vocab_only", json!(false)), false, false),
        (option("unheard_of", json!(1)), false, false),
        (option("temperature", Value::Null), false, false),
        (option("num_batch", json!(256)), true, true),
        (option("num_batch", json!(512)), false, false),
        (option("num_gpu", json!(0)), true, false),
        (option("num_gpu", json!(1)), true, false),
        (option("num_gpu", json!(99)), true, false),
        (option("num_gpu", json!(-1)), false, false),
        (option("main_gpu", json!(0)), true, true),
        (option("num_thread", json!(1)), true, true),
        (option("num_thread", json!(2)), true, true),
        (option("num_thread", json!(0)), false, false),
        (option("draft_num_predict", json!(2)), true, true),
        (option("use_mmap", json!(true)), true, true),
        (option("use_mmap", json!(false)), false, false),
        (json!({"shift": false}), true, true),
        (json!({"shift": true}), false, false),
        (json!({"truncate": false}), false, false),
        (json!({"think": false}), false, false),
        (json!({"format": "json"}), false, false),
        (json!({"logprobs": true}), false, false),
        (json!({"keep_alive": "1m"}), false, false),
        (json!({"system": "Be brief."}), false, false),
    ] {
        let server = start(&["smollm2"]);
        ask(&server, "smollm2", &json!({}));
        assert_eq!(ask(&server, "smollm2", &more).0, again, "{more}");
        assert_eq!(ask(&server, "smollm2", &json!({})).0, back, "{more}, then without");
    }
    let server = start(&["tiny"]);
    ask(&server, "tiny", &json!({}));
    let tools = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f"}}]}"#;
    assert_eq!(call(&server, "POST", "/api/chat", tools).0, 200);
    assert_eq!(starts(&server), 1, "tools");
}

/// The automatic batch grows with the context, so a fixed one differs sooner or later.
#[test]
fn the_automatic_num_batch_grows_with_the_context() {
    let server = start(&["smollm2"]);
    let both = |context: u64, batch: u64| json!({"options": {"num_ctx": context, "num_batch": batch}});
    ask(&server, "smollm2", &num_ctx(&json!(8192)));
    assert!(!ask(&server, "smollm2", &both(8192, 1024)).0);
    assert!(ask(&server, "smollm2", &both(8192, 512)).0);
}

#[test]
fn embedding_models_reload_for_a_small_num_ctx_there_and_back() {
    for (value, again) in [(256, true), (512, true), (1024, true), (2048, false), (4096, false)] {
        let server = Server::start(Options { parallel: 4, ..Options::default() }).unwrap();
        let embed = |more: &str| {
            let before = starts(&server);
            let (status, body) = call(&server, "POST", "/api/embed", &format!(r#"{{"model":"all-minilm"{more}}}"#));
            assert_eq!((status, body.as_str()), (200, r#"{"model":"all-minilm","embeddings":[]}"#));
            starts(&server) > before
        };
        assert!(embed(""), "a load without input");
        assert_eq!(context(&server), 512);
        assert_eq!(embed(&format!(r#","options":{{"num_ctx":{value}}}"#)), again, "{value}");
        assert_eq!(embed(""), again, "{value}, and back");
    }
    let server = Server::start(Options::default()).unwrap();
    let generate = |more: &str| call(&server, "POST", "/api/generate", &format!(r#"{{"model":"all-minilm"{more}}}"#));
    assert_eq!(generate(""), (400, r#"{"error":"\"all-minilm\" does not support generate"}"#.to_owned()));
    call(&server, "POST", "/api/embed", r#"{"model":"all-minilm"}"#);
    assert_eq!(client::loaded(&server), ["all-minilm:latest"]);
    assert_eq!(generate(r#","keep_alive":0"#).0, 200);
    assert!(client::loaded(&server).is_empty(), "an unload is no generation");
}
