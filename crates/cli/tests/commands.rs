//! Each command against a stand-in for a door: exit codes, and both outputs word by word.
//!
//! `GOLDEN=write` rewrites the files under `tests/golden`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up should fail loudly")]

mod fake;

use std::io::Write;
use std::net::TcpListener;

use fake::{FakeDoor, golden, herd, herd_in, unused_port};
use serde_json::{Value, json};

fn status(backends: Value) -> Value {
    json!({
        "name": "den", "version": "0.1.0", "share": {"state": "on", "reason": "", "until": null},
        "leader": {"name": "den", "self": true}, "nodes": 1, "models": 4, "backends": backends, "in_flight": 2,
        "queued": 1, "uptime_s": 7500, "listening": ["127.0.0.1:11435", "[::1]:11435"],
        "data_dir": "/home/ada/.fleet-manager"
    })
}

fn backend(id: &str, health: Value) -> Value {
    let mut backend = json!({
        "id": id, "kind": "ollama", "url": "http://127.0.0.1:11434", "link": "loopback", "version": "0.33.0",
        "slots": 2, "in_flight": 2, "models": 4, "loaded": 1
    });
    backend.as_object_mut().unwrap().extend(health.as_object().unwrap().clone());
    backend
}

#[test]
fn status_is_a_paragraph_and_a_table() {
    let mut far = backend("gpu", json!({"health": "down", "reason": "connection refused"}));
    far["link"] = json!("unencrypted");
    far["url"] = json!("http://10.0.0.5:8000");
    far["slots"] = Value::Null;
    let backends = json!([backend("ollama", json!({"health": "up"})), far]);
    golden("status", &FakeDoor::herd(&[("/fleet/self", 200, status(backends))]), "herd status");
}

#[test]
fn status_without_a_backend_says_what_to_do() {
    golden("status-empty", &FakeDoor::herd(&[("/fleet/self", 200, status(json!([])))]), "herd status");
}

#[test]
fn status_says_why_no_work_is_taken() {
    let mut paused = status(json!([backend("ollama", json!({"health": "hung"}))]));
    paused["share"] = json!({"state": "paused", "reason": "a camera is in use", "until": "2026-03-04T06:00:00Z"});
    paused["in_flight"] = json!(0);
    paused["queued"] = json!(0);
    golden("status-paused", &FakeDoor::herd(&[("/fleet/self", 200, paused)]), "herd status");
}

fn model(name: &str, loaded: Value) -> Value {
    json!({
        "name": name, "node": "den", "backend": "ollama", "digest": "ab", "size": 2_019_393_189_u64,
        "quantization": "Q4_K_M", "parameter_size": "3.2B", "capabilities": ["completion", "tools"],
        "context_trained": 131_072, "loaded": loaded
    })
}

#[test]
fn models_are_listed() {
    let mut bare = model("hf.co/somebody/A-Model-With-A-Long-Name-GGUF:Q4_K_M\u{1b}[2J", Value::Null);
    for field in ["size", "quantization", "context_trained"] {
        bare[field] = Value::Null;
    }
    bare["capabilities"] = json!(["completion"]);
    let loaded = json!({"context": 8192, "size": 3_000_000_000_u64, "size_vram": null, "expires_at": null});
    let list = json!([model("llama3.2:3b", loaded), bare]);
    golden("models", &FakeDoor::herd(&[("/fleet/models", 200, list)]), "herd models");
    golden("models-empty", &FakeDoor::herd(&[("/fleet/models", 200, json!([]))]), "herd models");
}

/// A model with what goes on there; `work` is what it works on and what waits.
fn lane(mut model: Value, state: &str, work: [u32; 2], reason: Value) -> Value {
    let more = json!({
        "state": state, "in_flight": work[0], "waiting": work[1], "slots": 4, "reason": reason, "eta_s": null,
    });
    model.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    model
}

#[test]
fn loaded_models_are_listed_with_their_memory() {
    let loaded = |expires: Value| json!({"context": 8192, "size": 3_000_000_000_u64, "size_vram": 1_500_000_000, "expires_at": expires});
    let list = json!([
        lane(model("llama3.2:3b", loaded(json!("2026-03-04T05:10:37.5+00:00"))), "draining", [2, 0], Value::Null),
        lane(model("forever", loaded(json!("2318-06-14T05:10:37Z"))), "loaded", [0, 0], Value::Null),
        lane(
            model("llama-server's", json!({"context": 4096, "size": null, "size_vram": null, "expires_at": null})),
            "loaded",
            [4, 3],
            json!("all its slots are in use"),
        ),
        lane(
            model("qwen3:8b", Value::Null),
            "waiting",
            [0, 1],
            json!("waiting for llama3.2:3b to finish 2 answers, then loads, ready in about 9 s"),
        ),
    ]);
    golden("ps", &FakeDoor::herd(&[("/fleet/ps", 200, list)]), "herd ps");
    golden("ps-empty", &FakeDoor::herd(&[("/fleet/ps", 200, json!([]))]), "herd ps");
}

