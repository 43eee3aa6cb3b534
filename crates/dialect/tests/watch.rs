//! What is seen of answers as Ollama 0.33.0-rc2 gave them (November 2026), and of others like them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use bytes::Bytes;
use dialect::{End, StreamWatch};
use proptest::prelude::*;
use proto::Api;

const RECORDED: &[&str] = &[
    "chat",
    "chat-tools",
    "chat-whole",
    "chat-unload",
    "chat-engine-killed",
    "chat-one-token",
    "generate",
    "v1-chat-usage",
    "v1-chat-tools",
    "v1-chat-thinking",
    "v1-chat-whole",
    "v1-chat-engine-killed",
    "v1-completions-whole",
    "v1-responses",
    "v1-responses-tools",
    "v1-responses-whole",
    "v1-responses-engine-killed",
    "v1-messages",
    "v1-messages-thinking",
    "v1-messages-whole",
    "v1-messages-one-token",
];

fn recorded(name: &str) -> (Api, bool, Bytes) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(format!("{name}.txt"));
    let api = match name {
        _ if name.starts_with("v1-chat") => Api::ChatCompletions,
        _ if name.starts_with("v1-completions") => Api::Completions,
        _ if name.starts_with("v1-responses") => Api::Responses,
        _ if name.starts_with("v1-messages") => Api::Messages,
        _ if name.starts_with("generate") => Api::OllamaGenerate,
        _ => Api::OllamaChat,
    };
    (api, !name.ends_with("-whole") && !name.ends_with("-unload"), std::fs::read(path).unwrap().into())
}

/// The end of an answer that comes in `frames`, with the number of the frame that first had content.
fn watched(api: Api, streamed: bool, frames: &[Bytes]) -> (End, Option<usize>, Vec<String>) {
    let mut watch = StreamWatch::new(api, streamed);
    let (mut content, mut errors) = (None, Vec::new());
    for (number, frame) in frames.iter().enumerate() {
        let seen = watch.feed(frame);
        assert!(seen.content || content.is_none(), "content is forgotten");
        if seen.content {
            content.get_or_insert(number);
        }
        errors.extend(seen.error);
    }
    (watch.finish(), content, errors)
}

fn whole(api: Api, streamed: bool, answer: &str) -> End {
    watched(api, streamed, &[Bytes::copy_from_slice(answer.as_bytes())]).0
}

/// The records of a stream, one frame each, as backends send them.
fn by_record(api: Api, stream: &Bytes) -> Vec<Bytes> {
    let end: &[u8] = if api.path().starts_with("/api/") { b"\n" } else { b"\n\n" };
    let (mut frames, mut start) = (Vec::new(), 0);
    for at in memchr::memmem::find_iter(stream, end) {
        frames.push(stream.slice(start..at + end.len()));
        start = at + end.len();
    }
    frames.push(stream.slice(start..));
    frames
}

