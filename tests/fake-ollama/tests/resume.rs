//! An answer that is cut on one machine goes on, letter by letter, on another: render, then raw.

mod client;

use client::{call, json, prompt};
use fake_ollama::{Options, Server};

#[test]
fn a_rendered_prompt_and_the_partial_text_continue_exactly() {
    let server = Server::start(Options::default()).unwrap();
    let ask = r#"{"model":"smollm2","messages":[{"role":"user","content":"What is a river?"}],"stream":false"#;
    let whole = json(&server, "POST", "/api/chat", &format!("{ask}}}"));
    let whole = whole["message"]["content"].as_str().unwrap();
    let rendered = json(&server, "POST", "/api/chat", &format!("{ask},\"_debug_render_only\":true}}"));
    let rendered = rendered["_debug_info"]["rendered_template"].as_str().unwrap();
    for cut in [0, 1, 7, 40, whole.len()] {
        let raw = serde_json::json!({"model": "smollm2", "prompt": format!("{rendered}{}", &whole[..cut]), "raw": true, "stream": false});
        let rest = json(&server, "POST", "/api/generate", &raw.to_string());
        assert_eq!(rest["response"].as_str().unwrap(), &whole[cut..], "cut at {cut}");
        assert!(rest.get("context").is_none(), "raw answers have no context");
    }
}

#[test]
fn settings_change_how_much_a_model_says() {
    let server = Server::start(Options { tokens: Some(25), ..Options::default() }).unwrap();
    let answer = json(&server, "POST", "/api/generate", &prompt("tiny", ",\"stream\":false"));
    assert_eq!(answer["eval_count"], 26);
    let (_, short) = call(&server, "POST", "/api/generate", &prompt("tiny", ",\"options\":{\"num_predict\":4}"));
    assert_eq!(short.lines().count(), 5);
    assert!(short.contains("\"done_reason\":\"length\""));
}
