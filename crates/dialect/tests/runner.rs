//! Bodies as Ollama gets them, so that no client makes it load a model again.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

use bytes::Bytes;
use dialect::{Runner, scan, splice};
use proptest::prelude::*;
use serde_json::Value;

const STRIPS: Runner = Runner { context: Some(4096), strips: true };

fn edited(body: &str, runner: Runner) -> (String, Vec<&'static str>) {
    let (edits, ignored) = scan(body.as_bytes(), false).unwrap().for_runner(runner);
    let pieces: Vec<u8> = splice(&Bytes::from(body.to_owned()), edits).into_iter().flatten().collect();
    (String::from_utf8(pieces).unwrap(), ignored)
}

#[test]
fn the_context_is_the_one_that_is_loaded() {
    for (body, expected, ignored) in [
        (r#"{"model":"m"}"#, r#"{"options":{"num_ctx":4096},"model":"m"}"#, &[][..]),
        (r#" {"model":"m","options":{}}"#, r#" {"model":"m","options":{"num_ctx":4096}}"#, &[]),
        (r#"{"options":null,"model":"m"}"#, r#"{"options":{"num_ctx":4096},"model":"m"}"#, &[]),
        (r#"{"options":{ "seed":1},"model":"m"}"#, r#"{"options":{"num_ctx":4096, "seed":1},"model":"m"}"#, &[]),
        (r#"{"options":{"num_ctx":8192,"seed":1}}"#, r#"{"options":{"num_ctx":4096,"seed":1}}"#, &["options.num_ctx"]),
        (r#"{"options":{"num_ctx":4096}}"#, r#"{"options":{"num_ctx":4096}}"#, &[]),
        (r#"{"options":{"num_ctx":null}}"#, r#"{"options":{"num_ctx":4096}}"#, &[]),
        (
            r#"{"options":{"num_gpu":1,"num_thread":null},"keep_alive":"5m","shift":false}"#,
            r#"{"options":{"num_ctx":4096,"num_gpu":null,"num_thread":null},"keep_alive":null,"shift":null}"#,
            &["keep_alive", "shift", "options.num_gpu"],
        ),
        // Ollama's to refuse.
        (r#"{"options":7}"#, r#"{"options":7}"#, &[]),
    ] {
        assert_eq!(edited(body, STRIPS), (expected.to_owned(), ignored.to_vec()), "{body}");
    }
}

#[test]
fn models_that_make_vectors_are_asked_for_no_context() {
    let runner = Runner { context: None, strips: true };
    for (body, expected) in [
        (r#"{"options":{"num_ctx":512}}"#, r#"{"options":{}}"#),
        (r#"{"options":{"num_ctx":null,"a":1}}"#, r#"{"options":{"a":1}}"#),
        (r#"{"options":{"a":1, "num_ctx":512}}"#, r#"{"options":{"a":1}}"#),
        (r#"{"options":{"num_batch":1,"num_ctx":512,"b":2}}"#, r#"{"options":{"num_batch":null,"b":2}}"#),
        (r#"{"input":"x"}"#, r#"{"input":"x"}"#),
    ] {
        assert_eq!(edited(body, runner).0, expected, "{body}");
    }
}

#[test]
fn whoever_wants_no_protection_keeps_what_the_client_named() {
    let runner = Runner { context: Some(4096), strips: false };
    let body = r#"{"options":{"num_ctx":9,"num_gpu":1},"shift":false}"#;
    assert_eq!(edited(body, runner), (body.to_owned(), vec![]));
    // But one who names none does not send a loaded model back to the default.
    assert_eq!(edited(r#"{"options":{"num_gpu":1}}"#, runner).0, r#"{"options":{"num_ctx":4096,"num_gpu":1}}"#);
}

proptest! {
    #[test]
    fn what_comes_out_is_json_and_asks_for_the_context(
        members in proptest::collection::vec((0..9_usize, 0..6_usize), 0..8),
        order in 0..3_usize,
        context in proptest::option::of(4..200_000_u64),
    ) {
        let names = ["num_ctx", "num_gpu", "num_thread", "seed", "stop", "use_mmap", "num_predict", "x", "low_vram"];
        let values = ["1", "null", "[\"a\"]", "true", "8192", "\"4\""];
        let options: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{}\" : {}", names[*name], values[*value])).collect();
        let options = format!("\"options\" : {{ {} }}", options.join(" , "));
        let mut parts = [options.as_str(), "\"model\":\"m\"", "\"keep_alive\":0"];
        parts.rotate_left(order);
        let body = format!("{{ {} }}", parts.join(","));
        let (text, _) = edited(&body, Runner { context, strips: true });
        let value: Value = serde_json::from_str(&text).unwrap();
        let num_ctx = members.iter().any(|(name, _)| *name == 0);
        // Of a name that is given twice the last one counts, and is the one that is written over.
        prop_assert_eq!(value["options"].get("num_ctx").and_then(Value::as_u64), context, "{} {}", text, num_ctx);
        prop_assert_eq!(&value["keep_alive"], &Value::Null);
        prop_assert_eq!(&value["model"], &Value::from("m"));
        for machine in ["num_gpu", "num_thread", "use_mmap", "low_vram"] {
            prop_assert!(value["options"][machine].is_null(), "{}", text);
        }
    }
}
