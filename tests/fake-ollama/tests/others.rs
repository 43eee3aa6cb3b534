//! What no recorded exchange shows: hearing, pulls that take their time, compact vectors, probabilities in streams.

mod client;

use client::{call, head, json, loaded, prompt, send};
use fake_ollama::{Options, Server};

#[test]
fn a_model_that_hears_tells_what_was_said() {
    let server = Server::start(Options { models: vec!["tiny-hear".into()], ..Options::default() }).unwrap();
    let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntiny-hear\r\n--b\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n";
    let method =
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b";
    let mut stream = std::net::TcpStream::connect(server.addr).unwrap();
    std::io::Write::write_all(
        &mut stream,
        format!("{method}\r\nContent-Length: {}\r\n\r\n{form}", form.len()).as_bytes(),
    )
    .unwrap();
    assert_eq!(head(stream).unwrap().body(), "{\"text\":\"The recording says hello.\"}");
}

#[test]
fn a_pull_shows_its_progress_and_ends_with_the_model() {
    let registry = vec!["llama3.2:3b=tiny".to_owned()];
    let server = Server::start(Options { models: Vec::new(), registry, ..Options::default() }).unwrap();
    let (_, lines) = call(&server, "POST", "/api/pull", r#"{"model":"llama3.2:3b"}"#);
    let statuses: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(statuses[0]["status"], "pulling manifest");
    assert_eq!(statuses.iter().filter(|line| line["completed"].is_number()).count(), 10);
    assert_eq!(statuses.last().unwrap()["status"], "success");
    assert_eq!(json(&server, "GET", "/api/tags", "")["models"][0]["name"], "llama3.2:3b");
    let (_, unknown) = call(&server, "POST", "/api/pull", r#"{"model":"nope"}"#);
    assert!(unknown.contains("pull model manifest: file does not exist"));
    let status = call(&server, "POST", "/api/pull", r#"{"model":"nope","stream":false}"#).0;
    assert_eq!(status, 500);
}

#[test]
fn a_pull_that_is_left_leaves_nothing() {
    let pull = std::time::Duration::from_secs(600);
    let registry = vec!["llama3.2=tiny".to_owned()];
    let server = Server::start(Options { models: Vec::new(), registry, pull, ..Options::default() }).unwrap();
    let mut answer = head(send(&server, "POST", "/api/pull", r#"{"model":"llama3.2"}"#)).unwrap();
    assert!(answer.line().unwrap().contains("pulling manifest"));
    drop(answer);
    while json(&server, "GET", "/_fake/requests", "")[0]["left_early"] != true {}
    assert_eq!(json(&server, "GET", "/api/tags", "")["models"].as_array().unwrap().len(), 0);
}

#[test]
fn base64_vectors_hold_the_same_numbers() {
    let server = Server::start(Options::default()).unwrap();
    let ask = |format: &str| {
        let body =
            format!("{{\"model\":\"all-minilm\",\"input\":\"a\",\"encoding_format\":\"{format}\",\"dimensions\":3}}");
        json(&server, "POST", "/v1/embeddings", &body)["data"][0]["embedding"].clone()
    };
    assert_eq!((ask("float").as_array().unwrap().len(), ask("base64").as_str().unwrap().len()), (3, 16));
    assert_eq!(loaded(&server), ["all-minilm:latest"]);
}

#[test]
fn a_deleted_model_runs_on_and_cannot_be_unloaded() {
    let server = Server::start(Options::default()).unwrap();
    call(&server, "POST", "/api/generate", &prompt("tiny", ",\"stream\":false"));
    assert_eq!(call(&server, "DELETE", "/api/delete", r#"{"model":"tiny"}"#).0, 200);
    assert_eq!(call(&server, "POST", "/api/generate", r#"{"model":"tiny","keep_alive":0}"#).0, 404);
    assert_eq!(loaded(&server), ["tiny:latest"]);
}
