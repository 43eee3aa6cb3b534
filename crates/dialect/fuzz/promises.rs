//! What holds for the scan of any bytes. Shared by the fuzz target and the test that replays its corpus.

use bytes::Bytes;
use dialect::{BadBody, Edit, Scan, scan, scan_start, splice};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Panics unless the scan of `body` keeps every promise.
pub fn scan_keeps_its_promises(body: &[u8]) {
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    let is_object = body.trim_ascii_start().starts_with(b"{");
    for legacy_name in [false, true] {
        match scan(body, legacy_name) {
            Ok(scan) => {
                assert!(is_json && is_object, "taken, but no JSON object");
                the_model_is_where_it_is_said_to_be(body, &scan);
                our_fields_can_be_cut_out(body, &scan);
            }
            Err(BadBody::ModelTwice | BadBody::WrongType { .. }) => assert!(is_object),
            Err(BadBody::TooDeep) => {}
            Err(BadBody::NotAnObject { .. }) => assert!(!is_object),
            Err(BadBody::Syntax { at }) => assert!(!is_json && at < body.len()),
            Err(BadBody::Empty | BadBody::Cut) => assert!(!is_json),
        }
    }
    a_beginning_shows_the_same_model(body);
}

fn the_model_is_where_it_is_said_to_be(body: &[u8], scan: &Scan) {
    let Some(model) = &scan.model else { return };
    let written = &body[model.range.clone()];
    assert!(written.starts_with(b"\"") && written.ends_with(b"\""));
    // What is not UTF-8, or half a surrogate pair, a stricter parser refuses.
    if let Ok(text) = serde_json::from_slice::<String>(written) {
        assert_eq!(text, model.text);
    }
}

fn our_fields_can_be_cut_out(body: &[u8], before: &Scan) {
    let edits: Vec<Edit> = before.own.iter().map(|range| Edit { range: range.clone(), with: Bytes::new() }).collect();
    assert!(before.own.windows(2).all(|pair| pair[0].end <= pair[1].start), "cuts overlap");
    let pieces = splice(&Bytes::copy_from_slice(body), edits);
    let length = pieces.len();
    let cut: Vec<u8> = pieces.into_iter().flatten().collect();
    assert_eq!(cut.len() as u64, length);
    let after = scan(&cut, false).expect("cutting members out leaves an object");
    assert!(after.own.is_empty() && after.fallback_models.is_empty() && after.tags.is_empty());
    assert_eq!(after.text_bytes, before.text_bytes);
    if let (Ok(Value::Object(cut)), Ok(Value::Object(body))) =
        (serde_json::from_slice(&cut), serde_json::from_slice::<Value>(body))
    {
        // Of a field that is given twice, a cut may take only one.
        let is_ours = |key: &str| ["metadata", "fallback_models"].iter().any(|ours| key.eq_ignore_ascii_case(ours));
        assert!(cut.iter().all(|(key, value)| is_ours(key) || body.get(key) == Some(value)), "a member changed");
    }
}

fn a_beginning_shows_the_same_model(body: &[u8]) {
    let Ok(whole) = scan(body, false) else { return };
    for length in [body.len() / 4, body.len() / 2, body.len()] {
        if let Some(model) = scan_start(&body[..length]) {
            assert_eq!(Some(&model), whole.model.as_ref());
        }
    }
}
