use proto::{Capability, ModelName};

use super::listing::{runner, weights};
use super::*;

const TAGS: &str = include_str!("../../tests/data/ollama-tags.json");
const PS: &str = include_str!("../../tests/data/ollama-ps.json");
const SHOW: &str = include_str!("../../tests/data/ollama-show.json");

fn seen(tags_body: &str, ps: &str, cloud_models: bool) -> Ollama {
    Ollama {
        version: "0.33.0".to_owned(),
        speaks: ALWAYS,
        cloud_models,
        tags: tags(tags_body.as_bytes()).unwrap(),
        running: running(&serde_json::from_str(ps).unwrap()).unwrap(),
        described: BTreeMap::new(),
        describing: JoinSet::new(),
        in_work: Vec::new(),
    }
}

fn ids(ollama: &Ollama) -> Vec<String> {
    ollama.models().into_iter().map(|model| model.id).collect()
}

#[test]
fn a_listing_is_read() {
    let ollama = seen(TAGS, PS, false);
    assert_eq!(ids(&ollama), ["smol-b:latest", "tiny:latest", "tiny-copy:latest"]);
    let models = ollama.models();
    let tiny = models.iter().find(|model| model.name == ModelName::new("Tiny")).unwrap();
    assert_eq!(tiny.digest.as_deref(), Some("d553ea2649ea7d07123b4da5a08b6771f1a6f4411cd3545a0551897d12aba8dc"));
    assert_eq!((tiny.size, tiny.context_trained), (Some(790_420), Some(4096)));
    assert_eq!((tiny.quantization.as_deref(), tiny.family.as_deref()), (Some("F16"), Some("llama")));
    assert_eq!(tiny.parameter_size.as_deref(), Some("389K"));
    assert_eq!(tiny.modified_at.as_deref(), Some("2026-11-21T11:21:59.467592155Z"));
    assert_eq!(tiny.capabilities, [Capability::Completion]);
    let loaded = tiny.loaded.as_ref().unwrap();
    assert_eq!((loaded.context, loaded.size_vram, loaded.size), (Some(4096), Some(0), Some(922_746)));
    assert!(models.iter().filter(|model| model.loaded.is_some()).count() == 1);
    assert!(tiny.listing.as_ref().unwrap().get().contains("\"embedding_length\""), "every field is kept");
}

#[test]
fn models_from_elsewhere_are_listed_only_when_wanted() {
    assert!(!ids(&seen(TAGS, PS, false)).iter().any(|id| id.starts_with("rem") || id.contains("cloud")));
    // A stub that points at this machine would lead in circles, wanted or not.
    assert_eq!(ids(&seen(TAGS, PS, true)), ["gpt-oss:120b-cloud", "smol-b:latest", "tiny:latest", "tiny-copy:latest"]);
    let elsewhere = TAGS.replace("http://127.0.0.1:11434", "https://ollama.com:443");
    assert!(ids(&seen(&elsewhere, PS, true)).contains(&"rem:latest".to_owned()));
}

#[test]
fn what_only_show_tells_is_added() {
    let mut ollama = seen(TAGS, PS, false);
    let edition = ollama.tags.iter().find(|tag| tag.model.id == "tiny:latest").unwrap().edition.clone();
    ollama.described.insert(edition, describe(&serde_json::from_str(SHOW).unwrap()));
    let models = ollama.models();
    let tiny = models.iter().find(|model| model.id == "tiny:latest").unwrap();
    assert_eq!(tiny.capabilities, [Capability::Completion, Capability::Tools]);
    assert_eq!(tiny.context_trained, Some(8192));
    let listing: Value = serde_json::from_str(tiny.listing.as_ref().unwrap().get()).unwrap();
    assert_eq!(listing["capabilities"], json!(["completion", "tools"]));
    assert_eq!(listing["details"]["embedding_length"], 128);
    let other = models.iter().find(|model| model.id == "smol-b:latest").unwrap();
    assert_eq!(other.capabilities, [Capability::Completion]);
}

