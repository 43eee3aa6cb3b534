//! What must never happen, whatever is sensed and said, and what must happen in the end.
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

mod common;

use std::time::Duration;

use capacity::{Evidence, Input, LEAST_PAUSE, RuleId, Rules, State, Wish};
use common::{Machine, apps, at};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn holders() -> impl Strategy<Value = Option<Vec<String>>> {
    let app = prop::sample::select(vec!["zoom", "krisp", "recorder", "firefox"]);
    option::of(vec(app.prop_map(str::to_owned), 0..3))
}

prop_compose! {
    fn evidence()(
        cameras in holders(),
        microphones in holders(),
        flags in vec(option::of(any::<bool>()), 7),
        percent in option::of(0u8..=100),
        cpu in option::of(0u8..=100),
        idle in option::of(0u64..400),
    ) -> Evidence {
        Evidence {
            cameras,
            microphones,
            on_battery: flags[0],
            battery_percent: percent,
            lid_closed: flags[1],
            display_off: flags[2],
            full_screen: flags[3],
            throttled: flags[4],
            metered: flags[5],
            locked: flags[6],
            input_idle: idle.map(Duration::from_secs),
            others_cpu_percent: cpu,
        }
    }
}

prop_compose! {
    fn rules()(on in vec(any::<bool>(), 8), below in 0u8..=100, resume in 0u64..120, camera in 0u64..4) -> Rules {
        let mut rules = Rules {
            battery_below: below,
            resume_after: Duration::from_secs(resume),
            camera_hold: Duration::from_secs(camera),
            ..Rules::default()
        };
        for (rule, on) in RuleId::ALL.into_iter().zip(on) {
            rules.switch(rule, on);
        }
        rules
    }
}

/// Whatever is sensed, with the seconds before it.
fn sensed() -> impl Strategy<Value = Vec<(f64, Evidence)>> {
    vec((prop_oneof![Just(0.0), 0.0..3.0, 0.0..100.0, 0.0..20_000.0], evidence()), 0..60)
}

fn said() -> impl Strategy<Value = Input> {
    prop_oneof![
        evidence().prop_map(Input::Evidence),
        rules().prop_map(Input::Rules),
        prop::sample::select(vec!["zoom", "recorder"]).prop_map(|app| Input::Ignore(app.to_owned())),
        prop::sample::select(vec!["zoom", "recorder"]).prop_map(|app| Input::Heed(app.to_owned())),
        (0u32..3).prop_map(Input::Guests),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_pause_by_a_rule_lasts_half_a_minute(rules in rules(), sensed in sensed()) {
        let mut machine = Machine::new(rules);
        for (wait, evidence) in sensed {
            machine.pass(wait);
            machine.happens(Input::Evidence(evidence));
        }
        machine.pass(30_000.0);
        let mut since = None;
        for (now, share) in &machine.shown {
            match share.state {
                State::Paused => { since.get_or_insert(*now); }
                State::On => {
                    if let Some(since) = since.take() {
                        prop_assert!(now.since(since) >= LEAST_PAUSE, "{since:?} to {now:?}");
                    }
                }
                other => prop_assert!(false, "{other:?} although nobody said so"),
            }
        }
    }

    #[test]
    fn the_owners_wish_is_never_overruled(
        wish in prop::sample::select(vec![Wish::Off, Wish::FleetOnly, Wish::Paused(None), Wish::Finish]),
        before in vec((0.0..100.0, said()), 0..10),
        after in vec((0.0..5_000.0, said()), 0..40),
    ) {
        let mut machine = Machine::new(Rules::default());
        for (wait, input) in before {
            machine.pass(wait);
            machine.happens(input);
        }
        machine.happens(Input::Wish(wish));
        let at_wish = machine.shown.len();
        for (wait, input) in after {
            machine.pass(wait);
            machine.happens(input);
            prop_assert!(!machine.capacity.share().takes_guests());
        }
        prop_assert!(machine.shown[at_wish..].iter().all(|(_, share)| !share.takes_guests()));
    }

    #[test]
    fn what_is_not_known_never_pauses(waits in vec(0.0..10_000.0, 0..20)) {
        let mut machine = Machine::new(Rules::default());
        for wait in waits {
            machine.pass(wait);
            machine.happens(Input::Evidence(Evidence::default()));
        }
        prop_assert!(machine.shown.is_empty());
        prop_assert!(RuleId::ALL.iter().all(|rule| machine.capacity.is_blind(*rule)));
    }

    #[test]
    fn a_call_pauses_within_two_seconds(sensed in sensed(), camera: bool) {
        let mut machine = Machine::new(Rules::default());
        for (wait, evidence) in sensed {
            machine.pass(wait);
            machine.happens(Input::Evidence(evidence));
        }
        machine.pass(3600.0);
        machine.senses(|e| {
            e.locked = Some(false);
            if camera { e.cameras = apps(&["a call"]) } else { e.microphones = apps(&["a call"]) }
        });
        machine.pass(1.75);
        prop_assert!(!machine.capacity.share().takes_guests());
        machine.pass(3600.0);
        prop_assert_eq!(machine.says(), "paused meeting");
    }

    #[test]
    fn when_all_is_quiet_the_machine_shares_again(sensed in sensed(), seconds in 60.0..400.0) {
        let mut machine = Machine::new(Rules::default());
        for (wait, evidence) in sensed {
            machine.pass(wait);
            machine.happens(Input::Evidence(evidence));
        }
        machine.happens(Input::Evidence(Evidence::default()));
        machine.pass(seconds);
        prop_assert_eq!(machine.says(), "on sharing");
        prop_assert_eq!(machine.capacity.poll_timeout(), None);
    }

    #[test]
    fn looking_more_often_changes_nothing(rules in rules(), sensed in sensed(), step in 0.3..50.0) {
        let (mut seldom, mut often) = (Machine::new(rules.clone()), Machine::new(rules));
        for (wait, evidence) in sensed {
            let wait = wait.min(500.0);
            seldom.pass(wait);
            let end = seldom.now;
            while often.now + Duration::from_secs_f64(step) < end {
                often.pass(step);
            }
            often.pass(end.since(often.now).as_secs_f64());
            often.now = end;
            seldom.happens(Input::Evidence(evidence.clone()));
            often.happens(Input::Evidence(evidence));
            prop_assert_eq!(seldom.capacity.share(), often.capacity.share());
        }
        prop_assert_eq!(seldom.shown, often.shown);
    }

    #[test]
    fn anyway_ends(seconds in 1.0..10_000.0, said in vec((0.0..100.0, said()), 0..20)) {
        let mut machine = Machine::new(Rules::default());
        machine.happens(Input::Anyway(Some(at(seconds))));
        for (wait, input) in said {
            machine.pass(wait);
            machine.happens(input);
            prop_assert_eq!(machine.says() == "on overridden", machine.now < at(seconds));
        }
    }
}