#[test]
fn recorded_answers_are_understood() {
    // Name, number of the record that first has content, then: complete, prompt tokens, answer tokens, reason.
    for (name, content, complete, prompt, completion, reason) in [
        ("chat", 0, true, Some(21), Some(11), Some("stop")),
        ("chat-tools", 0, true, Some(347), Some(67), Some("stop")),
        ("chat-whole", 0, true, Some(30), Some(11), Some("stop")),
        ("chat-unload", 0, true, None, None, Some("unload")),
        ("chat-engine-killed", 0, false, None, None, None),
        ("chat-one-token", 0, false, None, None, None),
        ("generate", 0, true, Some(21), Some(11), Some("stop")),
        ("v1-chat-usage", 0, true, Some(21), Some(11), Some("stop")),
        ("v1-chat-tools", 0, true, None, None, Some("tool_calls")),
        ("v1-chat-thinking", 0, true, None, None, Some("stop")),
        ("v1-chat-whole", 0, true, Some(21), Some(11), Some("stop")),
        ("v1-chat-engine-killed", 0, false, None, None, None),
        ("v1-completions-whole", 0, true, Some(21), Some(11), Some("stop")),
        // Before the text come response.created, .in_progress, output_item.added and content_part.added.
        ("v1-responses", 4, true, Some(21), Some(11), Some("completed")),
        ("v1-responses-tools", 4, true, Some(330), Some(141), Some("completed")),
        ("v1-responses-whole", 0, true, Some(21), Some(11), Some("completed")),
        ("v1-responses-engine-killed", 0, false, None, None, None),
        // Before the text come message_start and content_block_start.
        ("v1-messages", 2, true, Some(21), Some(11), Some("end_turn")),
        ("v1-messages-thinking", 2, true, Some(30), Some(11), Some("end_turn")),
        ("v1-messages-whole", 0, true, Some(21), Some(11), Some("end_turn")),
    ] {
        let (api, streamed, answer) = recorded(name);
        let (end, first, errors) = watched(api, streamed, &by_record(api, &answer));
        assert_eq!(first, Some(content), "{name}");
        let stats = &end.stats;
        let seen = (end.complete, stats.prompt_tokens, stats.completion_tokens, stats.finish_reason.as_deref());
        assert_eq!(seen, (complete, prompt, completion, reason), "{name}");
        assert!(!end.mid_record, "{name}");
        let killed = "an error was encountered while running the model: unexpected EOF";
        let expected = if name == "chat-engine-killed" { vec![killed] } else { Vec::new() };
        assert_eq!(errors, expected, "{name}");
        assert_eq!(end.error.as_deref(), expected.first().copied(), "{name}");
    }
}

#[test]
fn durations_are_nanoseconds() {
    let (api, streamed, answer) = recorded("chat");
    let stats = watched(api, streamed, &[answer]).0.stats;
    let seen = (stats.load_ns, stats.prompt_eval_ns, stats.eval_ns, stats.total_ns);
    assert_eq!(seen, (Some(252_861_755), Some(1_142_000), Some(1_575_000), Some(258_945_499)));

    let llama = "data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n\
        data: {\"choices\":[{\"finish_reason\":null,\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n\
        data: {\"choices\":[{\"finish_reason\":\"stop\",\"index\":0,\"delta\":{}}],\"timings\":{\"cache_n\":5,\"prompt_n\":7,\"prompt_ms\":1.5,\"predicted_n\":3,\"predicted_ms\":0.25}}\n\n\
        data: [DONE]\n\n";
    let frames = by_record(Api::ChatCompletions, &Bytes::from_static(llama.as_bytes()));
    let (end, content, _) = watched(Api::ChatCompletions, true, &frames);
    assert_eq!(content, Some(1), "a chunk with only a role is no content");
    let stats = end.stats;
    assert_eq!((stats.prompt_tokens, stats.completion_tokens, stats.cached_tokens), (Some(12), Some(3), Some(5)));
    assert_eq!((stats.prompt_eval_ns, stats.eval_ns), (Some(1_500_000), Some(250_000)));
}

#[test]
fn a_cut_answer_is_not_complete() {
    for &name in RECORDED {
        let (api, streamed, answer) = recorded(name);
        let full = watched(api, streamed, std::slice::from_ref(&answer)).0;
        // Without its last record; for one that is not streamed, without its last byte.
        let frames = by_record(api, &answer);
        let last = frames.iter().rev().find(|frame| !frame.is_empty()).unwrap().len();
        let kept = if streamed { answer.len() - last } else { answer.trim_ascii_end().len() - 1 };
        let end = watched(api, streamed, &[answer.slice(..kept)]).0;
        let ends_twice = matches!(name, "v1-chat-usage" | "v1-chat-tools" | "v1-chat-thinking");
        assert_eq!(end.complete, full.complete && ends_twice, "{name}");
        assert_eq!(end.mid_record, !streamed, "{name}");
        // Cut inside the last record.
        let end = watched(api, streamed, &[answer.slice(..answer.trim_ascii_end().len() - 1)]).0;
        assert!(end.mid_record, "{name}");
    }
}

