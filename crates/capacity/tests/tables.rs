//! What pauses, when it begins, when it ends, and what it is called.
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

mod common;

use std::time::Duration;

use capacity::{Evidence, Input, Reason, RuleId, Rules, Standing, State, Wish, is_ambient, until_tomorrow};
use common::{Machine, apps, at};

type Change = fn(&mut Evidence);

#[test]
fn each_rule_pauses_after_its_hold_and_resumes_a_minute_after() {
    let rows: [(RuleId, f64, Change, Change); 9] = [
        (RuleId::Meetings, 1.0, |e| e.cameras = apps(&["zoom"]), |e| e.cameras = apps(&[])),
        (RuleId::Meetings, 1.5, |e| e.microphones = apps(&["zoom"]), |e| e.microphones = None),
        (RuleId::Games, 1.5, |e| e.full_screen = Some(true), |e| e.full_screen = Some(false)),
        (RuleId::Battery, 1.0, |e| e.on_battery = Some(true), |e| e.on_battery = None),
        (RuleId::Heat, 10.0, |e| e.throttled = Some(true), |e| e.throttled = Some(false)),
        (RuleId::Metered, 5.0, |e| e.metered = Some(true), |e| e.metered = Some(false)),
        (
            RuleId::Lid,
            0.0,
            |e| (e.lid_closed, e.on_battery) = (Some(true), Some(true)),
            |e| (e.lid_closed, e.on_battery) = (Some(false), Some(true)),
        ),
        (
            RuleId::Display,
            5.0,
            |e| (e.display_off, e.on_battery) = (Some(true), Some(true)),
            |e| (e.display_off, e.on_battery) = (Some(false), Some(true)),
        ),
        (
            RuleId::Busy,
            10.0,
            |e| (e.others_cpu_percent, e.input_idle) = (Some(26), Some(Duration::ZERO)),
            |e| e.others_cpu_percent = Some(25),
        ),
    ];
    for (rule, hold, begins, ends) in rows {
        let mut rules = Rules { away_after: Duration::from_secs(1 << 20), ..Rules::default() };
        for other in RuleId::ALL {
            rules.switch(other, other == rule);
        }
        let mut machine = Machine::new(rules.clone());
        machine.pass(100.0);
        machine.senses(begins);
        if hold > 0.0 {
            machine.pass(hold - 0.01);
            assert_eq!(machine.says(), "on sharing", "{rule:?} before its hold");
        }
        machine.pass(0.02);
        let share = machine.capacity.share();
        assert_eq!((share.state, share.rule, share.until), (State::Paused, Some(rule), None), "{rule:?}");
        assert_eq!(share.reason, rule.reason());
        machine.pass(1000.0);
        machine.senses(ends);
        assert_eq!(machine.capacity.share().until, Some(machine.now + Duration::from_secs(60)), "{rule:?}");
        machine.pass(59.9);
        assert_eq!(machine.capacity.share().state, State::Paused, "{rule:?}");
        machine.pass(0.1);
        assert_eq!(machine.says(), "on sharing", "{rule:?}");
        // Switched off it does nothing, and what it did ends at once.
        machine.senses(begins);
        machine.pass(20.0);
        assert_eq!(machine.capacity.share().state, State::Paused, "{rule:?}");
        rules.switch(rule, false);
        machine.happens(Input::Rules(rules));
        assert_eq!(machine.says(), "on sharing", "{rule:?} switched off");
    }
}

#[test]
fn holds_and_thresholds_are_settings() {
    let rules = Rules {
        camera_hold: Duration::from_secs(3),
        resume_after: Duration::ZERO,
        battery_below: 30,
        ..Rules::default()
    };
    let mut machine = Machine::new(rules);
    machine.senses(|e| e.cameras = apps(&["zoom"]));
    machine.pass(2.9);
    assert_eq!(machine.says(), "on sharing");
    machine.pass(0.2);
    assert_eq!(machine.says(), "paused meeting");
    machine.senses(|e| e.cameras = apps(&[]));
    machine.pass(29.9);
    assert_eq!(machine.says(), "paused meeting", "no pause is shorter than half a minute");
    machine.pass(0.1);
    assert_eq!(machine.says(), "on sharing");
    for (percent, says) in
        [(Some(30), "on sharing"), (Some(29), "paused battery"), (None, "paused battery"), (Some(100), "on sharing")]
    {
        machine.senses(|e| (e.on_battery, e.battery_percent) = (Some(true), percent));
        machine.pass(100.0);
        assert_eq!(machine.says(), says, "{percent:?}");
    }
}

#[test]
fn somebody_who_goes_away_leaves_the_machine_to_others() {
    let mut rules = Rules::default();
    rules.switch(RuleId::Busy, true);
    let mut machine = Machine::new(rules);
    machine.senses(|e| (e.others_cpu_percent, e.input_idle) = (Some(90), Some(Duration::from_secs(5))));
    machine.pass(174.0);
    assert_eq!(machine.says(), "paused busy");
    machine.pass(62.0);
    assert_eq!(machine.says(), "on sharing", "nothing was sensed meanwhile, but time went by");
}

