//! The messages between nodes: their bytes never change, and whatever comes in, reading it ends well.

#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::path::PathBuf;

use minicbor::Encoder;
use proptest::prelude::*;
use proto::wire::{
    Claim, Digest, Leaving, MAX_KEY, MAX_MEMBERS, MAX_MESSAGE, MAX_PAYLOAD, MAX_SETTINGS, MAX_VALUE, Message,
    NotAMessage, Pulse, Setting, Settings, State,
};
use proto::{Epoch, Incarnation, NodeId, Priority};

fn node(number: u8) -> NodeId {
    NodeId::new([number; 32])
}

fn claim() -> Claim {
    Claim {
        leader: node(7),
        epoch: Epoch::new(41),
        incarnation: Incarnation(12),
        seq: 86_400,
        size: 5,
        priority: Priority::High,
        hops: 1,
    }
}

fn pulse() -> Pulse {
    Pulse {
        incarnation: Incarnation(3),
        seq: 70_000,
        priority: Priority::Chosen,
        observing: true,
        epoch: Epoch::new(42),
        claim: Some(claim()),
        roster: 0x0123_4567_89ab_cdef,
        hears: vec![0b1011, 0, 1],
        settings: 0xfeed,
    }
}

fn setting() -> Setting {
    Setting {
        key: "pin/llama3".to_owned(),
        value: Some("mac-studio".to_owned()),
        epoch: Epoch::new(41),
        counter: 2,
        author: node(9),
    }
}

/// Every kind of message, with every field set and with as few as may be.
fn samples() -> Vec<(&'static str, Message)> {
    let digest = Digest { node: node(7), incarnation: Incarnation(12), priority: Priority::High, age_s: Some(61) };
    let state = State {
        incarnation: Incarnation(3),
        version: 9,
        payload: b"models".to_vec(),
        members: vec![digest, Digest { age_s: None, priority: Priority::Low, ..digest }],
    };
    let settings = Settings { entries: vec![setting(), Setting { value: None, ..setting() }] };
    vec![
        ("pulse", Message::Pulse(pulse())),
        ("pulse-of-nothing", Message::Pulse(Pulse::default())),
        ("state", Message::State(state)),
        ("leaving", Message::Leaving(Leaving { incarnation: Incarnation(3), successor: Some(node(9)) })),
        ("leaving-without-successor", Message::Leaving(Leaving { incarnation: Incarnation(3), successor: None })),
        ("settings", Message::Settings(settings)),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    lines.collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// `GOLDEN=write` adds files for new samples. One that is there is what a released version sends: it must not change.
#[test]
fn bytes_are_those_of_every_version() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, message) in samples() {
        let file = folder.join(name).with_extension("hex");
        if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&file, hex(&message.encode())).unwrap();
        }
        let golden = unhex(&std::fs::read_to_string(&file).unwrap());
        assert_eq!(Message::decode(&golden).unwrap(), message, "{name}");
        assert_eq!(hex(&message.encode()), hex(&golden), "{name}");
    }
}

#[test]
fn a_pulse_with_fifty_members_has_at_most_150_bytes() {
    // Every number as long as it can get.
    let claim = Claim {
        epoch: Epoch::LAST,
        incarnation: Incarnation(u64::MAX),
        seq: u64::MAX,
        size: 1024,
        hops: u8::MAX,
        ..claim()
    };
    let pulse = Pulse {
        incarnation: Incarnation(u64::MAX),
        seq: u64::MAX,
        epoch: Epoch::LAST,
        claim: Some(claim),
        roster: u64::MAX,
        hears: vec![255; 50usize.div_ceil(8)],
        settings: u64::MAX,
        ..pulse()
    };
    let length = Message::Pulse(pulse).encode().len();
    assert!(length <= 150, "{length} bytes");
}

#[test]
fn the_fullest_message_of_each_kind_fits() {
    let digest = Digest {
        node: node(255),
        incarnation: Incarnation(u64::MAX),
        priority: Priority::Chosen,
        age_s: Some(u32::MAX),
    };
    let state = State {
        incarnation: Incarnation(u64::MAX),
        version: u64::MAX,
        payload: vec![0; MAX_PAYLOAD],
        members: vec![digest; MAX_MEMBERS],
    };
    let pulse = Pulse { hears: vec![255; MAX_MEMBERS / 8], ..pulse() };
    let long = Setting { key: "k".repeat(MAX_KEY), value: Some("v".repeat(MAX_VALUE)), ..setting() };
    for message in [
        Message::State(state),
        Message::Pulse(pulse),
        Message::Settings(Settings { entries: vec![long] }),
        Message::Settings(Settings { entries: vec![setting(); MAX_SETTINGS] }),
    ] {
        let bytes = message.encode();
        assert!(bytes.len() <= MAX_MESSAGE, "{} bytes", bytes.len());
        assert_eq!(Message::decode(&bytes).unwrap(), message);
    }
}

