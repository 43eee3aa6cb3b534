//! What the keeper makes of orders and senses, and what it remembers.

use std::sync::Mutex;
use std::time::Duration;

use capacity::{Evidence, Rules};
use gateway::{PauseFor, ShareWish};
use serde_json::json;

use super::*;
use crate::clock::clock;

struct House {
    sharing: Sharing,
    sensed: Sensed,
    kept: Arc<Mutex<Option<Kept>>>,
    stop: CancellationToken,
    stopping: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn house(rules: Rules, kept: Option<Kept>) -> House {
    let sensed = Sensed::default();
    let store = Arc::new(Mutex::new(None));
    let keep = store.clone();
    let place = Place {
        clock: clock(),
        rules,
        ignored: vec!["Recorder".to_owned()],
        evidence: sensed.subscribe(),
        keep: Box::new(move |kept| {
            *keep.lock().unwrap() = Some(kept);
            let (done, written) = oneshot::channel();
            done.send(Ok(())).unwrap();
            written
        }),
    };
    let stopping = CancellationToken::new();
    let (sharing, keeper) = Sharing::new(place, kept, stopping.clone());
    let stop = CancellationToken::new();
    #[allow(clippy::disallowed_methods, reason = "the test waits for its end")]
    let task = tokio::spawn(keeper.run(stop.clone()));
    House { sharing, sensed, kept: store, stop, stopping, task }
}

impl House {
    async fn say(&self, order: ShareOrder) -> Value {
        self.sharing.order(order).await.unwrap()
    }

    async fn wish(&self, wish: ShareWish) -> Value {
        self.say(ShareOrder { wish: Some(wish), ..ShareOrder::default() }).await
    }

    /// Stops it, and starts another one that remembers what this one kept.
    async fn again(self) -> House {
        self.stop.cancel();
        self.task.await.unwrap();
        let kept = self.kept.lock().unwrap().clone();
        // Through the text that is on disk.
        let text = serde_json::to_string(&kept).unwrap();
        house(Rules::default(), serde_json::from_str(&text).unwrap())
    }