#[test]
fn a_lid_that_closes_at_the_charger_pauses_for_a_while_only() {
    let mut machine = Machine::new(Rules::default());
    machine.senses(|e| (e.lid_closed, e.on_battery) = (Some(true), Some(false)));
    machine.pass(1.0);
    assert_eq!(machine.says(), "on sharing", "closed since before the start: a machine in a closet");
    machine.senses(|e| e.lid_closed = Some(false));
    machine.pass(10.0);
    machine.senses(|e| e.lid_closed = Some(true));
    assert_eq!(machine.says(), "paused lid");
    machine.pass(119.0);
    assert_eq!(machine.says(), "paused lid");
    machine.pass(2.0);
    assert_eq!(machine.says(), "on sharing", "it did not go to sleep: it stands on a desk");
}

#[test]
fn the_owners_word_comes_first() {
    let rows = [
        (Wish::Off, "off off"),
        (Wish::FleetOnly, "off fleet_only"),
        (Wish::Paused(None), "paused paused"),
        (Wish::Paused(Some(at(400.0))), "paused paused_until"),
        (Wish::Finish, "paused finished"),
        (Wish::On, "paused meeting"),
    ];
    for (wish, says) in rows {
        let mut machine = Machine::new(Rules::default());
        machine.senses(|e| e.cameras = apps(&["zoom"]));
        machine.pass(100.0);
        machine.happens(Input::Wish(wish));
        assert_eq!(machine.says(), says, "{wish:?}");
        machine.happens(Input::Anyway(Some(at(3700.0))));
        assert_eq!(machine.says(), "on overridden", "{wish:?}");
        assert_eq!(machine.capacity.share().until, Some(at(3700.0)));
        machine.happens(Input::Wish(wish));
        assert_eq!(machine.says(), says, "a new wish ends it: {wish:?}");
        machine.happens(Input::Anyway(Some(at(300.0))));
        machine.pass(200.0);
        assert_eq!(machine.says(), says, "it ends by itself: {wish:?}");
    }
}

#[test]
fn a_pause_ends_when_it_should() {
    let mut machine = Machine::new(Rules::default());
    machine.happens(Input::Wish(Wish::Paused(Some(at(60.0)))));
    assert_eq!(machine.capacity.share().until, Some(at(60.0)));
    machine.pass(59.0);
    assert_eq!(machine.says(), "paused paused_until");
    machine.pass(1.0);
    assert_eq!((machine.says().as_str(), machine.capacity.wish()), ("on sharing", Wish::On));
    assert_eq!(machine.shown.len(), 2);
    // Also if the machine slept meanwhile, or that time is over already.
    machine.happens(Input::Wish(Wish::Paused(Some(at(100.0)))));
    machine.now = at(10_000.0);
    machine.capacity.handle_timeout(machine.now);
    assert_eq!(machine.says(), "on sharing");
    machine.happens(Input::Wish(Wish::Paused(Some(at(9_000.0)))));
    assert_eq!(machine.says(), "on sharing");
}

#[test]
fn whoever_finishes_drains_first() {
    let mut machine = Machine::new(Rules::default());
    machine.happens(Input::Guests(2));
    machine.happens(Input::Wish(Wish::Finish));
    assert_eq!(machine.says(), "draining finishing");
    assert!(!machine.capacity.share().takes_guests());
    machine.happens(Input::Guests(1));
    assert_eq!(machine.says(), "draining finishing");
    machine.happens(Input::Guests(0));
    assert_eq!(machine.says(), "paused finished");
    machine.pass(1e6);
    assert_eq!(machine.says(), "paused finished");
    machine.happens(Input::Wish(Wish::On));
    assert_eq!(machine.says(), "on sharing");
}

#[test]
fn what_is_no_meeting_does_not_count() {
    let mut machine = Machine::new(Rules::default());
    machine.senses(|e| e.microphones = apps(&["Krisp", "obs64.exe"]));
    machine.pass(100.0);
    assert_eq!(machine.says(), "on sharing");
    machine.senses(|e| e.microphones = apps(&["Krisp", "Recorder.exe"]));
    machine.pass(100.0);
    assert_eq!(machine.says(), "paused meeting");
    machine.happens(Input::Ignore("recorder".to_owned()));
    assert_eq!(machine.says(), "on sharing", "the owner need not wait");
    machine.senses(|e| e.cameras = apps(&["Recorder.exe"]));
    machine.pass(100.0);
    assert_eq!(machine.says(), "on sharing");
    let standings: Vec<_> = machine.capacity.holders().map(|holder| holder.standing).collect();
    assert_eq!(standings, [Standing::Ignored, Standing::Ambient, Standing::Ignored]);
    machine.happens(Input::Heed("RECORDER".to_owned()));
    assert_eq!(machine.says(), "paused meeting");
}