#[test]
fn what_holds_too_much_is_refused() {
    let too_many = |count| Settings { entries: vec![Setting { key: String::new(), value: None, ..setting() }; count] };
    let digest = Digest { node: node(1), incarnation: Incarnation(0), priority: Priority::Low, age_s: None };
    for (message, words) in [
        (Message::Settings(too_many(MAX_SETTINGS + 1)), "a list of more than 512"),
        (Message::Settings(Settings { entries: vec![Setting { key: "k".repeat(129), ..setting() }] }), "129 bytes"),
        (
            Message::Settings(Settings { entries: vec![Setting { value: Some("v".repeat(4097)), ..setting() }] }),
            "4097 bytes",
        ),
        (Message::Pulse(Pulse { hears: vec![0; 129], ..pulse() }), "129 bytes"),
        (Message::State(State { payload: vec![0; MAX_PAYLOAD + 1], ..State::default() }), "8193 bytes"),
        (Message::State(State { members: vec![digest; MAX_MEMBERS + 1], ..State::default() }), "more than 1024"),
    ] {
        let error = Message::decode(&message.encode()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(Message::decode(&vec![0; MAX_MESSAGE + 1]), Err(NotAMessage::TooLong(MAX_MESSAGE + 1)));
}

#[test]
fn what_a_newer_version_adds_is_skipped() {
    let mut e = Encoder::new(Vec::new());
    // A kind and two fields of the future, one of them nested, around what is known.
    e.map(3).unwrap().u8(99).unwrap().array(2).unwrap().u8(1).unwrap().str("x").unwrap();
    e.u8(0).unwrap().begin_map().unwrap();
    e.u8(77).unwrap().map(1).unwrap().str("a").unwrap().begin_array().unwrap().null().unwrap().end().unwrap();
    e.u8(1).unwrap().u64(5).unwrap();
    e.u8(2).unwrap().u32(100_000).unwrap();
    e.u8(78).unwrap().f32(1.5).unwrap().end().unwrap();
    e.u8(98).unwrap().bool(true).unwrap();
    let expected = Pulse { seq: 5, priority: Priority::Chosen, ..Pulse::default() };
    assert_eq!(Message::decode(e.writer()).unwrap(), Message::Pulse(expected));
}

#[test]
fn missing_fields_have_defaults() {
    let expected = Pulse { priority: Priority::Normal, ..Pulse::default() };
    assert_eq!(Message::decode(&[0xa1, 0x00, 0xa0]).unwrap(), Message::Pulse(expected));
    assert_eq!(Message::decode(&[0xa1, 0x02, 0xa0]).unwrap(), Message::Leaving(Leaving::default()));
    assert_eq!(Message::decode(&[0xa1, 0x18, 0x63, 0xa0]), Err(NotAMessage::Unknown));
    assert_eq!(Message::decode(&[0xa0]), Err(NotAMessage::Unknown));
}

#[test]
fn nests_and_endless_lists_end_in_an_error() {
    for head in [0x9f, 0x81, 0xbf, 0xa1, 0xc1, 0x5f] {
        let mut bytes = vec![head; MAX_MESSAGE];
        assert!(Message::decode(&bytes).is_err(), "{head:#x}");
        // The same inside an unknown field of a pulse.
        bytes.splice(0..4, [0xa1, 0x00, 0xa1, 0x0f]);
        assert!(Message::decode(&bytes).is_err(), "{head:#x} in a pulse");
    }
    // A list that says it has 2^63 things must not be believed.
    let bytes = [&[0xa1, 0x03, 0xa1, 0x00, 0x9b, 0x80][..], &[0; 7]].concat();
    assert!(Message::decode(&bytes).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drop(Message::decode(&bytes));
    }

    #[test]
    fn damaged_messages_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = which.get(&samples()).1.encode();
        for (place, bit) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        if let Ok(message) = Message::decode(&bytes) {
            // What was read is what would be written: no two readings of one message.
            prop_assert_eq!(Message::decode(&message.encode()).unwrap(), message);
        }
        drop(Message::decode(&bytes[..cut.index(bytes.len())]));
    }
}
