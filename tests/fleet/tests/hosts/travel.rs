//! Apps at all doors while machines die, lose their cable or hang: what had not begun is done elsewhere, what had is ended
//! with a word, and who had nothing to do with it notices nothing.

use std::time::Duration;

use fleet_tests::crowd::Manner;
use fleet_tests::hosts::{Capture, Home, Programs, Strike, Struck, Toll, WHISPER};

fn nothing_is_lost(toll: &Toll) {
    assert!(toll.lost.is_empty(), "lost: {:#?}", toll.lost);
    assert!(toll.silent.is_empty(), "cut without a word: {:#?}", toll.silent);
    assert!(toll.cut_elsewhere.is_empty(), "cut elsewhere: {:#?}", toll.cut_elsewhere);
}

fn strikes_leader(home: &mut Home, how: Strike) -> Struck {
    let struck = home.strike_leader(how);
    assert!(struck.running > 0, "the leader works too: {struck:?}");
    nothing_is_lost(&struck.others);
    struck
}

/// Whoever waits longer than this is stuck. How long it takes is measured by `cargo xtask bench 11 12`.
const STUCK: Duration = Duration::from_secs(15);

#[test]
fn fifty_streams_and_the_leaders_machine_dies() {
    let Some(mut home) = Home::five(&Programs::built()) else { return };
    let capture = Capture::start(home.lan.switch());
    strikes_leader(&mut home, Strike::Kill);
    let packets = capture.end();
    assert!(packets.len() > 1000, "requests travel: {}", packets.len());
    let words = WHISPER.as_bytes();
    let is_heard = |packet: &Vec<u8>| packet.windows(words.len()).any(|part| part == words);
    assert!(!packets.iter().any(is_heard), "a prompt crossed the network in clear");
}

#[test]
fn fifty_streams_and_the_leaders_cable_is_pulled() {
    let Some(mut home) = Home::five(&Programs::built()) else { return };
    let struck = strikes_leader(&mut home, Strike::Pull);
    nothing_is_lost(&struck.own);
    // Cut off from everybody it goes on with its own.
    for alone in [&struck.alone, &struck.alone_in_common] {
        nothing_is_lost(alone);
    }
    assert_eq!(struck.alone.errors(), 0, "{}", struck.alone);
    assert!(struck.alone.quantile(1.0) < STUCK, "{}", struck.alone);
    println!("cut off: {}", struck.alone);
}

/// One of three machines begins to hang under thirty requests a second.
fn hangs(how: Strike, manners: &'static [Manner]) -> Option<Toll> {
    let mut home = Home::quick(3, &Programs::built())?;
    let (_, before, after) = home.hang(how, manners);
    nothing_is_lost(&before);
    nothing_is_lost(&after);
    assert_eq!(before.errors(), 0, "{before}");
    assert!(after.quantile(0.99) <= STUCK, "{after}");
    println!("beside a machine that hangs: {after}");
    Some(after)
}

#[test]
fn an_inference_server_that_never_answers_costs_no_app_anything() {
    let Some(after) = hangs(Strike::Silent, &Manner::ALL) else { return };
    assert_eq!(after.errors(), 0, "{after}");
}

#[test]
fn a_machine_that_is_stopped_costs_no_app_anything_but_what_it_was_saying() {
    let Some(after) = hangs(Strike::Stop, &Manner::ALL) else { return };
    assert_eq!(after.errors(), after.cut, "{after}");
}

#[test]
fn apps_do_not_notice_leaders_that_quit_sleep_or_come_back_nor_networks_that_fall_apart() {
    let Some(mut home) = Home::quick(5, &Programs::built()) else { return };
    let four = Duration::from_secs(4);
    let leader = home.agree_soon(&home.all()).0;
    let quits = home.while_asking(Some(leader), four, |home| {
        assert_eq!(home.host_mut(leader).quit(), Some(0));
        home.host_mut(leader).start();
        home.host_mut(leader).is_up_soon();
    });
    eprintln!("quits {quits}");
    nothing_is_lost(&quits);
    assert_eq!(quits.errors(), quits.cut, "{quits}");

    let leader = home.agree_soon(&home.all()).0;
    let sleeps = home.while_asking(Some(leader), four * 2, |home| {
        home.put_to_sleep(leader);
    });
    eprintln!("sleeps {sleeps}");
    nothing_is_lost(&sleeps);
    assert_eq!(sleeps.errors(), sleeps.cut, "{sleeps}");

    // The leader goes with one other.
    let leader = home.agree_soon(&home.all()).0;
    let away = [leader, home.others(&[leader])[0]];
    let splits = home.while_asking(None, four * 2, |home| {
        home.split(&away);
        home.heal(&away);
    });
    eprintln!("splits {splits}");
    assert!(splits.lost.is_empty(), "lost: {:#?}", splits.lost);
    assert!(splits.silent.is_empty(), "cut without a word: {:#?}", splits.silent);
}

#[test]
fn apps_that_want_whole_answers_wait_no_longer_for_a_server_that_never_answers() {
    let Some(after) = hangs(Strike::Silent, &[Manner::Whole]) else { return };
    assert_eq!(after.errors(), 0, "{after}");
}

#[test]
fn a_cable_that_is_pulled_costs_no_app_anything_on_either_side_but_what_was_being_said() {
    let Some(after) = hangs(Strike::Pull, &Manner::ALL) else { return };
    assert_eq!(after.errors(), after.cut, "{after}");
}
