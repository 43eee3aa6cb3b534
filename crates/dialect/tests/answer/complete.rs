//! Whatever is written has every field that the published descriptions demand, streamed or not.

use dialect::{AnswerTranslator, Cause, Expect, Failure, ForcedTool};
use proptest::prelude::*;
use proto::{Api, Dialect};
use serde_json::{Value, json};

use super::assemble::assembled;
use super::goldens::{cases, fits, recorded};
use super::properties::acts;
use super::schema::{Schema, check_answer};
use super::upstream::{answer, call, say, think};
use super::{ID, NOW_MS, PAIRS, expect, translate};

/// Translates the same answer streamed and whole, checks both, and that they say the same.
fn check_both(name: &str, client: Api, upstream: Api, answers: [&[u8]; 2], change: impl Fn(Expect) -> Expect) {
    let [streamed, whole] = [(true, answers[0]), (false, answers[1])].map(|(stream, answer)| {
        let done = translate(change(expect(client, upstream, stream)), [answer]);
        assert_eq!(done.failure, None, "{name}: {client:?} from {upstream:?}");
        check_answer(client, stream, &done.text);
        done.text
    });
    let (streamed, whole) = assembled(client, &streamed, &whole);
    assert_eq!(streamed, whole, "{name}: {client:?} from {upstream:?}");
}

#[test]
fn every_object_is_complete_and_streams_add_up_to_it() {
    for (client, upstream) in PAIRS {
        for (name, acts, reason, change) in cases() {
            if !fits(client, upstream, name) || name == "without usage" {
                continue;
            }
            let answers = [true, false].map(|stream| answer(upstream, stream, &acts, reason));
            check_both(name, client, upstream, [&answers[0], &answers[1]], change);
        }
    }
}

#[test]
fn without_usage_chunks_are_complete_too() {
    for client in [Api::ChatCompletions, Api::Completions] {
        let answer = answer(Api::OllamaChat, true, &[say("Hi")], "stop");
        let expect = Expect { include_usage: false, ..expect(client, Api::OllamaChat, true) };
        check_answer(client, true, &translate(expect, [&answer[..]]).text);
    }
}

#[test]
fn every_reason_to_stop_is_in_the_lists() {
    for (client, upstream) in PAIRS {
        for reason in ["stop", "length", "content_filter", "something new"] {
            let acts = [think("Hm"), say("Hi"), call("a", "f", json!({"n": 1}))];
            for acts in [&acts[..2], &acts] {
                let answers = [true, false].map(|stream| answer(upstream, stream, acts, reason));
                check_both(reason, client, upstream, [&answers[0], &answers[1]], |expect| expect);
            }
        }
    }
}