fn trace() -> Value {
    json!({
        "request_id": "1k4nr2c8x0a1b2c3d4e5", "model": "llama3.2:3b", "original_model": "llama3.2:3b", "node_id": "den",
        "score": 44.0, "scores_breakdown": {"thermal": 50.0, "queue_depth": -6.0, "total": 44.0}, "status": "completed",
        "latency_ms": 4310.4, "time_to_first_token_ms": 310.4, "prompt_tokens": 26, "completion_tokens": 241,
        "retry_count": 1, "fallback_used": false, "excluded_nodes": ["llama-server"], "client_ip": "127.0.0.1",
        "original_format": "ollama", "error_message": null, "timestamp": 1_772_600_700.25, "tags": ["work", "draft"],
        "finish_reason": "stop", "estimated_tokens": 300, "backend": "ollama", "path": "/api/chat", "http_status": 200,
        "queued_ms": 1204.0, "app": "Open WebUI", "context": 8192, "context_verdict": "grown", "loaded_ms": 1010.0,
        "session": "00000000deadbeef"
    })
}

#[test]
fn traces_are_one_line_each() {
    let mut failed = trace();
    failed["request_id"] = json!("1k4nr2c8x0a1b2c3d4e6");
    failed["status"] = json!("failed");
    failed["model"] = json!("evil\u{1b}]0;title\u{7}");
    for field in ["time_to_first_token_ms", "prompt_tokens", "completion_tokens"] {
        failed[field] = Value::Null;
    }
    let door = FakeDoor::herd(&[
        ("/dashboard/api/traces?limit=20", 200, json!({"traces": [trace(), failed]})),
        ("/dashboard/api/traces?limit=3", 200, json!({"traces": []})),
    ]);
    golden("traces", &door, "herd traces");
    golden("traces-empty", &door, "herd traces -n 3");
}

#[test]
fn why_tells_the_story() {
    let mut why = trace();
    let more = json!({
        "candidates": [
            {"backend": "ollama", "in_flight": 1, "slots": 2, "loaded": true, "thermal": 50.0, "queue_depth": -6.0},
            {"backend": "llama-server", "in_flight": 0, "slots": 4, "loaded": false, "thermal": 10.0, "queue_depth": -0.0}
        ],
        "attempts": [
            {"backend": "llama-server", "error": "connection refused", "took_ms": 1.25},
            {"backend": "ollama", "error": null, "took_ms": 309.0}
        ],
        "unretriable": false, "request_bytes": 1840, "response_bytes": 20_480
    });
    why.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut rejected = why.clone();
    for (field, value) in [
        ("status", json!("rejected")),
        ("model", json!("gpt-9")),
        ("original_model", json!("gpt-9")),
        ("error_message", json!("model 'gpt-9' not found")),
        ("http_status", json!(404)),
        ("latency_ms", json!(0.4)),
        ("queued_ms", Value::Null),
        ("app", Value::Null),
        ("tags", json!([])),
        ("candidates", json!([])),
        ("attempts", json!([])),
        ("time_to_first_token_ms", Value::Null),
        ("completion_tokens", Value::Null),
        ("finish_reason", Value::Null),
    ] {
        rejected[field] = value;
    }
    let mut in_a_fleet = why.clone();
    in_a_fleet["candidates"] = json!([
        {"node": "den", "backend": "ollama", "in_flight": 1, "slots": 2, "loaded": true, "thermal": 50.0,
         "memory_fit": 20.0, "queue_depth": -6.0, "wait_time": -1.26, "role_affinity": 15.0, "availability_trend": 10.0,
         "context_fit": 15.0, "predicted": {"load_ms": 0.0, "queue_ms": 1200.0, "prefill_ms": 310.4, "decode_ms": 4000.0,
         "link_ms": 1.4}},
        {"node": "studio", "backend": "llama-server", "in_flight": 0, "slots": 4, "loaded": false, "thermal": 10.0,
         "queue_depth": -0.0, "predicted": {"load_ms": 9000.0, "queue_ms": 0.0, "prefill_ms": 310.4, "decode_ms": 4000.0,
         "link_ms": 0.0}}
    ]);
    in_a_fleet["attempts"][0]["node"] = json!("studio");
    let door = FakeDoor::herd(&[
        ("/fleet/traces/1k4nr4", 200, in_a_fleet),
        ("/fleet/traces/1k4nr2c8x0a1b2c3d4e5", 200, why),
        ("/fleet/traces/1k4nr3", 200, rejected),
        ("/fleet/traces/zzzzzz", 404, json!({"error": "no request zzzzzz is on record"})),
    ]);
    golden("why", &door, "herd why 1K4NR2C8X0A1B2C3D4E5");
    golden("why-fleet", &door, "herd why 1k4nr4");
    golden("why-rejected", &door, "herd why 1k4nr3");
    golden("why-unknown", &door, "herd why zzzzzz");
    golden("why-no-id", &door, "herd why ../self");
}

