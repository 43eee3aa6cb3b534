//! One file per backend and client with all that can happen.

use std::fmt::Write as _;
use std::path::Path;

use dialect::{Expect, ForcedTool, RenamedTool};
use proto::Api;
use serde_json::json;

use super::upstream::{Act, answer, call, say, think};
use super::{PAIRS, expect, forced_one, translate};

#[allow(clippy::disallowed_methods, reason = "whether to rewrite is told to the test by its caller")]
pub(crate) fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/answer").join(name);
    if std::env::var("GOLDEN").is_ok_and(|golden| golden == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name} differs; GOLDEN=write rewrites it");
}

pub(crate) fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// A name, what the model does, why it stops, and what the client expects beyond the usual.
pub(crate) type Case = (&'static str, Vec<Act>, &'static str, fn(Expect) -> Expect);

pub(crate) fn cases() -> Vec<Case> {
    let same: fn(Expect) -> Expect = |expect| expect;
    let paris = json!({"city": "Paris \"now\""});
    vec![
        ("text", vec![say("Hi"), say(" \"there\"\n<b>"), say(" é😀")], "stop", same),
        ("nothing", vec![], "stop", same),
        ("thinking", vec![think("Hm"), think(" so."), say("Four.")], "stop", same),
        ("cut by length", vec![think("Hm"), say("This reply")], "length", same),
        (
            "parallel tools",
            vec![say("Let me look."), call("abc", "get_weather", paris.clone()), call("", "get_time", json!({}))],
            "stop",
            same,
        ),
        (
            "one tool of two",
            vec![call("abc", "get_weather", paris.clone()), call("def", "get_time", json!({}))],
            "stop",
            |expect| Expect { one_tool_call: true, ..expect },
        ),
        ("a renamed tool", vec![call("abc", "mcp.get_time", json!({"zone": 1}))], "stop", |expect| {
            let [sent, namespace, name] = ["mcp.get_time", "mcp", "get_time"].map(str::to_owned);
            Expect { renamed_tools: vec![RenamedTool { sent, namespace, name }], ..expect }
        }),
        ("forced tool", vec![think("Hm"), say("{\"city\":"), say("\"Paris\"}")], "stop", |expect| Expect {
            forced_tool: forced_one(),
            ..expect
        }),
        (
            "some forced tool",
            vec![say("{\"name\":\"get_time\","), say("\"arguments\":{\"zone\":1}}")],
            "stop",
            |expect| Expect { forced_tool: Some(ForcedTool::Any), ..expect },
        ),
        ("some forced tool, cut", vec![say("{\"name\":\"get_")], "length", |expect| Expect {
            forced_tool: Some(ForcedTool::Any),
            ..expect
        }),
        ("echo", vec![say(" upon a time")], "stop", |expect| Expect { echo: Some("\"Once\"".to_owned()), ..expect }),
        ("without usage", vec![say("Hi")], "stop", |expect| Expect { include_usage: false, ..expect }),
        ("only load", vec![say("Hi")], "stop", |expect| Expect { only_load: true, ..expect }),
        ("repeated members", vec![say("Hi")], "stop", |expect| Expect {
            response_members: r#""tools":[{"type":"custom","name":"h"}],"temperature":0.5"#.to_owned(),
            ..expect
        }),
    ]
}

/// Whether the client can meet such a case.
pub(crate) fn fits(client: Api, upstream: Api, case: &str) -> bool {
    let is_plain = client == Api::Completions || upstream == Api::Completions;
    let is_ollama = matches!(client, Api::OllamaChat | Api::OllamaGenerate);
    match case {
        "echo" => client == Api::Completions,
        "without usage" => matches!(client, Api::ChatCompletions | Api::Completions),
        "only load" => is_ollama,
        "repeated members" => client == Api::Responses,
        "forced tool" | "some forced tool" | "some forced tool, cut" => !is_plain && upstream == Api::OllamaChat,
        "parallel tools" | "one tool of two" | "a renamed tool" => !is_plain,
        _ => true,
    }
}

fn file_name(client: Api, upstream: Api) -> String {
    let name = |api: Api| api.path().trim_start_matches('/').replace('/', "-");
    format!("{}-to-{}.txt", name(upstream), name(client))
}

#[test]
fn every_backend_for_every_client() {
    for (client, upstream) in PAIRS {
        let mut out = String::new();
        for (name, acts, reason, change) in cases() {
            if !fits(client, upstream, name) {
                continue;
            }
            for stream in [true, false] {
                let answer = answer(upstream, stream, &acts, reason);
                let done = translate(change(expect(client, upstream, stream)), [&answer[..]]);
                let form = if stream { "streamed" } else { "whole" };
                assert_eq!(done.failure, None, "{client:?} from {upstream:?}: {name}, {form}\n{}", done.text);
                writeln!(out, "# {name}, {form}\n{}", done.text).unwrap();
            }
        }
        check(&file_name(client, upstream), &out);
    }
}

#[test]
fn what_real_backends_sent() {
    let mut out = String::new();
    for (file, upstream, stream, clients) in [
        ("chat-tools.txt", Api::OllamaChat, true, &[Api::ChatCompletions, Api::Messages, Api::Responses][..]),
        ("chat-whole.txt", Api::OllamaChat, false, &[Api::ChatCompletions, Api::Messages, Api::Responses]),
        ("generate.txt", Api::OllamaGenerate, true, &[Api::Completions]),
        ("llama-chat.txt", Api::ChatCompletions, true, &[Api::OllamaChat, Api::Messages]),
        ("llama-chat-whole.txt", Api::ChatCompletions, false, &[Api::OllamaChat, Api::Messages]),
        ("llama-logprobs.txt", Api::ChatCompletions, true, &[Api::OllamaChat, Api::Responses]),
        ("llama-completions.txt", Api::Completions, true, &[Api::OllamaGenerate]),
        ("llama-completions-whole.txt", Api::Completions, false, &[Api::OllamaGenerate]),
        ("v1-chat-thinking.txt", Api::ChatCompletions, true, &[Api::OllamaChat]),
        ("v1-chat-tools.txt", Api::ChatCompletions, true, &[Api::OllamaChat, Api::Messages]),
    ] {
        for &client in clients {
            let done = translate(expect(client, upstream, stream), [&recorded(file)[..]]);
            assert_eq!(done.failure, None, "{file} for {client:?}");
            super::client::hear(client, stream, &done.text);
            writeln!(out, "# {file} for {}\n{}", client.path(), done.text).unwrap();
        }
    }
    check("recorded.txt", &out);
}