#[test]
fn a_recording_of_hours_is_no_meeting_but_a_long_call_with_a_camera_is() {
    let hours = |hours: f64| hours * 3600.0;
    let mut machine = Machine::new(Rules::default());
    machine.senses(|e| e.microphones = apps(&["babyphone"]));
    machine.pass(hours(2.9));
    assert_eq!(machine.says(), "paused meeting");
    machine.pass(hours(0.2));
    assert_eq!(machine.says(), "on sharing");
    // A call meanwhile makes no meeting of it afterwards.
    machine.senses(|e| {
        e.cameras = apps(&["zoom"]);
        e.microphones = apps(&["babyphone", "zoom"]);
    });
    machine.pass(hours(5.0));
    assert_eq!(machine.says(), "paused meeting");
    machine.senses(|e| e.cameras = apps(&[]));
    machine.pass(hours(2.9));
    assert_eq!(machine.says(), "paused meeting", "the call goes on without a camera");
    machine.senses(|e| e.microphones = apps(&["babyphone"]));
    machine.pass(61.0);
    assert_eq!(machine.says(), "on sharing");
}

#[test]
fn a_face_that_unlocks_the_session_is_no_meeting() {
    let mut machine = Machine::new(Rules::default());
    machine.senses(|e| (e.locked, e.cameras) = (Some(true), apps(&["howdy"])));
    machine.pass(4.0);
    machine.senses(|e| (e.locked, e.cameras) = (Some(false), apps(&[])));
    machine.pass(4.0);
    assert!(machine.shown.is_empty(), "{:?}", machine.shown);
}

#[test]
fn two_apps_that_try_the_camera_in_turn_are_no_meeting() {
    let mut machine = Machine::new(Rules::default());
    for _ in 0..20 {
        machine.senses(|e| e.cameras = apps(&["firefox"]));
        machine.pass(0.7);
        machine.senses(|e| e.cameras = apps(&["settings"]));
        machine.pass(0.7);
    }
    assert!(machine.shown.is_empty(), "{:?}", machine.shown);
}

#[test]
fn known_listeners_are_told_from_meetings() {
    for app in [
        "Krisp",
        "WaveLink.exe",
        "Wave Link",
        "com.elgato.WaveLink",
        "obs",
        "OBS Studio",
        "obs64.exe",
        "com.obsproject.obs-studio",
        "easyeffects",
        "Easy Effects",
        "NoiseTorch",
        "/usr/bin/pavucontrol",
        "PulseAudio Volume Control",
        "superwhisper",
        "Google Assistant",
        "kded6",
        "gnome-control-center",
        "nerd-dictation",
    ] {
        assert!(is_ambient(app), "{app}");
    }
    for app in [
        "zoom",
        "zoom.us",
        "ZoomWebviewHost",
        "Microsoft Teams",
        "ms-teams.exe",
        "Google Chrome",
        "firefox",
        "WEBRTC VoiceEngine",
        "Slack",
        "Discord",
        "FaceTime",
        "Skype",
        "Signal",
        "WhatsApp",
        "Webex",
        "Jitsi Meet",
        "parec",
        "arecord",
        "jobs",
        "Telegram",
        "Mumble",
        "",
        "exe",
        "会议",
    ] {
        assert!(!is_ambient(app), "{app}");
    }
}

#[test]
fn tomorrow_begins_at_six_and_is_never_soon() {
    for (hour, minute, hours) in
        [(22, 0, 8.0), (12, 0, 18.0), (6, 0, 24.0), (5, 0, 25.0), (3, 1, 26.0 + 59.0 / 60.0), (3, 0, 3.0), (0, 30, 5.5)]
    {
        let expected = Duration::from_secs_f64(hours * 3600.0).as_secs();
        let got = until_tomorrow(hour * 60 + minute).as_secs();
        assert!(got.abs_diff(expected) <= 1, "{hour}:{minute:02} {got}");
    }
    assert!(until_tomorrow(u16::MAX) <= Duration::from_secs(27 * 3600));
}

#[test]
fn every_reason_has_a_code_and_a_sentence_of_its_own() {
    let all: Vec<Reason> = Reason::all().collect();
    let codes: std::collections::BTreeSet<_> = all.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), all.len());
    for reason in all {
        let sentence = reason.sentence();
        assert!(sentence.ends_with('.') && sentence.starts_with(char::is_uppercase), "{reason:?}: {sentence}");
        assert!(!sentence.to_lowercase().contains("you "), "read on other machines too: {sentence}");
        assert!(reason.code().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{reason:?}");
    }
    for rule in RuleId::ALL {
        assert_eq!(RuleId::named(rule.as_str()), Some(rule));
        assert_ne!(rule.reason().code(), "unknown");
    }
}

#[test]
fn the_rule_that_pauses_longest_is_named() {
    let mut machine = Machine::new(Rules::default());
    machine.senses(|e| {
        e.cameras = apps(&["zoom"]);
        e.on_battery = Some(true);
    });
    machine.pass(10.0);
    assert_eq!(machine.says(), "paused meeting");
    machine.senses(|e| e.cameras = apps(&[]));
    assert_eq!(machine.says(), "paused battery");
    machine.pass(10.0);
    machine.senses(|e| e.on_battery = Some(false));
    assert_eq!((machine.says().as_str(), machine.capacity.share().until), ("paused battery", Some(at(80.0))));
}
