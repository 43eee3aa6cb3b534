//! `herd keys` against a stand-in for a door, word by word.
//!
//! `GOLDEN=write` rewrites the files under `tests/golden`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up should fail loudly")]
#![allow(dead_code, reason = "each file uses a part of the stand-in")]

mod fake;

use fake::{FakeDoor, golden, herd};
use serde_json::json;

#[test]
fn keys_are_listed_without_themselves() {
    let list = json!([
        {"name": "nas", "created": "2026-11-21", "rpm": 60, "at_once": 2},
        {"name": "phone\u{1b}[2J", "created": "2026-11-22", "rpm": null, "at_once": null},
    ]);
    golden("keys", &FakeDoor::herd(&[("/fleet/keys", 200, list)]), "herd keys");
    golden("keys-none", &FakeDoor::herd(&[("/fleet/keys", 200, json!([]))]), "herd keys list");
}

#[test]
fn a_key_is_made_and_taken_back() {
    let key = "herd-abcdefghijklmnopqrstuvwxyz234567";
    let made = json!({"name": "nas", "key": key, "created": "2026-11-21", "rpm": 60, "at_once": null});
    let door = FakeDoor::herd(&[("/fleet/keys", 200, made)]);
    golden("keys-add", &door, "herd keys add nas --rpm 60");
    assert_eq!(door.bodies("/fleet/keys")[0], json!({"name": "nas", "rpm": 60, "at_once": null}));
    let door = FakeDoor::herd(&[("/fleet/keys/revoke", 200, json!({}))]);
    golden("keys-revoke", &door, "herd keys revoke nas");
    assert_eq!(door.bodies("/fleet/keys/revoke")[0], json!({"name": "nas"}));
}

#[test]
fn refusals_have_exit_codes_of_their_own() {
    for (path, status, text, words, code) in [
        ("/fleet/keys", 403, "there is a key called `nas` already", "keys add nas", 4),
        ("/fleet/keys/revoke", 404, "no key is called `nas`", "keys revoke nas", 5),
        ("/fleet/keys", 401, "this needs the token", "keys", 4),
    ] {
        let door = FakeDoor::herd(&[(path, status, json!({"error": text}))]);
        let ran = fake::herd(&format!("herd {words} --port {}", door.port), &[]);
        assert_eq!(ran.code, code, "{words}: {}", ran.err);
    }
    let ran = herd("herd keys add nas --rpm 0", &[]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    let ran = herd(&format!("herd keys --port {}", fake::unused_port()), &[]);
    assert_eq!(ran.code, 3, "{}", ran.err);
}
