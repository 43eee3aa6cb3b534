//! Rules, each with its table.

use dialect::{AnswerTranslator, Cause, Expect};
use proto::Api;
use serde_json::{Value, json};

use super::goldens::recorded;
use super::upstream::{Act, answer, call, say};
use super::{ID, NOW_MS, expect, forced_one, translate};

#[test]
fn errors_inside_an_answer_end_it() {
    let chunk = r#"data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#;
    for (upstream, stream, answer, text) in [
        (Api::OllamaChat, true, "{\"error\":\"unexpected EOF\"}\n".to_owned(), "unexpected EOF"),
        (Api::OllamaChat, true, "{\"error\":\"no line break\"}".to_owned(), "no line break"),
        (Api::OllamaChat, false, "{\"error\":\"whole\"}".to_owned(), "whole"),
        (Api::ChatCompletions, true, format!("{chunk}\n\ndata: {{\"error\":{{\"message\":\"gone\"}}}}\n\n"), "gone"),
        (
            Api::ChatCompletions,
            true,
            format!("{chunk}\r\n\r\nevent: error\r\ndata: {{\"message\":\"gone\"}}\r\n\r\n"),
            "gone",
        ),
        (Api::ChatCompletions, true, format!("{chunk}\n\nerror: {{\"code\":500,\"message\":\"old\"}}\n\n"), "old"),
        (Api::ChatCompletions, true, "{\"error\":{\"message\":\"whole\"}}".to_owned(), "whole"),
    ] {
        for client in [Api::Messages, Api::Responses, Api::OllamaChat, Api::ChatCompletions] {
            let failure = translate(expect(client, upstream, stream), [answer.as_bytes()]).failure.unwrap();
            assert_eq!((failure.cause, &*failure.message), (Cause::BadGateway, text), "{answer}");
        }
    }
    let excess = r#"{"error":"{\"error\":{\"type\":\"exceed_context_size_error\",\"message\":\"too long\"}}"}"#;
    let failure = translate(expect(Api::Messages, Api::OllamaChat, true), [excess.as_bytes()]).failure.unwrap();
    assert_eq!((failure.cause, &*failure.message), (Cause::ContextLength, "too long"));
}

#[test]
fn what_was_said_before_an_error_stands() {
    let answer = recorded("chat-engine-killed.txt");
    for client in [Api::ChatCompletions, Api::Messages, Api::Responses] {
        let done = translate(expect(client, Api::OllamaChat, true), [&answer[..]]);
        assert!(done.failure.unwrap().message.contains("unexpected EOF"));
        assert!(done.text.contains(" itself") && done.text.ends_with("\n\n"), "{}", done.text);
        let last = done.text.matches("\"sequence_number\":").count() as u64;
        assert_eq!(done.sequence, (client == Api::Responses).then(|| last - 1));
    }
}

#[test]
fn an_answer_that_ends_too_early_is_an_error() {
    let chunk = r#"data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#;
    let ended = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    for (upstream, stream, answer, is_good) in [
        (Api::OllamaChat, true, String::new(), false),
        (Api::OllamaChat, true, "{\"message\":{\"content\":\"Hi\"}".to_owned(), false),
        // Many equal tokens, then silence: that is how Ollama stops there.
        (Api::OllamaChat, true, "{\"message\":{\"content\":\"na\"},\"done\":false}\n".to_owned(), true),
        (Api::OllamaChat, false, "{\"message\":{\"content\":\"na\"},\"done\":false}".to_owned(), true),
        (Api::OllamaChat, false, String::new(), false),
        (Api::OllamaChat, false, "{}".to_owned(), false),
        (Api::OllamaChat, false, "Ollama is running".to_owned(), false),
        (Api::OllamaChat, true, "<html>\n".to_owned(), false),
        (Api::ChatCompletions, true, String::new(), false),
        (Api::ChatCompletions, true, "<html>\n</html>\n".to_owned(), false),
        (Api::ChatCompletions, true, format!("{chunk}\n\n"), false),
        (Api::ChatCompletions, true, format!("{chunk}\n\n{ended}\n\n"), true),
        (Api::ChatCompletions, true, format!("{chunk}\n\n{ended}"), true),
        (Api::ChatCompletions, true, format!("{chunk}\n\ndata: [DONE]\n\n"), true),
        (Api::ChatCompletions, true, format!("{chunk}\n\ndata: [DONE]"), true),
        (Api::ChatCompletions, true, format!(": waiting\n\n{chunk}\n\ndata: {{\"choices\":[{{\"finish"), false),
    ] {
        for client in [Api::Messages, Api::Responses, Api::OllamaChat, Api::ChatCompletions] {
            let done = translate(expect(client, upstream, stream), [answer.as_bytes()]);
            assert_eq!(done.failure.is_none(), is_good, "{client:?}: {answer} {:?}", done.failure);
            if is_good {
                super::client::hear(client, stream, &done.text);
            }
        }
    }
}