#[test]
fn errors_are_seen_in_every_form() {
    for (api, stream, text) in [
        (Api::OllamaChat, "{\"message\":{\"content\":\"x\"},\"done\":false}\n{\"error\":\"dead\"}\n", "dead"),
        (Api::OllamaGenerate, "{ \"error\" : \"dead\" }\n", "dead"),
        (Api::OllamaChat, "{\"error\":\"{\\\"error\\\":{\\\"message\\\":\\\"dead\\\"}}\"}", "dead"),
        (
            Api::ChatCompletions,
            "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"error\":{\"message\":\"dead\"}}\n\n",
            "dead",
        ),
        (Api::ChatCompletions, "event: error\ndata: {\"message\":\"dead\"}\n\n", "dead"),
        (Api::Completions, "data:{\"error\":\"dead\"}\r\n\r\n", "dead"),
        (
            Api::Responses,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"dead\"}}}\n\n",
            "dead",
        ),
        (Api::Responses, "event: error\ndata: {\"type\":\"error\",\"message\":\"dead\"}\n\n", "dead"),
        (Api::Responses, "data: {\"type\":\"error\",\"message\":\"dead\"}\n\n", "dead"),
        (
            Api::Messages,
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"dead\"}}\n\n",
            "dead",
        ),
    ] {
        let end = whole(api, true, stream);
        assert_eq!(end.error.as_deref(), Some(text), "{stream}");
        assert!(!end.complete, "{stream}");
    }
    assert_eq!(whole(Api::OllamaChat, false, r#"{"error":"dead"}"#).error.as_deref(), Some("dead"));
}

#[test]
fn what_only_looks_like_the_end_is_not() {
    let call = |arguments: &str| {
        format!(
            "{{\"message\":{{\"content\":\"\",\"tool_calls\":[{{\"function\":{{\"arguments\":{arguments}}}}}]}},\"done\":false}}\n"
        )
    };
    for arguments in [r#"{"done":true}"#, r#"{"error":"x"}"#, r#"{"total_duration":5}"#] {
        let end = whole(Api::OllamaChat, true, &call(arguments));
        assert_eq!((end.complete, end.error), (false, None), "{arguments}");
        // The same in a record whose beginning is not kept.
        let long = arguments.replacen('{', &format!("{{\"pad\":\"{}\",", "x".repeat(5_000)), 1);
        let end = whole(Api::OllamaChat, true, &call(&long));
        assert_eq!((end.complete, end.error), (false, None), "{arguments}");
    }
    let pad = "x".repeat(5_000);
    for inside in [r#""done":true"#, r#""total_duration":5"#] {
        let record =
            format!(r#"{{"done":false,"message":{{"content":"{pad}","tool_calls":[{{"arguments":{{{inside}}}}}]}}}}"#);
        let end = whole(Api::OllamaChat, true, &format!("{record}\n"));
        assert_eq!((end.complete, end.stats.total_ns), (false, None), "{inside}");
    }
    let said = "data: {\"choices\":[{\"delta\":{\"content\":\"data: [DONE] \\\"error\\\": \\\"finish_reason\\\":\\\"stop\\\"\"},\"finish_reason\":null}]}\n\n";
    let end = whole(Api::ChatCompletions, true, &said.repeat(2));
    assert_eq!((end.complete, end.error, end.stats.finish_reason), (false, None, None));
    let said = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"event: response.completed\"}\n\n";
    assert!(!whole(Api::Responses, true, &said.repeat(2)).complete);
}

#[test]
fn a_record_of_any_length_may_be_the_last() {
    for length in [100, 3_000, 70_000, 300_000] {
        let numbers = "1,".repeat(length / 2);
        let generate = format!(
            "{{\"response\":\"x\",\"done\":false}}\n{{\"response\":\"\",\"done\":true,\"done_reason\":\"stop\",\"context\":[{numbers}0],\"total_duration\":9,\"eval_count\":4}}\n"
        );
        let text = "x".repeat(length);
        let tool = format!(
            "{{\"message\":{{\"tool_calls\":[{{\"function\":{{\"arguments\":{{\"text\":\"{text}\"}}}}}}]}},\"done\":true,\"total_duration\":9,\"eval_count\":4}}\n"
        );
        let delta = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\n\n";
        let responses = format!(
            "{delta}event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"output\":[{{\"text\":\"{text}\"}}],\"usage\":{{\"output_tokens\":4}}}}}}\n\n"
        );
        let responses_type_last = format!(
            "{delta}data: {{\"response\":{{\"output\":[{{\"text\":\"{text}\"}}],\"usage\":{{\"output_tokens\":4}}}},\"type\":\"response.completed\"}}\n\n"
        );
        for (api, stream) in [
            (Api::OllamaGenerate, generate),
            (Api::OllamaChat, tool),
            (Api::Responses, responses),
            (Api::Responses, responses_type_last),
        ] {
            let stream = Bytes::from(stream);
            for step in [900, 10_000, 1_000_000] {
                let frames: Vec<Bytes> =
                    (0..stream.len()).step_by(step).map(|at| stream.slice(at..stream.len().min(at + step))).collect();
                let end = watched(api, true, &frames).0;
                assert!(end.complete && !end.mid_record, "{api:?} {length} {step}: {end:?}");
                assert_eq!(end.stats.completion_tokens, Some(4), "{api:?} {length} {step}");
            }
        }
    }
}

#[test]
fn a_long_answer_that_is_not_streamed_keeps_its_statistics() {
    let numbers = "0.125,".repeat(50_000);
    let answer = format!("{{\"embeddings\":[[{numbers}1]],\"total_duration\":9,\"prompt_eval_count\":6}}");
    let answer = Bytes::from(answer);
    let frames: Vec<Bytes> =
        (0..answer.len()).step_by(8_000).map(|at| answer.slice(at..answer.len().min(at + 8_000))).collect();
    let (end, content, _) = watched(Api::OllamaEmbed, false, &frames);
    assert_eq!((content, end.complete, end.stats.prompt_tokens), (Some(0), true, Some(6)));
    assert!(!watched(Api::OllamaEmbed, false, &frames[..20]).0.complete);
    let v1 =
        format!("{{\"data\":[{{\"embedding\":[{numbers}1]}}],\"usage\":{{\"prompt_tokens\":6,\"total_tokens\":6}}}}");
    assert_eq!(whole(Api::Embeddings, true, &v1).stats.prompt_tokens, Some(6));
}

#[test]
fn tokens_in_the_cache_count_once() {
    let openai = r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":8}}}"#;
    let anthropic = r#"{"type":"message","usage":{"input_tokens":2,"cache_read_input_tokens":8,"output_tokens":2}}"#;
    for (api, answer) in [(Api::ChatCompletions, openai), (Api::Messages, anthropic)] {
        let stats = whole(api, false, answer).stats;
        assert_eq!(
            (stats.prompt_tokens, stats.cached_tokens, stats.completion_tokens),
            (Some(10), Some(8), Some(2)),
            "{api:?}"
        );
    }
}

#[test]
fn a_usage_of_zeros_says_nothing() {
    let usage = |tokens: u32| {
        format!(
            "data: {{\"choices\":[{{\"text\":\"x\"}}],\"usage\":{{\"prompt_tokens\":{tokens},\"completion_tokens\":{tokens}}}}}\n\n"
        )
    };
    for stream in [[0, 7], [7, 0]] {
        let stats = whole(Api::Completions, true, &stream.map(usage).concat()).stats;
        assert_eq!((stats.prompt_tokens, stats.completion_tokens), (Some(7), Some(7)), "{stream:?}");
    }
}

#[test]
fn an_answer_just_too_long_to_keep_is_searched_across_the_border() {
    for length in 65_300..65_700 {
        let text = "x".repeat(length);
        let answer = Bytes::from(format!(
            "{{\"choices\":[{{\"text\":\"{text}\"}}],\"usage\":{{\"prompt_tokens\":6,\"completion_tokens\":9}}}}"
        ));
        let frames = [answer.slice(..length), answer.slice(length..length + 40), answer.slice(length + 40..)];
        let end = watched(Api::Completions, false, &frames).0;
        assert_eq!((end.complete, end.stats.completion_tokens), (true, Some(9)), "{length}");
    }
}

#[test]
fn the_last_number_of_a_responses_stream_is_known() {
    let (api, streamed, answer) = recorded("v1-responses-engine-killed");
    assert_eq!(watched(api, streamed, &[answer]).0.sequence, Some(645));
}

/// Lines of which streams are made up: usual ones, odd ones, long ones.
fn line() -> impl Strategy<Value = String> {
    let fixed: Vec<&str> = vec![
        "",
        "\r",
        "x",
        ": waiting",
        "event: error",
        "event: response.completed",
        "event: response.output_text.delta",
        "data: [DONE]",
        "data: {\"error\":{\"message\":\"dead\"}}",
        "data: {\"type\":\"error\",\"message\":\"dead\"}",
        "data: {\"message\":\"not an error by itself\"}",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}",
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0}}",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"response.completed\",\"sequence_number\":7}",
        "data: {\"type\":\"response.completed\",\"response\":{\"error\":null,\"status\":\"completed\",\"usage\":{\"input_tokens\":3}}}",
        "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"x\"}}",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}",
        "data: {\"type\":\"message_stop\"}",
        "{\"message\":{\"content\":\"\"},\"done\":false}",
        "{\"message\":{\"content\":\"x\"},\"done\":false}",
        "{\"message\":{\"tool_calls\":[{\"function\":{\"arguments\":{\"error\":1,\"done\":true}}}]},\"done\":false}",
        "{\"response\":\"\",\"done\":true,\"done_reason\":\"stop\",\"total_duration\":5,\"eval_count\":3}",
        "{\"error\":\"dead\"}",
    ];
    let long = (prop_oneof![Just(1_500usize), Just(2_100), Just(70_000)], any::<bool>(), any::<bool>()).prop_map(
        |(length, sse, error)| {
            let (before, text) = (if sse { "data: " } else { "" }, "x".repeat(length));
            let key = if error { "error" } else { "content" };
            format!("{before}{{\"message\":{{\"{key}\":\"{text}\"}},\"done\":true,\"total_duration\":4}}")
        },
    );
    prop_oneof![30 => prop::sample::select(fixed).prop_map(str::to_owned), 1 => long]
}

