//! Room for one model, and clients that want two.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fleet_tests::{Fake, Herd, eventually, exchange, post};
use serde_json::{Value, json};

use crate::chat;

const ROOM_FOR_ONE: [&str; 9] =
    ["--models", "a=long,b=long", "--max-loaded", "1", "--load-ms", "300", "--token-ms", "30", "--tokens=10"];
/// So many answers of `a`, a third of a second each, come before `b` is given up.
const ENOUGH: u32 = 60;

#[allow(clippy::disallowed_methods, reason = "tests wait in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Models that the server itself made leave for others.
fn evictions(fake: &Fake) -> u64 {
    let models = fake.state()["models"].as_object().unwrap().clone();
    models.values().filter_map(|model| model["evictions"].as_u64()).sum()
}

/// Two clients keep `a` busy at `url` without a gap, each with `keep`, until a third, who wants `b`, has its answer, or
/// until they have had [`ENOUGH`] answers. How long the third waited, if it did not wait in vain, and what they had meanwhile.
fn kept_waiting(url: &str, keep: &Value) -> (Option<Duration>, u32) {
    let (is_over, answers) = (AtomicBool::new(false), AtomicU32::new(0));
    let asks = |model: &str| chat(model, json!({ "stream": false, "keep_alive": keep }));
    let at = format!("{url}/api/chat");
    assert_eq!(post(&at, &asks("a")).status, 200);
    std::thread::scope(|scope| {
        let (begun, begins) = mpsc::channel();
        for _ in 0..2 {
            let begun = begun.clone();
            scope.spawn(|| {
                let begun = begun;
                while !is_over.load(Ordering::Relaxed) && answers.load(Ordering::Relaxed) < ENOUGH {
                    assert_eq!(post(&at, &asks("a")).status, 200);
                    answers.fetch_add(1, Ordering::Relaxed);
                    let _ = begun.send(());
                }
            });
        }
        begins.recv().unwrap();
        let before = answers.load(Ordering::Relaxed);
        let asked = now();
        let body = chat("b", json!({ "stream": false }));
        assert_eq!(post(&at, &body).status, 200);
        let waited = asked.elapsed();
        is_over.store(true, Ordering::Relaxed);
        let meanwhile = answers.load(Ordering::Relaxed) - before;
        ((before + meanwhile < ENOUGH).then_some(waited), meanwhile)
    })
}

#[test]
fn whoever_wants_another_model_waits_for_one_turn_at_most() {
    let fake = Fake::start(&ROOM_FOR_ONE);
    let (direct, meanwhile) = kept_waiting(&fake.url, &json!(null));
    println!(
        "FIGURE a model that two others keep from its room: direct {direct:?} after {meanwhile} answers of theirs"
    );
    assert_eq!(direct, None, "an Ollama alone lets it starve");

    let fake = Fake::start(&ROOM_FOR_ONE);
    let herd = Herd::start(&[&fake.url]);
    let (waited, meanwhile) = kept_waiting(&herd.url, &json!(null));
    println!("FIGURE a model that two others keep from its room: Herd {waited:?} after {meanwhile} answers of theirs");
    assert!(waited.is_some_and(|waited| waited < Duration::from_secs(15)), "{waited:?}");
    assert!(evictions(&fake) <= 1, "once it is seen that there is room for one, nothing goes but by order");
}

#[test]
fn a_keep_alive_of_ten_minutes_delays_nobody() {
    // With one request for `b` waiting, each for `a` keeps an Ollama from unloading it, busy or not.
    let fake = Fake::start(&ROOM_FOR_ONE);
    let at = |url: &str| format!("{url}/api/chat");
    let long = chat("a", json!({ "keep_alive": "10m", "options": { "num_predict": 10 } }));
    let mut running = exchange(&at(&fake.url), &long);
    assert!(running.read_until("\"content\""));
    std::thread::scope(|scope| {
        let b = scope.spawn(|| post(&at(&fake.url), &chat("b", json!({ "stream": false }))));
        eventually("b to wait", || (fake.state()["models"]["b:latest"]["queued"] == 1).then_some(()));
        assert_eq!(post(&at(&fake.url), &long).status, 200);
        running.finish();
        // `a` is idle and stays; only an order helps.
        eventually("a to be idle", || (fake.state()["in_flight"] == 0).then_some(()));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!b.is_finished(), "an Ollama alone is wedged");
        assert_eq!(post(&format!("{}/api/generate", fake.url), &json!({ "model": "a", "keep_alive": 0 })).status, 200);
        assert_eq!(b.join().unwrap().status, 200);
    });

    let fake = Fake::start(&ROOM_FOR_ONE);
    // It is told that there is room for one, so `a` has its turn: no longer than ten seconds.
    let herd = Herd::start(&[&format!("{}?models=1", fake.url)]);
    let (waited, meanwhile) = kept_waiting(&herd.url, &json!("10m"));
    println!(
        "FIGURE the same, with keep_alive 10m: Herd {waited:?} after {meanwhile} answers of theirs (direct: 10 minutes)"
    );
    assert!(waited.is_some_and(|waited| waited < Duration::from_secs(15)), "{waited:?}");
    for row in fake.requests() {
        let body: Value = serde_json::from_str(row["body"].as_str().unwrap()).unwrap();
        assert!(body["keep_alive"].is_null(), "{body}");
    }
}

#[test]
fn six_clients_of_three_models_all_get_answers_without_an_eviction() {
    let flags = ["--models", "a=long,b=long,c=long", "--max-loaded", "1", "--load-ms", "100", "--tokens", "5"];
    let play = |url: &str| {
        std::thread::scope(|scope| {
            for client in 0..6 {
                scope.spawn(move || {
                    let model = ["a", "b", "c"][client % 3];
                    for _ in 0..10 {
                        let answer = post(&format!("{url}/api/chat"), &chat(model, json!({ "stream": false })));
                        assert_eq!((answer.status, &answer.json()["model"]), (200, &json!(model)), "{answer:?}");
                    }
                });
            }
        });
    };
    let fake = Fake::start(&flags);
    play(&fake.url);
    let direct = fake.starts();
    let fake = Fake::start(&flags);
    let herd = Herd::start(&[&fake.url]);
    play(&herd.url);
    println!(
        "FIGURE loads by 60 requests of six clients for three models, room for one: direct {direct}, Herd {}",
        fake.starts()
    );
    assert!(fake.starts() * 2 <= direct, "{}", fake.starts());
    assert!(evictions(&fake) <= 1, "{}", fake.state());
}
