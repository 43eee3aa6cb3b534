//! Days as they are: what was sensed on ordinary machines, and when they share.
#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

mod common;

use capacity::{Evidence, Rules};
use common::{Machine, at};

/// Seconds of `HH:MM:SS` or `HH:MM`.
fn time(text: &str) -> f64 {
    let parts: Vec<f64> = text.split(':').map(|part| part.parse().unwrap()).collect();
    parts[0] * 3600.0 + parts[1] * 60.0 + parts.get(2).unwrap_or(&0.0)
}

fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn sense(evidence: &mut Evidence, word: &str) {
    let (sign, name) = word.split_at(1);
    let list = |held: &mut Option<Vec<String>>, app: &str| {
        let held = held.get_or_insert_default();
        match sign {
            "+" => held.push(app.to_owned()),
            _ => held.retain(|name| name != app),
        }
    };
    let flag = Some(sign == "+");
    match name.split_once('=') {
        Some(("cam", app)) => list(&mut evidence.cameras, app),
        Some(("mic", app)) => list(&mut evidence.microphones, app),
        _ => match name {
            "battery" => evidence.on_battery = flag,
            "lid" => evidence.lid_closed = flag,
            "dark" => evidence.display_off = flag,
            "full" => evidence.full_screen = flag,
            "hot" => evidence.throttled = flag,
            "metered" => evidence.metered = flag,
            "locked" => evidence.locked = flag,
            other => panic!("{other}"),
        },
    }
}

/// Plays `day` and tells when what the machine says of itself changed.
fn plays(day: &str) -> Vec<String> {
    let mut machine = Machine::new(Rules::default());
    machine.senses(|e| (e.cameras, e.microphones) = (Some(vec![]), Some(vec![])));
    for line in day.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let then = time(words.next().unwrap());
        machine.pass(at(then).since(machine.now).as_secs_f64());
        for word in words {
            machine.senses(|evidence| sense(evidence, word));
        }
    }
    machine.pass(3600.0);
    let mut told: Vec<(f64, String)> = Vec::new();
    for (now, share) in &machine.shown {
        let says = format!("{} {}", share.state.as_str(), share.reason.code());
        // When it will end is told as well; here only what it is counts.
        if told.last().is_none_or(|(_, last)| *last != says) {
            told.push((now.since(at(0.0)).as_secs_f64(), says));
        }
    }
    told.into_iter().map(|(now, says)| format!("{} {says}", clock(now))).collect()
}

#[test]
fn an_ordinary_hour_never_pauses() {
    // Noise filter and mixer all the time, a browser that lists devices on each page with a call button and one that does
    // so again and again, a voice message of a second, a settings page with a level meter, a face at the lock screen,
    // dictation now and then, a recorder of the screen with its microphone on for a quarter of an hour, a device that
    // udev asks what it can as it is plugged in, a headset that an assistant and the system's mixer hold open while music
    // plays, a video call tried and thought better of. PipeWire at the camera and recordings of what is played are not
    // among it: the senses do not tell of them.
    let hour = "
        09:00:00 +mic=Krisp +mic=WaveLink.exe
        09:02:00 +cam=firefox
        09:02:00 +mic=firefox
        09:02:00.4 -cam=firefox -mic=firefox
        09:05:00 +locked
        09:09:00 +cam=howdy
        09:09:03 -cam=howdy -locked
        09:11:00 +mic=pavucontrol
        09:12:30 -mic=pavucontrol
        09:15:00 +mic=superwhisper
        09:15:50 -mic=superwhisper
        09:20:00 +cam=Chrome
        09:20:00.9 -cam=Chrome
        09:20:01 +cam=Chrome
        09:20:01.9 -cam=Chrome
        09:22:00 +mic=obs
        09:24:00 +cam=firefox +mic=firefox
        09:24:00.2 -cam=firefox
        09:24:00.3 +cam=firefox -mic=firefox
        09:24:00.5 -cam=firefox
        09:24:00.6 +cam=firefox
        09:24:00.8 -cam=firefox
        09:24:00.9 +cam=firefox
        09:24:01.2 -cam=firefox
        09:24:01.3 +mic=firefox
        09:24:02 -mic=firefox
        09:27:00 +cam=v4l_id
        09:27:00.1 -cam=v4l_id +cam=cameractrlsd
        09:27:00.7 -cam=cameractrlsd
        09:31:00 +mic=WhatsApp
        09:31:01.4 -mic=WhatsApp
        09:37:00 -mic=obs
        09:40:00 +full
        09:40:01 -full
        09:41:00 +mic=plasmashell +mic=wyoming-satellite
        09:44:00 +battery
        09:44:00.5 -battery
        09:50:00 +hot
        09:50:08 -hot
        09:55:00 +mic=nerd-dictation
        09:56:10 -mic=nerd-dictation
        09:58:00 -mic=plasmashell
        09:59:59 -mic=Krisp
    ";
    assert_eq!(plays(hour), Vec::<String>::new());
}

#[test]
fn a_day_at_the_office() {
    let day = "
        08:30:00 -battery -lid
        09:00:00 +mic=zoom
        09:00:05 +cam=zoom
        09:10:00 -cam=zoom
        09:28:00 +mic=Teams -mic=zoom
        09:30:00 -mic=Teams
        09:30:20 +mic=Teams
        09:31:00 -mic=Teams
        12:00:00 +lid
        12:00:10 +battery
        13:00:00 -lid
        13:00:05 -battery
        15:00:00 +cam=Chrome +mic=Chrome
        15:45:00 -cam=Chrome -mic=Chrome
        18:00:00 +battery
    ";
    assert_eq!(
        plays(day),
        [
            "09:00:02 paused meeting",
            "09:32:00 on sharing",
            "12:00:00 paused lid",
            // The lid is open, the charger follows.
            "13:00:00 paused battery",
            "13:01:05 on sharing",
            "15:00:01 paused meeting",
            "15:46:00 on sharing",
            "18:00:01 paused battery",
        ]
    );
}

#[test]
fn an_evening_with_a_game() {
    let evening = "
        20:00:00 +full
        20:45:00 -full
        20:45:10 +full
        22:00:00 -full
        22:00:30 +mic=Discord
        22:00:31 -mic=Discord
    ";
    assert_eq!(plays(evening), ["20:00:02 paused game", "22:01:00 on sharing"]);
}

#[test]
fn a_server_in_a_closet_shares_all_year() {
    let mut machine = Machine::new(Rules::default());
    machine.senses(|e| {
        (e.lid_closed, e.on_battery, e.display_off) = (Some(true), Some(false), Some(true));
        (e.cameras, e.microphones) = (Some(vec![]), None);
    });
    machine.pass(365.0 * 24.0 * 3600.0);
    assert!(machine.shown.is_empty());
}