#[test]
fn log_probabilities_are_complete() {
    let ollama = |call: &str, text: &str| {
        let likely = r#""logprobs":[{"token":"Hi","logprob":-0.5,"top_logprobs":[{"token":"\ufffd","logprob":-2}]},{"token":"","logprob":-1}]"#;
        let said = if call == "chat" {
            format!(r#""message":{{"content":"{text}"}}"#)
        } else {
            format!(r#""response":"{text}""#)
        };
        format!("{{{said},{likely},\"done\":true,\"done_reason\":\"stop\"}}\n").into_bytes()
    };
    let openai = |said: &str| {
        format!(
            r#"{{"choices":[{{"index":0,"{said}":{{"content":"Hi"}},"logprobs":{{"content":[{{"id":355,"token":"Hi","logprob":-0.5}}]}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":1}}}}"#
        )
    };
    for (client, upstream) in PAIRS {
        let (streamed, whole) = match upstream {
            Api::OllamaChat => (ollama("chat", "Hi"), ollama("chat", "Hi")),
            Api::OllamaGenerate => (ollama("generate", "Hi"), ollama("generate", "Hi")),
            Api::ChatCompletions => {
                (format!("data: {}\n\n", openai("delta")).into_bytes(), openai("message").into_bytes())
            }
            _ => continue,
        };
        check_both("likely", client, upstream, [&streamed, &whole], |expect| expect);
        let done = translate(expect(client, upstream, true), [&streamed[..]]);
        assert!(client == Api::Messages || done.text.contains("-0.5"), "{}", done.text);
    }
}

#[test]
fn what_real_backends_sent_becomes_complete() {
    for (file, upstream, stream) in [
        ("chat.txt", Api::OllamaChat, true),
        ("chat-tools.txt", Api::OllamaChat, true),
        ("chat-whole.txt", Api::OllamaChat, false),
        ("llama-chat.txt", Api::ChatCompletions, true),
        ("llama-chat-whole.txt", Api::ChatCompletions, false),
        ("llama-logprobs.txt", Api::ChatCompletions, true),
        ("v1-chat-thinking.txt", Api::ChatCompletions, true),
        ("v1-chat-tools.txt", Api::ChatCompletions, true),
    ] {
        for client in [Api::ChatCompletions, Api::Responses, Api::Messages, Api::OllamaChat, Api::OllamaGenerate] {
            let done = translate(expect(client, upstream, stream), [&recorded(file)[..]]);
            assert_eq!(done.failure, None, "{file}");
            check_answer(client, stream, &done.text);
        }
    }
}

#[test]
fn embeddings_are_complete() {
    let answer = br#"{"model":"there","embeddings":[[0.6,-0.8],[1,2]],"prompt_eval_count":6}"#;
    for (client, name, base64) in [
        (Api::Embeddings, "EmbeddingList", false),
        (Api::Embeddings, "EmbeddingList", true),
        (Api::OllamaEmbed, "Embed", false),
        (Api::OllamaEmbeddings, "Embeddings", false),
    ] {
        let expect = Expect { embeddings_base64: base64, ..Expect::new(client, Api::OllamaEmbed, "asked", false) };
        let done = translate(expect, [&answer[..]]);
        Schema::of(client.dialect()).check(name, &serde_json::from_str(&done.text).unwrap());
    }
}

fn error_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Ollama => "Error",
        Dialect::OpenAi => "ErrorBody",
        Dialect::Anthropic => "error",
    }
}

#[test]
fn errors_are_complete() {
    for dialect in [Dialect::Ollama, Dialect::OpenAi, Dialect::Anthropic] {
        for cause in Cause::ALL {
            let body = Failure::new(cause, "what \"happened\"").body(dialect);
            Schema::of(dialect).check(error_name(dialect), &serde_json::from_slice(&body).unwrap());
        }
    }
    for told in [
        r#"{"error":"no"}"#,
        r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
        r#"{"error":{"message":"no","type":null,"param":7}}"#,
        r#"{"type":"error","error":{"type":"api_error","message":"no"}}"#,
        r#"{"detail":"no"}"#,
        r#"{"error":{"type":"exceed_context_size_error","message":"no","n_prompt_tokens":9,"n_ctx":8}}"#,
        "no",
        "",
    ] {
        for (client, upstream) in PAIRS {
            let (_, body) = AnswerTranslator::error(&expect(client, upstream, true), 500, told.as_bytes());
            let body = serde_json::from_slice(&body).unwrap();
            Schema::of(client.dialect()).check(error_name(client.dialect()), &body);
        }
    }
}

/// What a stream's last record says.
fn last_record(end: &[u8]) -> Value {
    let text = std::str::from_utf8(end).unwrap().trim_end();
    serde_json::from_str(text.rsplit_once("data: ").map_or(text, |(_, data)| data)).unwrap()
}

#[test]
fn broken_streams_end_completely() {
    for cause in Cause::ALL {
        let failure = Failure::new(cause, "it \"broke\" off");
        for api in [Api::OllamaChat, Api::OllamaGenerate, Api::ChatCompletions, Api::Completions, Api::Messages] {
            let record = last_record(&failure.stream_end(api, false));
            Schema::of(api.dialect()).check(error_name(api.dialect()), &record);
        }
        let record = last_record(&failure.stream_end_after(Api::Responses, false, Some(6)));
        Schema::of(Dialect::OpenAi).check_event(&record);
        assert_eq!(record["sequence_number"], 7);
    }
}