#[test]
fn names_on_the_same_weights_are_loaded_together() {
    let weights = |context: &str| Described {
        runner: runner(&format!("# a comment\nFROM /models/blobs/sha256-eb9e\n{context}TEMPLATE x\nPARAMETER stop y")),
        ..Described::default()
    };
    for (of_copy, together) in [
        ("", true),
        ("PARAMETER num_ctx 2048\n", true),
        ("PARAMETER num_batch 64\n", false),
        ("ADAPTER /blobs/sha256-a\n", false),
    ] {
        let mut ollama = seen(TAGS, PS, false);
        let edition = |id: &str| ollama.tags.iter().find(|tag| tag.model.id == id).unwrap().edition.clone();
        let (tiny, copy) = (edition("tiny:latest"), edition("tiny-copy:latest"));
        ollama.described.insert(tiny, weights(""));
        ollama.described.insert(copy, weights(of_copy));
        let copy = ollama.models().into_iter().find(|model| model.id == "tiny-copy:latest").unwrap();
        assert_eq!(copy.loaded.is_some(), together, "{of_copy}");
    }
    assert_eq!(runner("FROM llama3\n"), None, "no weights are named");
}

#[test]
fn the_file_of_weights_is_read() {
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    for (modelfile, digest) in [
        (format!("# FROM tiny\n\nFROM /srv/models/blobs/sha256-{a}\nTEMPLATE x\n"), Some(&a)),
        (format!("FROM C:\\Users\\me\\blobs\\sha256-{a}\r\nFROM /blobs/sha256-{b}\n"), Some(&a)),
        (format!("FROM \"/with blanks/sha256-{}\"\n", a.to_uppercase()), Some(&a)),
        ("FROM llama3\n".to_owned(), None),
        (format!("FROM /blobs/sha256-{}\n", &a[1..]), None),
        (String::new(), None),
    ] {
        assert_eq!(weights(&modelfile).as_ref(), digest, "{modelfile}");
    }
    let mut ollama = seen(TAGS, PS, false);
    let edition = ollama.tags.iter().find(|tag| tag.model.id == "tiny:latest").unwrap().edition.clone();
    assert!(ollama.models().iter().all(|model| model.weights.is_none()), "not told yet");
    ollama.described.insert(edition, describe(&serde_json::from_str(SHOW).unwrap()));
    let told: Vec<Option<String>> = ollama.models().into_iter().map(|model| model.weights).collect();
    assert!(told[1].as_ref().is_some_and(|digest| digest.starts_with("eb9e5395")) && told[0].is_none());
}

#[test]
fn a_name_that_was_pulled_anew_is_not_loaded() {
    let ps = PS.replace("d553ea26", "00000000");
    assert!(seen(TAGS, &ps, false).models().iter().all(|model| model.loaded.is_none()));
    // Whereas another name of the very same model is.
    let ps = PS.replace("tiny:latest", "first:latest");
    assert!(seen(TAGS, &ps, false).models().iter().any(|model| model.id == "tiny:latest" && model.loaded.is_some()));
}

#[test]
fn an_older_or_odd_listing_is_read_as_far_as_it_goes() {
    let body = r#"{"models":[{"name":"old"},{"model":"alone","details":null,"size":"big"},{"name":""},{},7,
        {"name":"x","capabilities":["tools","tools","dancing",3],"size":-1}]}"#;
    let found = tags(body.as_bytes()).unwrap();
    let ids: Vec<&str> = found.iter().map(|tag| tag.model.id.as_str()).collect();
    assert_eq!(ids, ["old", "alone", "x"]);
    assert_eq!(found[2].model.capabilities, [Capability::Tools]);
    for body in ["", "[]", "{}", r#"{"models":null}"#, r#"{"models":{}}"#, "Ollama is running"] {
        assert!(tags(body.as_bytes()).is_none(), "{body}");
    }
}

#[test]
fn versions_tell_an_ollama_from_a_herd() {
    assert_eq!(version(&json!({"version": "0.33.0"})), Some(Ok("0.33.0".to_owned())));
    for herd in [json!({"version": "0.33.0", "herd": "0.1.0"}), json!({"version": "0.12.6", "herd_version": "0.11.4"})]
    {
        assert_eq!(version(&herd), Some(Err(Foreign::OtherHerd)));
    }
    for other in [json!({}), json!({"version": 3}), json!({"error": "Unexpected endpoint"}), json!("0.1")] {
        assert_eq!(version(&other), None);
    }
}

proptest::proptest! {
    #[test]
    fn no_answer_makes_it_panic(body in ".{0,200}", cut in 0..TAGS.len()) {
        let _ = tags(body.as_bytes());
        let _ = tags(&TAGS.as_bytes()[..cut]);
        if let Ok(value) = serde_json::from_str::<Value>(&body) {
            let _ = (running(&value), describe(&value), version(&value));
        }
        let _ = runner(&body);
    }
}