#[test]
fn a_whole_object_in_place_of_a_stream_is_streamed() {
    let whole = answer(Api::ChatCompletions, false, &[say("Hi"), call("a", "f", json!({"n": 1}))], "stop");
    for client in [Api::OllamaChat, Api::Messages, Api::Responses] {
        let done = translate(expect(client, Api::ChatCompletions, true), [&b" \n"[..], &whole]);
        let heard = super::client::hear(client, true, &done.text);
        assert_eq!((&*heard.text, heard.calls.len()), ("Hi", 1));
    }
}

#[test]
fn reasons_to_stop_are_each_clients_own() {
    for (reason, chat, messages, responses, ollama) in [
        ("stop", "stop", "end_turn", "completed null", "stop"),
        ("length", "length", "max_tokens", "incomplete \"max_output_tokens\"", "length"),
        ("content_filter", "content_filter", "refusal", "incomplete \"content_filter\"", "stop"),
        ("something new", "stop", "end_turn", "completed null", "stop"),
    ] {
        for stream in [true, false] {
            let heard = |client| {
                let upstream = Api::ChatCompletions;
                let done =
                    translate(expect(client, upstream, stream), [&answer(upstream, stream, &[say("Hi")], reason)[..]]);
                super::client::hear(client, stream, &done.text).finish
            };
            assert_eq!(heard(Api::ChatCompletions), chat);
            assert_eq!(heard(Api::Messages), messages);
            assert_eq!(heard(Api::Responses), responses);
            assert_eq!(heard(Api::OllamaChat), ollama);
        }
    }
    let stopped = br#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop","stop_reason":"\n\nHuman:"}]}"#;
    let done = translate(expect(Api::Messages, Api::ChatCompletions, false), [&stopped[..]]);
    assert!(done.text.contains(r#""stop_reason":"stop_sequence","stop_sequence":"\n\nHuman:""#), "{}", done.text);
}

#[test]
fn calls_cut_inside_their_arguments_are_left_out_where_objects_are_wanted() {
    let cut = |reason: &str| {
        let call = r#"[{"id":"a","function":{"name":"f","arguments":"{\"city\":\"Pa"}}]"#;
        format!(r#"{{"choices":[{{"message":{{"content":"Hm","tool_calls":{call}}},"finish_reason":"{reason}"}}]}}"#)
    };
    for client in [Api::OllamaChat, Api::Messages] {
        for stream in [true, false] {
            let done = translate(expect(client, Api::ChatCompletions, stream), [cut("length").as_bytes()]);
            assert_eq!(done.failure, None);
            if client == Api::OllamaChat || !stream {
                assert!(!done.text.contains("tool_calls") && !done.text.contains("\"tool_use\""), "{}", done.text);
            }
        }
        let done = translate(expect(client, Api::ChatCompletions, false), [cut("tool_calls").as_bytes()]);
        assert!(done.failure.unwrap().message.contains("`f`"));
    }
}

#[test]
fn fragments_find_their_call_without_an_index() {
    let chunk = |calls: Value| format!("data: {}\n\n", json!({"choices": [{"delta": {"tool_calls": calls}}]}));
    let [first, second] = ["f", "g"].map(|name| json!([{"function": {"name": name, "arguments": "{"}}]));
    let rest = json!([{"function": {"arguments": "}"}}]);
    let stream = [first, rest.clone(), second, rest].map(chunk).concat() + "data: [DONE]\n\n";
    let done = translate(expect(Api::OllamaChat, Api::ChatCompletions, true), [stream.as_bytes()]);
    let calls = super::client::hear(Api::OllamaChat, true, &done.text).calls;
    let expected =
        [("1", "f"), ("2", "g")].map(|(n, name)| (format!("call_{ID}_{n}"), name.to_owned(), "{}".to_owned()));
    assert_eq!(calls, expected);

    for bad in [json!([{"index": 3, "function": {"arguments": "{}"}}]), json!([{"function": {"arguments": "{}"}}])] {
        let failure = translate(expect(Api::OllamaChat, Api::ChatCompletions, true), [chunk(bad).as_bytes()]).failure;
        assert!(failure.unwrap().message.contains("without a name"));
    }
    let mixed =
        [(0, "f"), (1, "g"), (0, "")].map(|(index, name)| chunk(json!([{"index": index, "function": {"name": name}}])));
    let failure = translate(expect(Api::Messages, Api::ChatCompletions, true), [mixed.concat().as_bytes()]).failure;
    assert!(failure.unwrap().message.contains("mixed"));
}

#[test]
fn a_forced_call_is_streamed_as_it_comes() {
    let expect = Expect { forced_tool: forced_one(), ..expect(Api::ChatCompletions, Api::OllamaChat, true) };
    let mut translator = AnswerTranslator::new(expect, ID, NOW_MS);
    let mut out = Vec::new();
    translator.feed(b"{\"message\":{\"content\":\"{\\\"city\\\":\"},\"done\":false}\n", &mut out).unwrap();
    let heard = String::from_utf8(out).unwrap();
    assert!(heard.contains("get_weather") && heard.contains(r#""arguments":"{\"city\":""#), "{heard}");
    assert!(translator.has_content());
}

#[test]
fn text_leaves_with_the_record_that_brought_it() {
    for (client, upstream) in super::PAIRS {
        let acts = [say("One"), say(" two")];
        let answer = answer(upstream, true, &acts, "stop");
        let end = memchr::memmem::find(&answer, b"One").unwrap();
        let end = end + memchr::memchr(b'\n', &answer[end..]).unwrap() + 1;
        let mut translator = AnswerTranslator::new(expect(client, upstream, true), ID, NOW_MS);
        let mut out = Vec::new();
        translator.feed(&answer[..end], &mut out).unwrap();
        assert!(memchr::memmem::find(&out, b"One").is_some() && out.ends_with(b"\n"), "{client:?}");
        assert!(translator.has_content() && !translator.has_ended());
        translator.feed(&answer[end..], &mut out).unwrap();
        assert!(translator.has_ended());
        let length = out.len();
        // What comes after the last record changes nothing.
        translator.feed(&answer, &mut out).unwrap();
        translator.finish(&mut out).unwrap();
        assert_eq!(out.len(), length);
    }
}

#[test]
fn times_that_no_backend_measured_are_taken_from_the_request() {
    let answer = br#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let mut translator = AnswerTranslator::new(expect(Api::OllamaChat, Api::ChatCompletions, false), ID, NOW_MS);
    let mut out = Vec::new();
    translator.elapsed(2_000_000_000);
    translator.feed(answer, &mut out).unwrap();
    translator.finish(&mut out).unwrap();
    let whole: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(whole["created_at"], "2026-11-21T11:30:57.353Z");
    assert_eq!(whole["total_duration"], 2_000_000_000_u64);

    let chunk = |text: &str| format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}}]}));
    let mut translator = AnswerTranslator::new(expect(Api::OllamaChat, Api::ChatCompletions, true), ID, NOW_MS);
    let mut out = Vec::new();
    for (ns, record) in [(500, chunk("a")), (900, chunk("b")), (1_000, "data: [DONE]\n\n".to_owned())] {
        translator.elapsed(ns);
        translator.feed(record.as_bytes(), &mut out).unwrap();
    }
    let last: Value = serde_json::from_slice(out.trim_ascii().rsplit(|&byte| byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(
        (&last["total_duration"], &last["prompt_eval_duration"], &last["eval_duration"]),
        (&json!(1_000), &json!(500), &json!(500))
    );
}

#[test]
fn memory_has_a_limit() {
    let piece = vec![b'x'; 1 << 20];
    for (stream, most) in [(true, 4), (false, 16)] {
        for upstream in [Api::OllamaChat, Api::ChatCompletions] {
            let mut translator = AnswerTranslator::new(expect(Api::Messages, upstream, stream), ID, NOW_MS);
            let mut out = Vec::new();
            let fed = (0..100).take_while(|_| translator.feed(&piece, &mut out).is_ok()).count();
            assert_eq!(fed, most, "{upstream:?}");
        }
    }
    // A Responses stream repeats at its end what it said.
    let record = answer(Api::OllamaChat, true, &[Act::Say("x".repeat(1 << 20))], "stop");
    let record = record.split_inclusive(|&byte| byte == b'\n').next().unwrap();
    let mut translator = AnswerTranslator::new(expect(Api::Responses, Api::OllamaChat, true), ID, NOW_MS);
    let fed = (0..100).take_while(|_| translator.feed(record, &mut Vec::new()).is_ok()).count();
    assert_eq!(fed, 15);
}

#[test]
fn error_answers_are_said_in_the_clients_words() {
    let too_long = r#"{"error":"{\"error\":{\"code\":400,\"message\":\"request (30019 tokens) exceeds\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":30019,\"n_ctx\":4096}}"}"#;
    let image = r#"{"error":"{\"error\":{\"code\":500,\"message\":\"image input is not supported - hint\"}}"}"#;
    for (client, upstream, status, body, said_status, said) in [
        (
            Api::Messages,
            Api::OllamaChat,
            500,
            too_long,
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 30019 tokens > 4096 maximum"},"request_id":null}"#,
        ),
        (
            Api::ChatCompletions,
            Api::OllamaChat,
            400,
            too_long,
            400,
            r#"{"error":{"message":"request (30019 tokens) exceeds","type":"invalid_request_error","param":null,"code":"context_length_exceeded"}}"#,
        ),
        (
            Api::ChatCompletions,
            Api::OllamaChat,
            500,
            image,
            400,
            r#"{"error":{"message":"image input is not supported - hint","type":"invalid_request_error","param":null,"code":null}}"#,
        ),
        (
            Api::OllamaChat,
            Api::ChatCompletions,
            503,
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            503,
            r#"{"error":"Loading model"}"#,
        ),
        (Api::OllamaChat, Api::ChatCompletions, 200, "", 502, r#"{"error":"the backend answered 502 without a word"}"#),
    ] {
        let (status, body) =
            AnswerTranslator::error(&Expect::new(client, upstream, "asked", true), status, body.as_bytes());
        assert_eq!((status, std::str::from_utf8(&body).unwrap()), (said_status, said));
    }
}

#[test]
fn content_types_are_each_clients_own() {
    for (client, stream, expected) in [
        (Api::OllamaChat, true, "application/x-ndjson"),
        (Api::OllamaChat, false, "application/json; charset=utf-8"),
        (Api::Messages, true, "text/event-stream"),
        (Api::Responses, false, "application/json"),
        (Api::OllamaEmbed, true, "application/json; charset=utf-8"),
    ] {
        let translator = AnswerTranslator::new(Expect::new(client, Api::ChatCompletions, "asked", stream), ID, NOW_MS);
        assert_eq!(translator.content_type(), expected);
    }
}

#[test]
fn lines_tell_when_they_were_written() {
    let mut translator = AnswerTranslator::new(expect(Api::OllamaGenerate, Api::ChatCompletions, true), ID, NOW_MS);
    let mut out = Vec::new();
    for ms in [0, 1, 1_000] {
        translator.elapsed(ms * 1_000_000);
        translator.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", &mut out).unwrap();
    }
    let lines: Vec<Value> =
        out.trim_ascii().split(|&byte| byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
    let times: Vec<&str> = lines.iter().map(|line| line["created_at"].as_str().unwrap()).collect();
    assert_eq!(times, ["2026-11-21T11:30:55.353Z", "2026-11-21T11:30:55.354Z", "2026-11-21T11:30:56.353Z"]);
}

#[test]
fn log_probabilities_come_to_those_who_asked() {
    let answer = br#"{"response":"upon","done":true,"done_reason":"stop","logprobs":[{"token":"upon","logprob":-1}]}"#;
    for (wanted, expected) in [
        (true, r#""logprobs":{"tokens":["upon"],"token_logprobs":[-1],"top_logprobs":[{}],"text_offset":[5]}"#),
        (false, r#""logprobs":null"#),
    ] {
        for stream in [true, false] {
            let expect = Expect {
                logprobs: wanted,
                echo: Some("Once ".to_owned()),
                ..expect(Api::Completions, Api::OllamaGenerate, stream)
            };
            let done = translate(expect, [&answer[..]]);
            assert!(done.text.contains(expected), "{}", done.text);
        }
    }
    let recorded = recorded("llama-logprobs.txt");
    let expect = Expect { logprobs: false, ..expect(Api::OllamaChat, Api::ChatCompletions, true) };
    assert!(!translate(expect, [&recorded[..]]).text.contains("logprob"));
}

#[test]
fn unusual_forms_are_understood() {
    for (message, text, arguments) in [
        (json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), "ab", None),
        (json!({"content": null, "refusal": "No."}), "No.", None),
        (json!({"tool_calls": [{"function": {"name": "f", "arguments": {"n": [1]}}}]}), "", Some(r#"{"n":[1]}"#)),
        (json!({"tool_calls": [{"function": {"name": "f", "arguments": ""}}]}), "", Some("{}")),
        (json!({"tool_calls": [{"function": {"name": "f"}}]}), "", Some("{}")),
        (json!({"tool_calls": "none", "content": 7}), "", None),
    ] {
        let answer = json!({"choices": [{"message": message, "finish_reason": "stop"}, "another"]}).to_string();
        for stream in [true, false] {
            let done = translate(expect(Api::OllamaChat, Api::ChatCompletions, stream), [answer.as_bytes()]);
            let heard = super::client::hear(Api::OllamaChat, stream, &done.text);
            assert_eq!(heard.text, text, "{answer}");
            assert_eq!(heard.calls.first().map(|(_, _, arguments)| &**arguments), arguments, "{answer}");
        }
    }
}