fn cut(stream: &Bytes, places: &[prop::sample::Index]) -> Vec<Bytes> {
    let mut places: Vec<usize> = places.iter().map(|place| place.index(stream.len() + 1)).collect();
    places.push(stream.len());
    places.sort_unstable();
    let mut start = 0;
    places.into_iter().map(|place| stream.slice(std::mem::replace(&mut start, place)..place)).collect()
}

proptest! {
    #[test]
    fn cuts_change_nothing_in_recorded_answers(name in prop::sample::select(RECORDED), places: Vec<prop::sample::Index>) {
        let (api, streamed, answer) = recorded(name);
        let (end, content, _) = watched(api, streamed, std::slice::from_ref(&answer));
        let (cut_end, cut_content, _) = watched(api, streamed, &cut(&answer, &places));
        prop_assert_eq!(end, cut_end);
        prop_assert_eq!(content.is_some(), cut_content.is_some());
    }

    #[test]
    fn cuts_change_nothing_in_odd_streams(
        lines in prop::collection::vec(line(), 0..60),
        api in prop::sample::select(&Api::ALL[..]),
        last_line_ends: bool,
        streamed in prop::bool::weighted(0.9),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let mut stream = lines.join("\n");
        if last_line_ends {
            stream.push('\n');
        }
        let stream = Bytes::from(stream);
        let (end, content, errors) = watched(api, streamed, std::slice::from_ref(&stream));
        let (cut_end, cut_content, cut_errors) = watched(api, streamed, &cut(&stream, &places));
        prop_assert_eq!(end, cut_end);
        prop_assert_eq!(content.is_some(), cut_content.is_some());
        prop_assert!(errors.is_empty() == cut_errors.is_empty());
        prop_assert_eq!(errors.first(), cut_errors.first());
    }

    #[test]
    fn no_bytes_break_it(frames: Vec<Vec<u8>>, api in prop::sample::select(&Api::ALL[..]), streamed: bool) {
        let frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
        watched(api, streamed, &frames);
    }
}
