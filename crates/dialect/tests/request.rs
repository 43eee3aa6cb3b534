//! Requests in every dialect and what backends of every kind are asked for them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use dialect::{Expect, ForcedTool, Note, Runner, Target, Translated, translate, translate_for, upstream};
use proptest::prelude::*;
use proto::{Api, BackendKind};
use serde_json::{Map, Value, json};

const KINDS: [BackendKind; 6] = [
    BackendKind::Ollama,
    BackendKind::LlamaServer,
    BackendKind::LlamaRouter,
    BackendKind::LmStudio,
    BackendKind::Vllm,
    BackendKind::OpenAi,
];

const CLIENTS: [Api; 9] = [
    Api::OllamaChat,
    Api::OllamaGenerate,
    Api::OllamaEmbed,
    Api::OllamaEmbeddings,
    Api::ChatCompletions,
    Api::Completions,
    Api::Embeddings,
    Api::Responses,
    Api::Messages,
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// What a test file says about a translation.
fn told(result: Result<Translated, dialect::Failure>) -> Value {
    let done = match result {
        Ok(done) => done,
        Err(failure) => return json!({"status": failure.status(), "refused": failure.message}),
    };
    let notes: Vec<String> = done
        .notes
        .iter()
        .map(|note| match note {
            Note::Ignored(field) => format!("ignored {field}"),
            Note::Emulated(field) => format!("emulated {field}"),
        })
        .collect();
    let body: Value = serde_json::from_slice(&done.body).unwrap();
    json!({"path": done.upstream.path(), "body": body, "notes": notes, "expect": expectations(&done.expect)})
}

/// What the answer's translator is told beyond the usual.
fn expectations(expect: &Expect) -> Value {
    let usual = Expect::new(expect.client, expect.upstream, "", false);
    let mut told = Map::new();
    let mut tell = |name: &str, value: Value, usual: Value| {
        if value != usual {
            told.insert(name.to_owned(), value);
        }
    };
    tell("model", json!(expect.model), json!(usual.model));
    tell("stream", json!(expect.stream), json!(usual.stream));
    tell("include_usage", json!(expect.include_usage), json!(usual.include_usage));
    let forced = expect.forced_tool.as_ref().map(|tool| match tool {
        ForcedTool::One { name } => name.as_str(),
        ForcedTool::Any => "(any)",
    });
    tell("forced_tool", json!(forced), Value::Null);
    tell("one_tool_call", json!(expect.one_tool_call), json!(usual.one_tool_call));
    let renamed: Vec<_> =
        expect.renamed_tools.iter().map(|tool| json!([tool.sent, tool.namespace, tool.name])).collect();
    tell("renamed_tools", json!(renamed), json!([]));
    tell("logprobs", json!(expect.logprobs), json!(usual.logprobs));
    tell("echo", json!(expect.echo), json!(usual.echo));
    tell("only_load", json!(expect.only_load), json!(usual.only_load));
    tell("embeddings_base64", json!(expect.embeddings_base64), json!(usual.embeddings_base64));
    tell("legacy_single", json!(expect.legacy_single), json!(false));
    tell("dimensions", json!(expect.dimensions), json!(usual.dimensions));
    let members: Value = serde_json::from_str(&format!("{{{}}}", expect.response_members)).unwrap();
    tell("response", members, json!({}));
    told.into()
}

#[test]
#[allow(clippy::disallowed_methods, reason = "whether to rewrite is told to the test by its caller")]
fn requests_are_translated_as_kept() {
    let rewrite = std::env::var("GOLDEN").is_ok_and(|golden| golden == "write");
    let mut cases = 0;
    for entry in std::fs::read_dir(folder("golden/request")).unwrap() {
        let path = entry.unwrap().path();
        let kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let client = Api::at(kept["path"].as_str().unwrap()).unwrap();
        let body = kept["in"].to_string();
        let mut actual = json!({"path": kept["path"], "in": kept["in"]});
        for kind in KINDS.into_iter().filter(|kind| upstream(client, *kind).is_some_and(|api| api != client)) {
            let done = told(translate(client, kind, "served", body.as_bytes()));
            // What several kinds get alike is written once.
            let earlier = actual["out"].as_object().into_iter().flatten().find(|(_, value)| **value == done);
            let shown = earlier.map_or(done.clone(), |(name, _)| json!(format!("as {name}")));
            actual["out"][kind.as_str()] = shown;
        }
        if rewrite {
            std::fs::write(&path, format!("{actual:#}\n")).unwrap();
        } else {
            assert_eq!(actual, kept, "{} differs; GOLDEN=write rewrites it", path.display());
        }
        cases += 1;
    }
    assert!(cases > 20);
}

#[test]
fn what_clients_send_is_accepted_everywhere() {
    let requests = std::fs::read_to_string(folder("data/client-requests.txt")).unwrap();
    for line in requests.lines() {
        let (path, body) = line.split_once(' ').unwrap();
        for kind in KINDS {
            let done = translate(Api::at(path).unwrap(), kind, "m2", body.as_bytes()).unwrap();
            let sent: Value = serde_json::from_slice(&done.body).unwrap();
            let client: Value = serde_json::from_str(body).unwrap();
            assert!(sent["model"] == "m2" || sent == client, "{line}");
            let default = Api::at(path).unwrap().streams_by_default();
            assert_eq!(done.expect.stream, client["stream"].as_bool().unwrap_or(default), "{line}");
            assert_eq!(done.expect.model, "m1");
        }
    }
}

#[test]
fn a_wish_to_think_goes_only_to_models_that_can() {
    let body = |client: Api| match client {
        Api::Messages => {
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}],"thinking":{"type":"enabled"},"output_config":{"effort":"high"}}"#
        }
        _ => r#"{"model":"m","messages":[{"role":"user","content":"x"}],"reasoning_effort":"high"}"#,
    };
    for (client, thinks, think, ignored) in [
        (Api::Messages, None, None, true),
        (Api::Messages, Some(true), Some("high"), false),
        (Api::Messages, Some(false), None, true),
        (Api::ChatCompletions, None, Some("high"), false),
        (Api::ChatCompletions, Some(false), None, true),
    ] {
        let target = Target { kind: BackendKind::Ollama, model: "m", thinks, runner: Runner::default() };
        let done = translate_for(client, target, body(client).as_bytes()).unwrap();
        let sent: Value = serde_json::from_slice(&done.body).unwrap();
        assert_eq!(sent["think"].as_str(), think, "{client:?} {thinks:?}");
        assert_eq!(!done.notes.is_empty(), ignored, "{client:?} {thinks:?}");
    }
}

