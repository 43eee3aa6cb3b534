//! What is found in request bodies.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::Range;

use bytes::Bytes;
use dialect::{BadBody, Edit, Scan, json_string, scan, scan_start, splice};
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

fn scanned(body: &str) -> Scan {
    scan(body.as_bytes(), false).unwrap_or_else(|bad| panic!("{bad:?}: {body}"))
}

fn model(scan: &Scan) -> Option<&str> {
    scan.model.as_ref().map(|model| model.text.as_str())
}

#[test]
fn the_model_is_found_wherever_it_is() {
    for (body, legacy_name, expected) in [
        (r#"{"model":"tiny"}"#, false, Some("tiny")),
        (r#"{"messages":[{"model":"no"}],"options":{"model":"no"},"model":"tiny"}"#, false, Some("tiny")),
        (" {\n\"model\" : \"t\\u0069ny\" } \r\n", false, Some("tiny")),
        (r#"{"m\u006fdel":"tiny"}"#, false, Some("tiny")),
        (r#"{"Model":"tiny"}"#, false, Some("tiny")),
        (r#"{"model":null}"#, false, None),
        (r#"{"model":""}"#, false, Some("")),
        ("{}", false, None),
        (r#"{"name":"tiny"}"#, false, None),
        (r#"{"name":"tiny"}"#, true, Some("tiny")),
        (r#"{"name":"old","model":"new"}"#, true, Some("new")),
        (r#"{"name":"old","model":""}"#, true, Some("old")),
        (r#"{"name":5,"model":"new"}"#, true, Some("new")),
        (r#"{"name":"a","name":"b","model":"new"}"#, true, Some("new")),
    ] {
        let scan = scan(body.as_bytes(), legacy_name).unwrap();
        assert_eq!(model(&scan), expected, "{body}");
        if let Some(text) = &scan.model {
            let value: String = serde_json::from_str(&body[text.range.clone()]).unwrap();
            assert_eq!(value, text.text, "{body}");
        }
    }
}

#[test]
fn bad_bodies_are_told_apart() {
    let wrong = |field, found| BadBody::WrongType { field, found, expected: "string" };
    for (body, legacy_name, expected) in [
        ("", false, BadBody::Empty),
        (" \n", false, BadBody::Empty),
        ("[]", false, BadBody::NotAnObject { found: "array" }),
        ("\"x\"", false, BadBody::NotAnObject { found: "string" }),
        ("nul", false, BadBody::Cut),
        ("model=tiny", false, BadBody::Syntax { at: 0 }),
        ("{\"model\":\"tiny\",", false, BadBody::Cut),
        ("{\"model\":\"ti", false, BadBody::Cut),
        ("{\"model\":\"tiny\"}}", false, BadBody::Syntax { at: 16 }),
        ("{\"model\":\"tiny\"} {}", false, BadBody::Syntax { at: 17 }),
        ("{\"a\":1 \"model\":\"tiny\"}", false, BadBody::Syntax { at: 7 }),
        ("{\"model\":5}", false, wrong("model", "number")),
        ("{\"model\":{\"name\":\"tiny\"}}", false, wrong("model", "object")),
        ("{\"name\":true}", true, wrong("name", "bool")),
        ("{\"model\":\"a\",\"model\":\"a\"}", false, BadBody::ModelTwice),
        ("{\"model\":\"a\",\"MODEL\":\"b\"}", false, BadBody::ModelTwice),
        ("{\"model\":null,\"mod\\u0065l\":\"b\"}", false, BadBody::ModelTwice),
        ("{\"name\":\"a\",\"name\":\"b\"}", true, BadBody::ModelTwice),
    ] {
        assert_eq!(scan(body.as_bytes(), legacy_name), Err(expected), "{body}");
    }
    let deep = format!("{{\"messages\":{}", "[".repeat(100_000));
    assert_eq!(scan(deep.as_bytes(), false), Err(BadBody::TooDeep));
    let too_deep = format!("{{\"messages\":{}{}}}", "[".repeat(512), "]".repeat(512));
    assert_eq!(scan(too_deep.as_bytes(), false), Err(BadBody::TooDeep));
    let allowed = format!("{{\"messages\":{}{}}}", "[".repeat(511), "]".repeat(511));
    assert!(scan(allowed.as_bytes(), false).is_ok());
}

#[test]
fn what_would_load_a_model_again_is_found() {
    let body = r#"{"model":"m","shift":false,"truncate":false,
        "options":{"num_gpu":1,"num_thread":null,"use_mmap":true,"temperature":1,"num_ctx":null}}"#;
    let scan = scanned(body);
    let machine: Vec<_> = scan.options.machine.iter().map(|(name, at)| (*name, &body[at.clone()])).collect();
    assert_eq!(machine, [("options.num_gpu", "1"), ("options.use_mmap", "true")]);
    assert_eq!(scan.options.num_ctx.map(|at| &body[at]), Some("null"));
    assert_eq!((scan.shift.map(|at| &body[at]), scan.truncate, scan.num_ctx), (Some("false"), Some(false), None));
    let scan = scanned(r#"{"model":"m","options":{},"shift":true}"#);
    assert!(scan.options.is_empty && scan.options.is_given && scan.shift.is_none());
    let body = r#"{"model":"m","options":null}"#;
    assert_eq!(scanned(body).options.null.map(|at| &body[at]), Some("null"));
    assert!(!scanned(r#"{"model":"m"}"#).options.is_given);
    assert!(scanned(r#"{"model":"m","options":7}"#).options.is_given);
    let many = format!(r#"{{"options":{{{}"num_gpu":1}}}}"#, r#""num_gpu":1,"#.repeat(100));
    assert_eq!(scanned(&many).options.machine.len(), 8);
}

#[test]
fn turns_of_one_conversation_open_alike() {
    let opening = |body: &str| scanned(body).opening.unwrap();
    let first = opening(r#"{"system":"s","messages":[{"role":"user","content":"hi"}]}"#);
    for same in [
        r#"{"system":"s","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]}"#,
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"user","content":"x"}],"system":"s","stream":true}"#,
    ] {
        assert_eq!(opening(same), first, "{same}");
    }
    for other in [
        r#"{"system":"t","messages":[{"role":"user","content":"hi"}]}"#,
        r#"{"messages":[{"role":"user","content":"hi"}]}"#,
        r#"{"system":"s","messages":[{"role":"user","content":"ho"}]}"#,
    ] {
        assert_ne!(opening(other), first, "{other}");
    }
    let with_system = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}]}"#;
    let later = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"},{"role":"tool"}]}"#;
    assert_eq!(opening(with_system), opening(later));
    assert_eq!(scanned(r#"{"model":"m"}"#).opening, None);
    let key = |body: &str| scanned(body).session;
    let one = key(r#"{"prompt_cache_key":"k"}"#);
    assert!(
        one.is_some() && one == key(r#"{"metadata":{"user_id":"k"}}"#) && one != key(r#"{"prompt_cache_key":"l"}"#)
    );
}

#[test]
fn facts_for_placement_are_found() {
    let body = r#"{"stream":false,"keep_alive":"5m","options":{"num_ctx":8192.7,"num_predict":-1,"stop":["x"]},
        "max_tokens":100,"max_completion_tokens":300,"fallback_models":["a",1,"b"],"metadata":{"user_id":"u","tags":["t",2]},
        "user":"me","system":"abc","messages":[{"role":"user","content":"hi","images":["QUJD"]},{"content":"ho"}],
        "tools":[{"type":"function"}],"format":"json","model":"tiny"}"#;
    let scan = scanned(body);
    assert_eq!(scan.stream, Some(false));
    assert_eq!(&body[scan.keep_alive.unwrap()], "\"5m\"");
    assert_eq!(&body[scan.options.num_ctx.unwrap()], "8192.7");
    assert!(body[scan.options.object.unwrap()..].starts_with("{\"num_ctx\"") && scan.session.is_some());
    assert_eq!((scan.num_ctx, scan.max_tokens), (Some(8192), Some(300)));
    assert_eq!(scan.fallback_models, ["a", "b"]);
    assert_eq!(scan.tags, ["t"]);
    assert_eq!(scan.user.as_deref(), Some("me"));
    assert_eq!((scan.text_bytes, scan.images, scan.messages), (3 + 4 + 2 + 2 + 21, 1, 2));
    assert!(scan.has_input && scan.tools && scan.structured);

    for (body, expected) in [
        (r#"{"prompt":""}"#, false),
        (r#"{"messages":[]}"#, false),
        (r#"{"keep_alive":0,"system":"x"}"#, false),
        (r#"{"prompt":"x"}"#, true),
        (r#"{"input":["x"]}"#, true),
        (r#"{"prompt":[1,2]}"#, true),
    ] {
        assert_eq!(scanned(body).has_input, expected, "{body}");
    }
    for (body, expected) in [
        (r#"{"format":""}"#, false),
        (r#"{"format":null}"#, false),
        (r#"{"format":{"type":"object"}}"#, true),
        (r#"{"response_format":{"type":"text"}}"#, false),
        (r#"{"response_format":{"type":"json_object"}}"#, true),
        (r#"{"text":{"format":{"type":"text"},"verbosity":"low"}}"#, false),
        (r#"{"text":{"format":{"schema":{},"type":"json_schema"}}}"#, true),
        (r#"{"output_config":{"effort":"low"}}"#, false),
        (r#"{"output_config":{"format":{"type":"json_schema"}}}"#, true),
        (r#"{"tools":[],"text":"x"}"#, false),
    ] {
        assert_eq!(scanned(body).structured, expected, "{body}");
        assert!(!scanned(body).tools);
    }
    for (options, expected) in [
        ("-1", None),
        ("\"8\"", None),
        ("4096", Some(4096)),
        ("1e3", Some(1000)),
        ("99999999999999999999", Some(u64::MAX)),
    ] {
        assert_eq!(scanned(&format!("{{\"options\":{{\"num_ctx\":{options}}}}}")).num_ctx, expected, "{options}");
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let many = vec!["x"; 1_000];
    let long = "y".repeat(1_000);
    let scan = scanned(&json!({"fallback_models": many, "metadata": {"tags": many}, "user": long}).to_string());
    assert_eq!((scan.fallback_models.len(), scan.tags.len(), scan.user), (16, 32, None));
    assert!(scanned(&json!({"metadata": {"tags": [long]}}).to_string()).tags.is_empty());
}

#[test]
fn the_model_is_seen_in_the_beginning_of_a_body() {
    for (start, expected) in [
        (r#"{"model":"tiny","messages":[{"role":"us"#, Some("tiny")),
        (r#"{"stream":true,"model":"tiny""#, Some("tiny")),
        (r#"{"model":null,"model":"tiny""#, Some("tiny")),
        (r#"{"model":"tin"#, None),
        (r#"{"messages":[{"model":"no"}],"mod"#, None),
        (r#"{"messages":[{"model":"no"}]}"#, None),
        ("[", None),
        ("", None),
    ] {
        assert_eq!(scan_start(start.as_bytes()).map(|model| model.text).as_deref(), expected, "{start}");
    }
}

fn spliced(body: &str, cuts: &[Range<usize>]) -> String {
    let edits = cuts.iter().map(|range| Edit { range: range.clone(), with: Bytes::new() }).collect();
    let bytes: Vec<u8> = splice(&Bytes::copy_from_slice(body.as_bytes()), edits).into_iter().flatten().collect();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn our_own_fields_leave_no_trace() {
    for (body, expected) in [
        (r#"{"fallback_models":["a"]}"#, "{}"),
        (r#"{"fallback_models":["a"],"model":"m"}"#, r#"{"model":"m"}"#),
        (r#"{"model":"m" , "fallback_models":["a"] }"#, r#"{"model":"m" }"#),
        (r#"{"a":1,"fallback_models":["a"],"b":2}"#, r#"{"a":1,"b":2}"#),
        (r#"{"metadata":{"tags":[]},"fallback_models":[],"b":2}"#, r#"{"b":2}"#),
        (r#"{"b":2,"metadata":{"tags":[]},"fallback_models":[]}"#, r#"{"b":2}"#),
        (r#"{"metadata":{"tags":[],"x":1},"fallback_models":[]}"#, r#"{"metadata":{"x":1}}"#),
        (r#"{"fallback_models":[],"metadata":{"x":1,"tags":[]}}"#, r#"{"metadata":{"x":1}}"#),
        (r#"{"metadata":{"x":1,"tags":[],"y":2}}"#, r#"{"metadata":{"x":1,"y":2}}"#),
        // Not ours: OpenAI's metadata is text, and an empty one was sent on purpose.
        (r#"{"metadata":{"tags":"x"},"fallback_models":"m"}"#, r#"{"metadata":{"tags":"x"},"fallback_models":"m"}"#),
        (r#"{"metadata":{}}"#, r#"{"metadata":{}}"#),
    ] {
        assert_eq!(spliced(body, &scanned(body).own), expected, "{body}");
    }
}

#[test]
fn text_that_is_not_utf_8_is_taken_as_go_takes_it() {
    let scan = scan(b"{\"model\":\"t\xff\",\"prompt\":\"\xc3\x28\"}", false).unwrap();
    assert_eq!(model(&scan), Some("t\u{fffd}"));
    assert_eq!(scan.text_bytes, 2);
}

/// Any JSON value, with the names that matter here among its keys.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Quarters, which a parser reads back exactly.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
        ".{0,12}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let object = prop::collection::vec((key(), inner.clone()), 0..5)
            .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into());
        prop_oneof![prop::collection::vec(inner, 0..5).prop_map(Value::from), object]
    })
}

const KNOWN_KEYS: &[&str] =
    &["model", "tags", "num_ctx", "stream", "options", "format", "type", "images", "image_url", "content", "x"];

fn key() -> impl Strategy<Value = String> {
    prop_oneof![prop::sample::select(KNOWN_KEYS).prop_map(str::to_owned), ".{0,6}"]
}

/// A request: the known fields sometimes of the right type and sometimes not, in any order, with others between.
fn request() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        ".{0,12}".prop_map(|model| ("model".to_owned(), Value::from(model))),
        any::<bool>().prop_map(|stream| ("stream".to_owned(), Value::from(stream))),
        any::<u32>().prop_map(|context| ("options".to_owned(), json!({"a": [1], "num_ctx": context}))),
        value().prop_map(|options| ("options".to_owned(), options)),
        prop::collection::vec(".{0,5}", 0..4).prop_map(|models| ("fallback_models".to_owned(), Value::from(models))),
        (prop::collection::vec(".{0,5}", 0..4), value())
            .prop_map(|(tags, x)| ("metadata".to_owned(), json!({"x": x, "tags": tags}))),
        prop::collection::vec(".{0,5}", 0..4).prop_map(|tags| ("metadata".to_owned(), json!({"tags": tags}))),
        (prop::sample::select(&["messages", "prompt", "metadata", "stream", "tools", "text", "z"][..]), value())
            .prop_map(|(name, value)| (name.to_owned(), value)),
        ("[a-z]{1,8}".prop_filter("the model is text", |name| name != "model"), value()),
    ];
    prop::collection::vec(field, 0..8).prop_map(|members| members.into_iter().collect::<Map<_, _>>().into())
}

proptest! {
    #[test]
    fn the_scan_agrees_with_a_parser(request in request(), pretty: bool) {
        let body = if pretty { serde_json::to_string_pretty(&request).unwrap() } else { request.to_string() };
        let scan = scanned(&body);
        prop_assert_eq!(model(&scan), request["model"].as_str());
        prop_assert_eq!(scan.stream, request["stream"].as_bool());
        let context = &request["options"]["num_ctx"];
        let context = context.as_u64().or(context.as_f64().filter(|x| *x >= 0.0 && !x.is_sign_negative()).map(|x| x as u64));
        prop_assert_eq!(scan.num_ctx, context);
        let strings = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        prop_assert_eq!(scan.fallback_models, strings(&request["fallback_models"]));
        prop_assert_eq!(scan.tags, strings(&request["metadata"]["tags"]));
        prop_assert_eq!(scan.tools, request["tools"].as_array().is_some_and(|tools| !tools.is_empty()));
        prop_assert_eq!(scan.keep_alive.is_some(), request.get("keep_alive").is_some());
    }

    #[test]
    fn edits_yield_the_same_request_otherwise(request in request(), name in ".{0,12}") {
        let body = Bytes::from(request.to_string());
        let scan = scan(&body, false).unwrap();
        let mut edits: Vec<Edit> = scan.own.iter().map(|range| Edit { range: range.clone(), with: Bytes::new() }).collect();
        let mut expected = request;
        let members = expected.as_object_mut().unwrap();
        if let Some(model) = scan.model {
            edits.push(Edit { range: model.range, with: json_string(&name) });
            members["model"] = Value::from(name);
        }
        if members.get("fallback_models").is_some_and(Value::is_array) {
            members.shift_remove("fallback_models");
        }
        if let Some(metadata) = members.get_mut("metadata").and_then(Value::as_object_mut)
            && metadata.get("tags").is_some_and(Value::is_array)
        {
            metadata.shift_remove("tags");
            if metadata.is_empty() {
                members.shift_remove("metadata");
            }
        }
        let pieces = splice(&body, edits);
        let length = pieces.len();
        let edited: Vec<u8> = pieces.into_iter().flatten().collect();
        prop_assert_eq!(edited.len() as u64, length);
        prop_assert_eq!(serde_json::from_slice::<Value>(&edited).unwrap(), expected);
    }

    #[test]
    fn only_json_objects_are_taken(body in damaged()) {
        let parsed = serde_json::from_slice::<IgnoredAny>(&body).is_ok();
        let is_object = body.trim_ascii_start().starts_with(b"{");
        match scan(&body, true) {
            Ok(_) => prop_assert!(parsed && is_object),
            Err(BadBody::ModelTwice | BadBody::WrongType { .. }) => prop_assert!(is_object),
            Err(BadBody::TooDeep) => {}
            Err(BadBody::NotAnObject { .. }) => prop_assert!(!is_object),
            Err(BadBody::Empty | BadBody::Cut | BadBody::Syntax { .. }) => prop_assert!(!parsed),
        }
    }

    #[test]
    fn a_beginning_shows_the_model_that_the_whole_shows(request in request(), place: prop::sample::Index) {
        let body = request.to_string();
        let start = &body.as_bytes()[..place.index(body.len() + 1)];
        if let Some(model) = scan_start(start) {
            prop_assert_eq!(Some(model), scanned(&body).model);
        }
    }

    #[test]
    fn no_bytes_break_it(body: Vec<u8>, legacy_name: bool) {
        let _ = scan(&body, legacy_name);
        let _ = scan_start(&body);
        let _ = dialect::multipart_model(&body, "b");
        let _ = dialect::error_text(&body);
    }
}

/// Requests with a byte changed, taken out or put in, or cut short.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(&b"{}[]\",:\\ 0e-.tfn"[..])];
    (request(), any::<prop::sample::Index>(), byte, 0..5u8).prop_map(|(request, place, byte, kind)| {
        let mut body = request.to_string().into_bytes();
        let at = place.index(body.len());
        match kind {
            0 => body[at] = byte,
            1 => drop(body.remove(at)),
            2 => body.insert(at, byte),
            3 => body.truncate(at),
            _ => {}
        }
        body
    })
}