#[test]
fn config_asks_the_running_herd() {
    let rows = json!([
        {"name": "FLEET_PORT", "value": "11435", "source": "default", "about": "The door's port."},
        {"name": "FLEET_BACKENDS", "value": "", "source": "default", "about": "Further inference servers."},
        {"name": "FLEET_MDNS", "value": "off", "source": "environment", "about": "Looks. (not in this version yet)"},
    ]);
    golden("config", &FakeDoor::herd(&[("/fleet/config", 200, rows)]), "herd config");
}

#[test]
fn config_without_a_running_herd_shows_what_would_be_used() {
    let port = unused_port();
    let vars = [("FLEET_QUEUE_SIZE", "7"), ("FLEET_PROT", "1")];
    let ran = herd(&format!("herd config --json --port {port}"), &vars);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("No Herd is running") && ran.err.contains("nearest is FLEET_PORT"), "{}", ran.err);
    let rows: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(row("FLEET_QUEUE_SIZE")["source"], "environment");
    assert_eq!(row("FLEET_PORT")["source"], "flag");
    assert_eq!(row("FLEET_DATA_DIR")["value"], "DATA_DIR");
}

#[test]
fn doctor_fails_where_there_is_a_problem() {
    let checks = json!([
        {"check": "door", "state": "ok", "found": "listening on 127.0.0.1:11435", "advice": null},
        {"check": "backends", "state": "warning", "found": "gpu is reached unencrypted", "advice": "move it closer"},
        {"check": "disk", "state": "problem", "found": "12 MB are left", "advice": "make room in ~/.fleet-manager"},
    ]);
    golden("doctor", &FakeDoor::herd(&[("/fleet/doctor", 200, checks.clone())]), "herd doctor");
    let fine = json!([checks[0]]);
    golden("doctor-fine", &FakeDoor::herd(&[("/fleet/doctor", 200, fine)]), "herd doctor");
    let ran = herd(&format!("herd doctor --json --port {}", unused_port()), &[("FLEET_COLOUR", "1")]);
    assert_eq!((ran.code, ran.out.lines().count()), (3, 2), "{}", ran.out);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    for (status, code) in [(400, 2), (401, 4), (403, 4), (404, 5), (500, 1), (501, 1), (504, 6)] {
        let door = FakeDoor::herd(&[("/fleet/self", status, json!({"error": "because\u{7} of it"}))]);
        let ran = herd(&format!("herd status --port {}", door.port), &[]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (code, "", "Because of it.\n"), "{status}");
    }
    let odd = FakeDoor::herd(&[("/fleet/self", 200, json!({"name": 7})), ("/fleet/models", 200, json!({}))]);
    assert_eq!(herd(&format!("herd status --port {}", odd.port), &[]).code, 1);
    assert_eq!(herd(&format!("herd models --json --port {}", odd.port), &[]).code, 1);
    for line in ["herd statsu", "herd traces -n 0", "herd status --port x", "herd share maybe"] {
        let ran = herd(line, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{line}");
    }
    assert_eq!(herd("herd status", &[("FLEET_PORT", "x")]).code, 2);
    let ran = herd(&format!("herd status --port {}", unused_port()), &[]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    assert!(ran.err.contains("Start it with `herd`"), "{}", ran.err);
}

#[test]
fn another_program_at_the_port_is_named_and_not_shown_the_token() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("control.token"), "t0ken\n").unwrap();
    let version = ("/api/version", 200, json!({"version": "0.33.0"}));
    let ollama = FakeDoor::start(std::slice::from_ref(&version));
    let earlier = FakeDoor::start(&[version.clone(), ("/fleet/status", 200, json!({"nodes": []}))]);
    let other = FakeDoor::start(&[]);
    for (door, name) in [(&ollama, "Ollama 0.33.0"), (&earlier, "ollama-herd"), (&other, "another program")] {
        let ran = herd_in(dir.path(), &format!("herd traces --port {}", door.port), &[]);
        assert_eq!(ran.code, 3);
        assert!(ran.err.contains(&format!("{name} listens there")), "{}", ran.err);
        assert!(door.seen().iter().all(|line| line.ends_with(" no key")));
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let rude = std::thread::spawn(move || silent.accept().unwrap().0.write_all(b"220 mail ready\r\n"));
    let ran = herd_in(dir.path(), &format!("herd status --port {port}"), &[]);
    rude.join().unwrap().unwrap();
    assert_eq!(ran.code, 3, "{}", ran.err);
}

#[test]
fn the_token_of_the_data_directory_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("control.token"), "t0ken\n").unwrap();
    let door = FakeDoor::herd(&[("/fleet/models", 200, json!([]))]);
    assert_eq!(herd_in(dir.path(), &format!("herd models --port {}", door.port), &[]).code, 0);
    assert_eq!(door.seen(), ["/api/version no key", "/fleet/models Bearer t0ken"]);
}