#[test]
fn each_dialect_says_in_its_own_words_how_hard_to_think() {
    let sent = |client: Api, kind: BackendKind, field: &str| -> Value {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{field}}}"#);
        serde_json::from_slice(&translate(client, kind, "m", body.as_bytes()).unwrap().body).unwrap()
    };
    for (word, think) in [
        ("none", json!(false)),
        ("minimal", json!("low")),
        ("low", json!("low")),
        ("medium", json!("medium")),
        ("high", json!("high")),
        ("xhigh", json!("max")),
        ("max", json!("max")),
    ] {
        let field = format!(r#""reasoning_effort":"{word}""#);
        assert_eq!(sent(Api::ChatCompletions, BackendKind::Ollama, &field)["think"], think, "{word}");
    }
    for (think, kwargs, effort) in [
        ("false", json!({"enable_thinking": false}), json!("none")),
        ("true", json!({"enable_thinking": true}), Value::Null),
        ("\"low\"", json!({"enable_thinking": true, "reasoning_effort": "low"}), json!("low")),
        ("\"medium\"", json!({"enable_thinking": true, "reasoning_effort": "medium"}), json!("medium")),
        ("\"max\"", json!({"enable_thinking": true, "reasoning_effort": "high"}), json!("high")),
    ] {
        let field = format!(r#""think":{think}"#);
        assert_eq!(sent(Api::OllamaChat, BackendKind::LlamaServer, &field)["chat_template_kwargs"], kwargs, "{think}");
        assert_eq!(sent(Api::OllamaChat, BackendKind::OpenAi, &field)["reasoning_effort"], effort, "{think}");
    }
}

#[test]
fn what_asks_for_no_more_than_usual_is_never_refused() {
    for (client, kind, fields) in [
        (Api::ChatCompletions, BackendKind::Ollama, r#""n":1,"modalities":["text"],"logit_bias":{},"functions":[]"#),
        (Api::Completions, BackendKind::Ollama, r#""n":1,"best_of":1,"logprobs":false,"suffix":"""#),
        (Api::OllamaChat, BackendKind::OpenAi, r#""options":{"top_k":40,"min_p":0.0,"repeat_penalty":1,"mirostat":0}"#),
        (Api::OllamaGenerate, BackendKind::LlamaServer, r#""suffix":"","template":"","context":[],"format":"""#),
        (Api::Messages, BackendKind::OpenAi, r#""max_tokens":1,"top_k":40,"mcp_servers":[],"container":null"#),
    ] {
        let body = format!(r#"{{"model":"m","prompt":"x","messages":[{{"role":"user","content":"x"}}],{fields}}}"#);
        let done = translate(client, kind, "m", body.as_bytes()).unwrap();
        let spare = [Note::Ignored("prompt".into()), Note::Ignored("messages".into())];
        let notes: Vec<_> = done.notes.iter().filter(|note| !spare.contains(note)).collect();
        assert_eq!(notes, Vec::<&Note>::new(), "{client:?}");
    }
}

#[test]
fn bodies_that_are_no_requests_are_refused_in_words() {
    for (client, body, text) in [
        (Api::ChatCompletions, "", "EOF"),
        (Api::ChatCompletions, "{", "unexpected EOF"),
        (Api::ChatCompletions, "[]", "json: cannot unmarshal array into Go value of type openai.ChatCompletionRequest"),
        (Api::ChatCompletions, r#"{"messages":[]}"#, "[] is too short - 'messages'"),
        (Api::ChatCompletions, r#"{"messages":[1]}"#, "`messages[]` must be an object"),
        (
            Api::ChatCompletions,
            r#"{"messages":[{"content":"x"}],"temperature":"hot"}"#,
            "`temperature` must be a number",
        ),
        (
            Api::ChatCompletions,
            r#"{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{x"}}]}]}"#,
            "the arguments of an earlier tool call are no JSON object",
        ),
        (Api::Messages, r#"{"messages":[]}"#, "max_tokens is required and must be positive"),
        (Api::Responses, "{}", "`input` must be given"),
    ] {
        let failure = translate(client, BackendKind::Ollama, "m", body.as_bytes()).unwrap_err();
        assert_eq!((failure.status(), failure.message.as_str()), (400, text), "{body}");
    }
}

#[test]
fn what_is_sent_in_great_numbers_is_bounded() {
    let many = |element: &str| vec![element; 70_000].join(",");
    for body in [
        format!(r#"{{"messages":[{}]}}"#, many("{}")),
        format!(r#"{{"messages":[{{"content":[{}]}}]}}"#, many(r#"{"type":"text"}"#)),
        format!(r#"{{"messages":[{{}}],"stop":[{}]}}"#, many("\"\"")),
        format!(r#"{{"messages":[{{}}],"tools":[{}]}}"#, many(r#"{"function":{"name":"a"}}"#)),
        format!("{{{}}}", (0..300).map(|at| format!(r#""a{at}":1"#)).collect::<Vec<_>>().join(",")),
    ] {
        let failure = translate(Api::ChatCompletions, BackendKind::Ollama, "m", body.as_bytes()).unwrap_err();
        assert!(failure.message.contains(" more than "), "{}", failure.message);
    }
    let unknown: String = (0..200).map(|at| format!(r#","a{at}":1"#)).collect();
    let body = format!(r#"{{"messages":[{{"role":"user","content":"x"}}]{unknown}}}"#);
    let done = translate(Api::ChatCompletions, BackendKind::Ollama, "m", body.as_bytes()).unwrap();
    assert_eq!(done.notes.len(), 64);
}

#[test]
fn bytes_that_are_no_text_do_no_harm() {
    let body = b"{\"messages\":[{\"role\":\"user\",\"content\":\"a\xff\\ud83db\"}]}";
    let done = translate(Api::ChatCompletions, BackendKind::Ollama, "m", body).unwrap();
    assert!(String::from_utf8(done.body.to_vec()).unwrap().contains(r#""content":"a�\ud83db""#));
}

/// Strings that mean something to some dialect, or nothing.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "system",
            "user",
            "assistant",
            "tool",
            "text",
            "image_url",
            "input_text",
            "tool_use",
            "tool_result",
            "image",
            "thinking",
            "function",
            "json_schema",
            "json_object",
            "any",
            "auto",
            "required",
            "high",
            "message",
            "function_call",
            "reasoning",
            "data:image/png;base64,AAAA",
            "base64",
            "{}",
            "enabled",
            "namespace",
            "custom",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "model",
            "messages",
            "role",
            "content",
            "type",
            "text",
            "tools",
            "tool_choice",
            "function",
            "name",
            "input",
            "arguments",
            "options",
            "format",
            "response_format",
            "json_schema",
            "schema",
            "thinking",
            "reasoning",
            "effort",
            "stop",
            "stream",
            "think",
            "images",
            "image_url",
            "url",
            "source",
            "data",
            "tool_calls",
            "id",
            "tool_call_id",
            "max_tokens",
            "prompt",
            "suffix",
            "raw",
            "keep_alive",
            "system",
            "instructions",
            "output",
            "parameters",
            "input_schema",
            "metadata",
            "n",
            "logprobs",
            "summary",
            "encoding_format",
            "dimensions",
            "output_config",
            "chat_template_kwargs",
            "stream_options",
            "namespace",
            "call_id",
            "truncate",
        ])
        .prop_map(str::to_owned),
        ".{0,4}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..6).prop_map(|members| members.into_iter().collect::<Value>()),
        ]
    })
}

/// An object whose parts are where some dialect looks for them.
fn request() -> impl Strategy<Value = Value> {
    (prop::collection::vec((name(), value()), 0..8), prop::collection::vec(value(), 0..4)).prop_map(
        |(members, list)| {
            let mut body: Map<String, Value> = members.into_iter().collect();
            body.insert("max_tokens".to_owned(), json!(3));
            for place in ["messages", "input", "tools"] {
                let list = list.iter().cloned();
                let objects =
                    list.map(|one| if one.is_object() { one } else { json!({"type": "message", "content": one}) });
                body.entry(place).or_insert(objects.collect());
            }
            body.into()
        },
    )
}

fn every_pairing(body: &[u8]) -> Result<(), TestCaseError> {
    for client in CLIENTS {
        for kind in KINDS {
            let Ok(done) = translate(client, kind, "m", body) else { continue };
            if upstream(client, kind) == Some(client) {
                prop_assert_eq!(&done.body[..], body);
                continue;
            }
            let sent: Value = serde_json::from_slice(&done.body).unwrap();
            prop_assert_eq!(&sent["model"], "m");
            prop_assert!(done.notes.len() <= 64);
            let again = translate(client, kind, "m", body).unwrap();
            prop_assert_eq!(again.body, done.body);
        }
    }
    Ok(())
}

/// A message as Ollama's clients send it, in the form that comes back.
fn ollama_message() -> impl Strategy<Value = Value> {
    let text = ".{0,12}";
    prop_oneof![
        text.prop_map(|text| json!({"role": "system", "content": text})),
        (text, any::<bool>()).prop_map(|(text, image)| match image {
            true => json!({"role": "user", "content": text, "images": ["iVBORw0KGgo="]}),
            false => json!({"role": "user", "content": text}),
        }),
        (text, ".{1,9}")
            .prop_map(|(text, thinking)| json!({"role": "assistant", "content": text, "thinking": thinking})),
        (text, "[a-z]{1,5}", text, text).prop_map(|(id, name, key, result)| {
            let id = format!("c{id}");
            let call = json!({"id": id, "function": {"name": name, "arguments": {key: 1}}});
            json!([
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": result, "tool_name": name, "tool_call_id": id},
            ])
        }),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..200)) {
        every_pairing(&body)?;
    }

    #[test]
    fn any_object_is_answered(body in request()) {
        every_pairing(body.to_string().as_bytes())?;
    }

    #[test]
    fn a_cut_request_is_no_request(body in request(), cut in any::<prop::sample::Index>()) {
        let body = body.to_string();
        let mut end = cut.index(body.len());
        while !body.is_char_boundary(end) {
            end -= 1;
        }
        for kind in KINDS {
            prop_assert!(translate(Api::ChatCompletions, kind, "m", &body.as_bytes()[..end]).is_err());
        }
    }

    #[test]
    fn what_both_can_say_comes_back(
        messages in prop::collection::vec(ollama_message(), 1..6),
        numbers in prop::collection::btree_map(
            prop::sample::select(vec!["temperature", "top_p", "presence_penalty", "frequency_penalty", "min_p", "repeat_penalty"]),
            (-200..200i32).prop_map(|hundredths| f64::from(hundredths) / 100.0), 0..6),
        integers in prop::collection::btree_map(prop::sample::select(vec!["top_k", "seed", "num_predict"]), 0..99_999i64, 0..3),
        stop in prop::collection::vec(".{0,5}", 0..3),
        think in prop::option::of(any::<bool>()),
        with_tools: bool,
        with_schema: bool,
        stream: bool,
    ) {
        let messages: Vec<Value> = messages.into_iter().flat_map(|message| match message {
            Value::Array(several) => several,
            one => vec![one],
        }).collect();
        let mut options: Map<String, Value> = Map::new();
        options.extend(numbers.into_iter().map(|(name, number)| (name.to_owned(), json!(number))));
        options.extend(integers.into_iter().map(|(name, number)| (name.to_owned(), json!(number))));
        if !stop.is_empty() {
            options.insert("stop".to_owned(), json!(stop));
        }
        let mut body = json!({"model": "m", "stream": stream, "options": options, "messages": messages});
        let schema = json!({"type": "object", "properties": {"b": {"type": "string"}, "a": {}}});
        if with_tools {
            body["tools"] = json!([{"type": "function", "function": {"name": "t", "description": "d", "parameters": schema}}]);
        }
        if with_schema {
            body["format"] = schema;
        }
        if let Some(think) = think {
            body["think"] = json!(think);
        }
        let there = translate(Api::OllamaChat, BackendKind::LlamaServer, "m", body.to_string().as_bytes()).unwrap();
        prop_assert_eq!(there.notes, vec![]);
        let back = translate(Api::ChatCompletions, BackendKind::Ollama, "m", &there.body).unwrap();
        prop_assert_eq!(back.notes, vec![]);
        let mut back: Value = serde_json::from_slice(&back.body).unwrap();
        // Said on the way for clients that leave it to defaults of their own.
        back.as_object_mut().unwrap().remove("truncate");
        for name in ["temperature", "top_p"] {
            if body["options"].get(name).is_none() {
                prop_assert_eq!(back["options"].as_object_mut().unwrap().remove(name), Some(json!(1)));
            }
        }
        let normal = |value: &Value| -> Value {
            let mut value = value.clone();
            for number in value["options"].as_object_mut().into_iter().flat_map(|options| options.values_mut()) {
                if let Some(float) = number.as_f64() {
                    *number = json!(float);
                }
            }
            value
        };
        prop_assert_eq!(normal(&back), normal(&body));
    }
}