    /// Waits until `code` is why.
    async fn until(&self, code: &str) {
        let mut changed = self.sharing.changed();
        while self.sharing.shown().reason.code() != code {
            tokio::time::timeout(Duration::from_secs(20), changed.changed()).await.unwrap().unwrap();
        }
    }
}

fn camera(app: &str) -> Evidence {
    Evidence { cameras: Some(vec![app.to_owned()]), microphones: Some(vec![]), ..Evidence::default() }
}

#[tokio::test]
async fn what_the_owner_said_is_known_after_a_restart() {
    let month = Duration::from_secs(31 * 24 * 3600);
    for (wish, state, code, ends) in [
        (ShareWish::On, "on", "sharing", false),
        (ShareWish::Off, "off", "off", false),
        (ShareWish::FleetOnly, "off", "fleet_only", false),
        (ShareWish::Finish, "paused", "finished", false),
        (ShareWish::Pause(PauseFor::Resumed), "paused", "paused", false),
        (ShareWish::Pause(PauseFor::Span(month)), "paused", "paused_until", true),
        (ShareWish::Pause(PauseFor::Tomorrow), "paused", "paused_until", true),
    ] {
        let house = house(Rules::default(), None);
        assert_eq!(house.sharing.takes_guests(), Ok(()));
        let said = house.wish(wish).await;
        assert_eq!((&said["state"], &said["code"]), (&json!(state), &json!(code)), "{wish:?}");
        assert_eq!(said["until"].is_string(), ends, "{said}");
        // At once, before the task has run.
        let house = house.again().await;
        let shown = house.sharing.shown();
        assert_eq!((shown.state.as_str(), shown.reason.code()), (state, code), "{wish:?}");
        assert_eq!(house.sharing.takes_guests().is_ok(), state == "on");
        let all = house.sharing.all().await.unwrap();
        assert_eq!(all["until"].is_string(), ends, "{all}");
        assert_eq!(all["wish"]["state"], said["wish"]["state"]);
    }
}

#[tokio::test]
async fn rules_programs_and_an_override_are_known_after_a_restart() {
    let house = house(Rules::default(), None);
    let order = ShareOrder {
        anyway: Some(Duration::from_secs(3600)),
        rule: Some(("battery".to_owned(), false)),
        ignore: Some("Baby Phone".to_owned()),
        ..ShareOrder::default()
    };
    let said = house.say(order).await;
    assert_eq!((&said["code"], &said["until"]), (&json!("overridden"), &said["override_until"]));
    let house = house.again().await;
    let all = house.sharing.all().await.unwrap();
    assert_eq!(all["code"], "overridden");
    assert_eq!(all["ignored"], json!(["baby phone", "recorder"]));
    let battery = all["rules"].as_array().unwrap().iter().find(|rule| rule["id"] == "battery").unwrap().clone();
    assert_eq!((&battery["enabled"], &battery["source"]), (&json!(false), &json!("owner")));
    assert_eq!(battery["setting"], "FLEET_PAUSE_BATTERY");
    let said = house
        .say(ShareOrder { anyway: Some(Duration::ZERO), heed: Some("baby phone".to_owned()), ..ShareOrder::default() })
        .await;
    assert_eq!((&said["code"], &said["ignored"]), (&json!("sharing"), &json!(["recorder"])));
}

#[tokio::test]
async fn a_pause_that_is_over_or_not_understood() {
    let kept = |json: Value| Some(serde_json::from_value(json).unwrap());
    for (json, code) in [
        (json!({}), "sharing"),
        (json!({ "state": "pause", "until_ms": 1_000 }), "sharing"),
        (json!({ "state": "pause" }), "paused"),
        (json!({ "state": "nap", "newer": true }), "paused"),
        (json!({ "state": "pause", "until_ms": u64::MAX }), "paused_until"),
        (json!({ "state": "off", "rules": { "unknown": true } }), "off"),
    ] {
        let house = house(Rules::default(), kept(json.clone()));
        assert_eq!(house.sharing.shown().reason.code(), code, "{json}");
        let month = 31 * 24 * 3600 + 60;
        assert!(house.sharing.shown().ends_in_s(clock().unix_ms()).is_none_or(|left| left <= month), "{json}");
    }
}

#[tokio::test]
async fn a_camera_pauses_and_its_program_can_be_ignored() {
    let rules = Rules { camera_hold: Duration::ZERO, ..Rules::default() };
    let house = house(rules, None);
    house.sensed.send_replace(camera("recorder"));
    house.sensed.send_replace(camera("zoom"));
    house.until("meeting").await;
    assert_eq!(house.sharing.takes_guests(), Err(Reason::Meeting));
    assert!(house.sharing.guest().is_err());
    let all = house.sharing.all().await.unwrap();
    assert_eq!(all["evidence"]["cameras"][0]["app"], "zoom");
    assert_eq!(all["evidence"]["cameras"][0]["standing"], "counts");
    assert_eq!((&all["evidence"]["metered"], &all["rule"]), (&Value::Null, &json!("meetings")));
    let short = house.sharing.shown().view(None);
    assert!(!serde_json::to_string(&short).unwrap().contains("zoom"), "what others are told names no program");
    let said = house.say(ShareOrder { ignore: Some("Zoom".to_owned()), ..ShareOrder::default() }).await;
    assert_eq!(said["code"], "sharing");
    let unknown = ShareOrder { rule: Some(("meeting".to_owned(), true)), ..ShareOrder::default() };
    assert!(matches!(house.sharing.order(unknown).await, Err(ChangeError::NotFound(_))));
}

#[tokio::test]
async fn guests_are_counted_and_finished() {
    let house = house(Rules::default(), None);
    let guest = house.sharing.guest().unwrap();
    let said = house.wish(ShareWish::Finish).await;
    assert_eq!((&said["state"], &said["code"], &said["guests"]), (&json!("draining"), &json!("finishing"), &json!(1)));
    assert!(house.sharing.guest().is_err());
    drop(guest);
    house.until("finished").await;
    house.wish(ShareWish::On).await;
    let guest = house.sharing.guest().unwrap();
    house.stopping.cancel();
    assert_eq!(house.sharing.takes_guests(), Err(Reason::Stopping));
    assert_eq!(house.sharing.shown().state, State::Draining);
    drop(guest);
}

#[test]
fn others_are_not_told_each_second() {
    let shown = Shown { state: State::Paused, reason: Reason::PausedUntil, until_ms: Some(1_000_000), rule: None };
    for (now, told) in
        [(0, 1020), (1_000, 1020), (880_000, 120), (940_000, 60), (941_000, 60), (999_999, 10), (2_000_000, 0)]
    {
        assert_eq!(shown.ends_in_s(now), Some(told), "{now}");
    }
    assert_eq!(Shown { until_ms: None, ..shown }.ends_in_s(5), None);
    assert_eq!(shown.view(None).until.as_deref(), Some("1970-01-01T00:16:40Z"));
}

/// With the real watch: a program of this machine opens a camera, which is a file here.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_at_a_camera_pauses_this_machine() {
    use probe::presence::Surroundings;

    let dir = tempfile::tempdir().unwrap();
    let (system, devices) = (dir.path().join("system"), dir.path().join("dev"));
    std::fs::create_dir_all(&system).unwrap();
    std::fs::create_dir_all(&devices).unwrap();
    let camera = devices.join("video0");
    std::fs::write(&camera, "").unwrap();
    // Nothing of the machine that runs the tests is asked, but for who holds files of that directory.
    let surroundings = Surroundings {
        sound_cards: system.join("asound"),
        system,
        devices,
        pulse: None,
        session_bus: None,
        system_bus: None,
        display: None,
        own: 0,
        ..Surroundings::new(|_| None)
    };
    let house = house(Rules::default(), None);
    let _watch = watch_presence(&surroundings, &house.sensed).unwrap();
    while house.sharing.all().await.unwrap()["evidence"]["cameras"] != json!([]) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(house.sharing.takes_guests(), Ok(()));
    let held = std::fs::File::open(&camera).unwrap();
    let mut program = std::process::Command::new("sleep").arg("60").stdin(held).spawn().unwrap();
    house.until("meeting").await;
    let all = house.sharing.all().await.unwrap();
    let apps: Vec<_> = all["evidence"]["cameras"].as_array().unwrap().iter().map(|held| held["app"].clone()).collect();
    assert!(apps.contains(&json!("sleep")), "{all}");
    program.kill().unwrap();
    program.wait().unwrap();
    // It resumes a minute later; when, is told at once.
    while house.sharing.shown().until_ms.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(house.sharing.shown().reason, Reason::Meeting);
}