#[test]
fn a_broken_response_goes_on_as_it_began() {
    let records = answer(Api::OllamaChat, true, &[think("Hm"), say("Hi"), say(" there")], "stop");
    let lines: Vec<&[u8]> = records.split_inclusive(|&byte| byte == b'\n').collect();
    for said in 0..lines.len() {
        for (client, _) in PAIRS.into_iter().filter(|(client, _)| client.dialect() != Dialect::Ollama) {
            let mut translator = AnswerTranslator::new(expect(client, Api::OllamaChat, true), ID, NOW_MS);
            let mut out = Vec::new();
            translator.feed(&lines[..said].concat(), &mut out).unwrap();
            let failure = Failure::new(Cause::ContextLength, "it \"broke\" off");
            let end = translator.stream_end(&failure);
            assert!(translator.has_ended());
            if client != Api::Responses {
                assert_eq!(end, failure.stream_end(client, false));
                continue;
            }
            out.extend_from_slice(&end);
            let text = String::from_utf8(out).unwrap();
            check_answer(client, true, &text);
            let (first, last) = (&super::client::data(&text)[0]["response"], last_record(&end));
            let last = &last["response"];
            for same in ["id", "created_at", "model", "tools"] {
                assert_eq!(first[same], last[same]);
            }
            assert_eq!(last["error"], json!({"code": "context_length_exceeded", "message": "it \"broke\" off"}));
            assert_eq!(last["output"].as_array().unwrap().len(), said.min(2));
        }
    }
}

#[test]
fn the_request_is_repeated_as_an_answer_may_say_it() {
    let members = r#""temperature":null,"top_p":null,"metadata":null,"instructions":null,"tools":[{"type":"function","name":"f"},{"name":"g","type":"function","strict":true,"parameters":{}},{"type":"custom","name":"h"}]"#;
    for (members, tools) in [(members, 3), ("no JSON", 0), (r#""tools":7"#, 0)] {
        let expect = Expect { response_members: members.to_owned(), ..expect(Api::Responses, Api::OllamaChat, false) };
        let done = translate(expect, [&answer(Api::OllamaChat, false, &[say("Hi")], "stop")[..]]);
        check_answer(Api::Responses, false, &done.text);
        let response: Value = serde_json::from_str(&done.text).unwrap();
        assert_eq!((&response["temperature"], response["tools"].as_array().unwrap().len()), (&json!(1), tools));
    }
}

#[test]
fn a_prompt_is_estimated_until_it_is_counted() {
    let expect = Expect { prompt_tokens_estimate: 17, ..expect(Api::Messages, Api::ChatCompletions, true) };
    let records = answer(Api::ChatCompletions, true, &[say("Hi")], "stop");
    let events = super::client::data(&translate(expect, [&records[..]]).text);
    let delta = events.iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 17);
    assert_eq!((&delta["usage"]["input_tokens"], &delta["usage"]["cache_read_input_tokens"]), (&json!(5), &json!(16)));
}

#[test]
fn tokens_of_thinking_are_told_where_they_are_known() {
    let told = br#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":9,"completion_tokens_details":{"reasoning_tokens":4}}}"#;
    for (client, place) in [
        (Api::Messages, "/usage/output_tokens_details/thinking_tokens"),
        (Api::Responses, "/usage/output_tokens_details/reasoning_tokens"),
    ] {
        let done = translate(expect(client, Api::ChatCompletions, false), [&told[..]]);
        let whole: Value = serde_json::from_str(&done.text).unwrap();
        assert_eq!(whole.pointer(place), Some(&json!(4)));
    }
}

#[test]
fn forced_calls_end_as_calls() {
    for forced_tool in [ForcedTool::Any, ForcedTool::One { name: "f".to_owned() }] {
        let text = if forced_tool == ForcedTool::Any { r#"{"name":"f","arguments":{}}"# } else { "{}" };
        for client in [Api::ChatCompletions, Api::Responses, Api::Messages] {
            let answers = [true, false].map(|stream| answer(Api::OllamaChat, stream, &[say(text)], "stop"));
            let change = |expect| Expect { forced_tool: Some(forced_tool.clone()), ..expect };
            check_both("forced", client, Api::OllamaChat, [&answers[0], &answers[1]], change);
        }
    }
}

proptest! {
    #[test]
    fn any_answer_is_complete(acts in acts(), reason in prop::sample::select(vec!["stop", "length", "content_filter"])) {
        for (client, upstream) in PAIRS {
            let answers = [true, false].map(|stream| answer(upstream, stream, &acts, reason));
            check_both("any", client, upstream, [&answers[0], &answers[1]], |expect| expect);
        }
    }
}
