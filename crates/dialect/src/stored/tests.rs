use proptest::prelude::*;

use super::*;
use crate::{scan_responses, splice};

fn turn(input: &'static str, response: &'static str) -> Turn {
    Turn::new(Bytes::from_static(input.as_bytes()), Bytes::from_static(response.as_bytes())).unwrap()
}

fn continued(turn: &Turn, body: &str) -> Option<Value> {
    let scan = scan_responses(body.as_bytes()).unwrap();
    turn.continued(body.as_bytes(), &scan.storing).map(|body| serde_json::from_slice(&body).unwrap())
}

#[test]
fn what_a_request_says_of_stored_answers_is_read_and_cut_out() {
    for (body, store, previous, refused, left) in [
        (r#"{"model":"m"}"#, None, None, None, r#"{"model":"m"}"#),
        (r#"{"store":true,"model":"m"}"#, Some(true), None, None, r#"{"model":"m"}"#),
        (r#"{"model":"m","store":false}"#, Some(false), None, None, r#"{"model":"m"}"#),
        (r#"{"model":"m","store":null,"a":1}"#, None, None, None, r#"{"model":"m","a":1}"#),
        (
            r#"{"a":1,"store":true,"fallback_models":["x"],"previous_response_id":"resp_1"}"#,
            Some(true),
            Some("resp_1"),
            None,
            r#"{"a":1}"#,
        ),
        (r#"{"previous_response_id":null,"b":2}"#, None, None, None, r#"{"b":2}"#),
        (r#"{"conversation":"c"}"#, None, None, Some("conversation"), r#"{"conversation":"c"}"#),
        (r#"{"conversation":null}"#, None, None, None, r#"{"conversation":null}"#),
        (r#"{"background":true}"#, None, None, Some("background"), r#"{"background":true}"#),
        (r#"{"background":false}"#, None, None, None, r#"{"background":false}"#),
    ] {
        let scan = scan_responses(body.as_bytes()).unwrap();
        let Storing { store: read, previous: id, refused: field, .. } = scan.storing;
        assert_eq!((read, field), (store, refused), "{body}");
        assert_eq!(id.map(|id| id.text).as_deref(), previous, "{body}");
        let cuts = scan.own.into_iter().map(|range| crate::Edit { range, with: Bytes::new() }).collect();
        let pieces: Vec<u8> = splice(&Bytes::from_static(body.as_bytes()), cuts).into_iter().flatten().collect();
        assert_eq!(String::from_utf8(pieces).unwrap(), left);
        // Other calls have fields of these names too, which are none of our business.
        let other = crate::scan(body.as_bytes(), false).unwrap();
        assert_eq!(other.storing, Storing::default(), "{body}");
    }
    for body in [r#"{"store":1}"#, r#"{"store":"true"}"#, r#"{"previous_response_id":7}"#] {
        assert!(scan_responses(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn a_request_that_continues_gets_all_that_was_said_before() {
    let first = turn(
        r#"{"role":"user","content":"one"}"#,
        r#"{"id":"resp_1","output":[{"type":"message","role":"assistant","content":[]}]}"#,
    );
    let said = json!({ "type": "message", "role": "assistant", "content": [] });
    let text = json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "t\"wo" }] });
    let items = json!([{ "role": "user", "content": "one" }, said, text]);
    assert_eq!(continued(&first, r#"{"input":"t\"wo","model":"m"}"#), Some(json!({ "input": items, "model": "m" })));
    let items = json!([{ "role": "user", "content": "one" }, said, { "type": "function_call_output" }]);
    let body = r#"{"model":"m", "input" : [ {"type":"function_call_output"} ] }"#;
    assert_eq!(continued(&first, body).unwrap()["input"], items);
    assert_eq!(continued(&first, r#"{"input":[]}"#).unwrap()["input"], json!([items[0], said]));
    for body in [r#"{"model":"m"}"#, r#"{"input":null}"#, r#"{"input":{}}"#, r#"{"input":7}"#] {
        assert_eq!(continued(&first, body), None, "{body}");
    }
    let silent = turn("", r#"{"id":"resp_1","output":[]}"#);
    assert_eq!(continued(&silent, r#"{"input":[]}"#).unwrap()["input"], json!([]));
}

#[test]
fn earlier_thinking_is_told_in_its_content() {
    for (item, told) in [
        (
            r#"{"type":"reasoning","summary":[{"type":"summary_text","text":"a\nb"},{"text":"c"}],"content":[]}"#,
            json!({
                "type": "reasoning",
                "summary": [{ "type": "summary_text", "text": "a\nb" }, { "text": "c" }],
                "content": [{ "type": "reasoning_text", "text": "a\nb" }, { "type": "reasoning_text", "text": "c" }],
            }),
        ),
        (r#"{"type":"reasoning","summary":[]}"#, json!({ "type": "reasoning", "summary": [] })),
        (
            r#"{"type":"reasoning","summary":[{"text":"a"}],"content":[{"text":"b"}]}"#,
            json!({ "type": "reasoning", "summary": [{ "text": "a" }], "content": [{ "text": "b" }] }),
        ),
        (r#"{"type":"message","summary":[{"text":"a"}]}"#, json!({ "type": "message", "summary": [{ "text": "a" }] })),
    ] {
        let response = format!(r#"{{"id":"r","output":[{item}]}}"#);
        let turn = Turn::new(Bytes::new(), response.into()).unwrap();
        assert_eq!(continued(&turn, r#"{"input":[]}"#).unwrap()["input"], json!([told]));
    }
}

#[test]
fn only_a_response_with_an_id_and_an_output_is_a_turn() {
    for response in
        ["", "{}", r#"{"id":"r"}"#, r#"{"output":[]}"#, r#"{"id":"","output":[]}"#, r#"{"id":"r","output":{}}"#]
    {
        assert_eq!(Turn::new(Bytes::new(), Bytes::from_static(response.as_bytes())), None, "{response}");
    }
}

#[test]
fn lists_of_items_come_in_pages() {
    let turn = turn(
        r#"{"role":"user","content":"a"},{"id":"own","type":"function_call","status":null},{"role":"assistant","content":"b","type":"message"},{"type":"function_call_output","output":"x"}"#,
        r#"{"id":"resp_7","output":[]}"#,
    );
    let page = |query: &[(&'static str, &'static str)]| -> Result<Value, Failure> {
        let (page, others) = Page::read(query.iter().copied())?;
        assert!(others.is_empty());
        Ok(serde_json::from_slice(&turn.input_page(&page)?).unwrap())
    };
    let ids = |list: &Value| -> Vec<String> {
        list["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = page(&[("order", "asc")]).unwrap();
    let expected = json!({
        "object": "list",
        "data": [
            { "id": "msg_in_7_0", "type": "message", "role": "user",
              "content": [{ "type": "input_text", "text": "a" }], "status": "completed" },
            { "id": "own", "type": "function_call", "status": "completed" },
            { "id": "msg_in_7_2", "type": "message", "role": "assistant",
              "content": [{ "type": "output_text", "text": "b", "annotations": [], "logprobs": [] }], "status": "completed" },
            { "id": "fco_in_7_3", "type": "function_call_output", "output": "x", "status": "completed" },
        ],
        "first_id": "msg_in_7_0", "last_id": "fco_in_7_3", "has_more": false,
    });
    assert_eq!(all, expected);
    let newest = page(&[("limit", "2")]).unwrap();
    assert_eq!((ids(&newest), &newest["has_more"]), (vec!["fco_in_7_3".into(), "msg_in_7_2".into()], &json!(true)));
    let rest = page(&[("limit", "2"), ("after", "msg_in_7_2")]).unwrap();
    assert_eq!((ids(&rest), &rest["has_more"]), (vec!["own".into(), "msg_in_7_0".into()], &json!(false)));
    let nothing = page(&[("after", "msg_in_7_0")]).unwrap();
    assert_eq!((&nothing["data"], &nothing["first_id"]), (&json!([]), &Value::Null));
    for (name, value) in [("limit", "0"), ("limit", "101"), ("limit", "x"), ("order", "up"), ("after", "nobody")] {
        let failure = page(&[(name, value)]).unwrap_err();
        assert!(failure.status() == 400 && failure.message.contains(name), "{failure:?}");
    }
    assert_eq!(Page::read([("include", "x"), ("limit", "1")].into_iter()).unwrap().1, ["include"]);
}

#[test]
fn refusals_name_the_response_and_never_all_of_a_long_one() {
    let long = "ü".repeat(10_000);
    for failure in [previous_not_found(&long), not_found(&long)] {
        assert!(failure.message.len() < 400, "{failure:?}");
    }
    assert!(previous_not_found("resp_1").message.starts_with("Previous response with id 'resp_1' not found"));
    assert_eq!(not_found("resp_1").status(), 404);
}

const STREAM: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"output\":[]}}\n\n",
    ": beat\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"say \\\"response\\\": {}\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"store\":\"x\",\"output\":[{\"n\":1}]},\"sequence_number\":3}\n\n",
);
const SAID: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"status\":\"in_progress\",\"output\":[],\"previous_response_id\":\"p\\\"\",\"store\":true}}\n\n",
    ": beat\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"say \\\"response\\\": {}\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"output\":[{\"n\":1}],\"previous_response_id\":\"p\\\"\",\"store\":true},\"sequence_number\":3}\n\n",
);

fn fed(capture: &mut Capture, stream: &str, step: usize) -> (String, Option<Bytes>) {
    let mut out = Vec::new();
    for piece in stream.as_bytes().chunks(step) {
        out.extend_from_slice(&capture.feed(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&capture.finish());
    (String::from_utf8(out).unwrap(), capture.taken())
}

#[test]
fn the_object_is_taken_out_of_a_stream_however_it_is_cut() {
    for step in [1, 2, 3, 10, 100, 150, 10_000] {
        let (out, taken) = fed(&mut Capture::new(true, 1 << 20), STREAM, step);
        assert_eq!((out.as_str(), &taken.unwrap()[..]), (STREAM, &br#"{"id":"r","store":"x","output":[{"n":1}]}"#[..]));
        let mut saying = Capture::new(true, 1 << 20).saying(Some("p\""), true);
        let (out, taken) = fed(&mut saying, STREAM, step);
        assert_eq!(out, SAID, "{step}");
        let object = r#"{"id":"r","output":[{"n":1}],"previous_response_id":"p\"","store":true}"#;
        assert_eq!(taken.unwrap(), object);
    }
}

#[test]
fn the_object_is_there_as_soon_as_it_has_gone_by() {
    let mut capture = Capture::new(true, 1 << 20);
    let out = capture.feed(Bytes::from_static(STREAM.as_bytes()));
    assert_eq!(out, STREAM);
    assert!(capture.taken().is_some() && capture.taken().is_none());
}

#[test]
fn only_what_was_completed_if_not_in_full_is_taken() {
    for (kind, is_taken) in [("completed", true), ("incomplete", true), ("failed", false), ("in_progress", false)] {
        let stream = format!("data: {{\"type\":\"response.{kind}\",\"response\":{{\"id\":\"r\",\"output\":[]}}}}\n\n");
        let (out, taken) = fed(&mut Capture::new(true, 1 << 20), &stream, 7);
        assert_eq!((out, taken.is_some()), (stream, is_taken), "{kind}");
        let whole = Bytes::from(format!("{{\"id\":\"r\",\"status\":\"{kind}\",\"output\":[]}}"));
        let mut capture = Capture::new(false, 1 << 20);
        assert_eq!(capture.whole(whole.clone()), whole);
        assert_eq!(capture.taken().is_some(), is_taken, "{kind}");
        let mut capture = Capture::new(false, 1 << 20);
        assert_eq!(fed(&mut capture, std::str::from_utf8(&whole).unwrap(), 9).1.is_some(), is_taken, "{kind}");
    }
    let said = Capture::new(false, 99).saying(None, false).whole(Bytes::from_static(b"{\"id\":\"r\",\"output\":[]}"));
    assert_eq!(said, r#"{"id":"r","output":[],"previous_response_id":null,"store":false}"#);
    let error = Bytes::from_static(b"{\"error\":{}}");
    assert_eq!(Capture::new(false, 99).saying(None, false).whole(error.clone()), error);
}

#[test]
fn what_is_too_large_goes_by() {
    for streamed in [true, false] {
        for step in [1, 50, 10_000] {
            let mut capture = Capture::new(streamed, 40);
            let (out, taken) = fed(&mut capture, STREAM, step);
            assert_eq!((out.as_str(), taken), (STREAM, None), "{streamed} {step}");
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_of_what_is_no_response(text in "[a-z\"\\\\{}:, \nédrsponse]{0,300}", step in 1..50_usize, most in 0..100_usize) {
        for streamed in [true, false] {
            let mut capture = Capture::new(streamed, most).saying(Some("p"), true);
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(step) {
                out.extend_from_slice(&capture.feed(Bytes::copy_from_slice(piece)));
            }
            out.extend_from_slice(&capture.finish());
            prop_assert_eq!(&out[..], text.as_bytes());
        }
    }

    #[test]
    fn a_continued_request_is_json_with_all_items_in_order(old in 0..4_usize, said in 0..4_usize, new in 0..4_usize) {
        let list = |from: usize, count: usize| (from..from + count).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>().join(", ");
        let response = format!("{{\"id\":\"r\",\"output\":[{}]}}", list(10, said));
        let turn = Turn::new(list(0, old).into(), response.into()).unwrap();
        let body = format!("{{\"input\":[ {} ],\"previous_response_id\":\"r\"}}", list(20, new));
        let expected: Vec<Value> = (0..old).chain(10..10 + said).chain(20..20 + new).map(|n| json!({ "n": n })).collect();
        let continued = continued(&turn, &body).unwrap();
        prop_assert_eq!(&continued["input"], &Value::from(expected));
        prop_assert_eq!(&continued["previous_response_id"], "r");
    }
}