#[test]
fn serve_is_called_with_what_was_read() {
    let vars = [("FLEET_PROT", "1")];
    for line in ["herd --never-lead", "herd serve --never-lead --backend :8080"] {
        assert_eq!(herd(line, &vars).code, 0, "{line}");
    }
    let ran = herd("herd serve --port 1", &[]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "port 1 is taken by Ollama 0.33.0\n"));
    let ran = herd("herd --host den.example", &[]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.starts_with("FLEET_HOST=den.example is not localhost, or addresses"), "{}", ran.err);
}

#[test]
fn logs_need_no_running_herd() {
    let dir = tempfile::tempdir().unwrap();
    let ran = herd_in(dir.path(), "herd logs", &[]);
    assert_eq!(ran.code, 5);
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    let record =
        r#"{"ts":"2026-03-04T05:06:07.1+00:00","level":"INFO","logger":"node","msg":"listening","port":11435}"#;
    std::fs::write(dir.path().join("logs/herd.jsonl"), format!("a torn line\n{record}\n")).unwrap();
    let ran = herd_in(dir.path(), "herd logs", &[]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "a torn line\n03-04 05:06:07 INFO  listening port=11435\n"));
    let ran = herd_in(dir.path(), "herd logs --json -n 9", &[]);
    assert_eq!((ran.code, ran.out), (0, format!("{record}\n")));
    assert_eq!(herd_in(dir.path(), "herd logs -n 0", &[]).out, "");
}

#[test]
fn the_version_and_completions_need_nothing() {
    for (line, out) in [("herd --version", "herd 0.1.0\n"), ("herd -V --json", "{\"version\":\"0.1.0\"}\n")] {
        let ran = herd(line, &[("FLEET_PORT", "x")]);
        assert_eq!((ran.code, ran.out.replace(proto::VERSION, "0.1.0").as_str()), (0, out), "{line}");
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = herd(&format!("herd completions {shell}"), &[]);
        assert!(ran.code == 0 && ran.out.contains("doctor"), "{shell}");
    }
    assert_eq!(herd("herd completions tcsh", &[]).code, 2);
    let help = herd("herd --help", &[]);
    assert!(help.code == 0 && help.out.contains("Exit codes") && help.err.is_empty());
}

#[test]
fn the_dashboard_is_opened_or_its_address_is_told() {
    let ticket = json!({ "ticket": "ab12", "path": "/dashboard#t=ab12", "expires_in_s": 60 });
    let door = FakeDoor::herd(&[("/dashboard/api/ticket", 200, ticket)]);
    let port = door.port;
    let url = format!("http://localhost:{port}/dashboard#t=ab12");
    let line = format!("herd dashboard --port {port}");

    let opened = herd(&line, &[("DISPLAY", ":0")]);
    assert_eq!((opened.code, opened.out.as_str()), (0, ""));
    assert_eq!(opened.err, "The dashboard is open in the browser.\n");
    assert!(door.seen().iter().any(|asked| asked.starts_with("/dashboard/api/ticket")), "{:?}", door.seen());

    if cfg!(target_os = "linux") {
        let told = herd(&line, &[("DISPLAY", "")]);
        assert_eq!((told.code, told.out), (0, format!("{url}\n")));
        assert!(told.err.contains("works once"), "{}", told.err);
    }
    let script = herd(&format!("{line} --json"), &[("DISPLAY", ":0")]);
    assert_eq!(script.code, 0, "{}", script.err);
    assert_eq!(serde_json::from_str::<Value>(&script.out).unwrap(), json!({ "url": url, "expires_in_s": 60 }));

    let refused = FakeDoor::herd(&[("/dashboard/api/ticket", 401, json!({ "error": "no" }))]);
    assert_eq!(herd(&format!("herd dashboard --port {}", refused.port), &[]).code, 4);
    // An address that is not ours is not opened.
    let odd = FakeDoor::herd(&[("/dashboard/api/ticket", 200, json!({ "path": "//elsewhere.example" }))]);
    assert_eq!(herd(&format!("herd dashboard --port {}", odd.port), &[("DISPLAY", ":0")]).code, 1);
}
