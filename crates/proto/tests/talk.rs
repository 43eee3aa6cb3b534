//! What members tell each other of the fleet and of themselves: the bytes never change, and whatever comes in, reading it
//! ends well.

#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::path::PathBuf;

use proptest::prelude::*;
use proto::NodeId;
use proto::wire::{
    self, Address, Addresses, Catalog, Entry, Envelope, InMemory, MAX_BACKENDS, MAX_CATALOG, MAX_MESSAGE, MAX_PAYLOAD,
    MAX_STATEMENTS, Machine, MachineGpu, Message, NotAMessage, Place, Pulse, Roster, Server, Share, Shelf, Summary,
};

fn server() -> Server {
    Server {
        id: "ollama".to_owned(),
        kind: "ollama".to_owned(),
        health: "up".to_owned(),
        version: Some("0.33.0".to_owned()),
        slots: Some(4),
        in_flight: 2,
        models: 31,
        loaded: 1,
    }
}

fn summary() -> Summary {
    let gpu = MachineGpu {
        vendor: "nvidia".to_owned(),
        name: Some("RTX 4090".to_owned()),
        memory_total: Some(24 << 30),
        memory_used: Some(1 << 30),
        unified: false,
        busy_percent: Some(35),
    };
    let machine = Machine {
        os: Some("Debian GNU/Linux 12".to_owned()),
        arch: Some("x86_64".to_owned()),
        chip: Some("a chip".to_owned()),
        model: Some("a machine".to_owned()),
        cores_logical: Some(16),
        cores_physical: Some(8),
        cpu_percent: Some(15),
        memory_total: Some(64 << 30),
        memory_available: Some(32 << 30),
        disk_total: Some(1 << 40),
        disk_available: Some(1 << 39),
        gpus: vec![gpu],
        on_battery: Some(false),
        battery_percent: Some(80),
        throttled: Some(false),
    };
    Summary {
        name: "mac-studio".to_owned(),
        version: "0.1.0".to_owned(),
        share: Share {
            state: "on".to_owned(),
            reason: "Serving 4 models.".to_owned(),
            ends_in_s: Some(60),
            code: None,
        },
        backends: vec![server(), Server { version: None, slots: None, ..server() }],
        machine: Some(machine),
        catalog: [0xab; 16],
        in_flight: 2,
        queued: 1,
    }
}

fn catalog() -> Catalog {
    let entry = Entry {
        id: "llama3.2:3b".to_owned(),
        digest: Some("a".repeat(64)),
        weights: Some("b".repeat(64)),
        size: Some(2_000_000_000),
        quantization: Some("Q4_K_M".to_owned()),
        family: Some("llama".to_owned()),
        parameter_size: Some("3.2B".to_owned()),
        capabilities: vec!["completion".to_owned(), "tools".to_owned()],
        context_trained: Some(131_072),
        modified_at: Some("2026-11-01T00:00:00Z".to_owned()),
        loaded: Some(InMemory { context: Some(8192), size: Some(3 << 30), size_vram: Some(3 << 30) }),
    };
    let models = vec![entry, Entry { id: "bare".to_owned(), ..Entry::default() }];
    Catalog {
        backends: vec![Shelf {
            id: "ollama".to_owned(),
            kind: "ollama".to_owned(),
            version: Some("0.33.0".to_owned()),
            models,
            serves: vec!["/api/chat".to_owned()],
            slots: Some(4),
            most_loaded: Some(2),
            any_name: true,
        }],
    }
}

fn roster() -> Roster {
    Roster { digest: [7; 16], statements: vec![b"one".to_vec().into(), b"two".to_vec().into()], more: true }
}

fn addresses() -> Addresses {
    let place = |number: u8| Place {
        node: NodeId::new([number; 32]),
        addresses: vec![Address("10.0.0.5:11441".to_owned()), Address("[fd00::5]:11441".to_owned())],
    };
    Addresses { members: vec![place(1), place(2)] }
}

fn ask() -> wire::Ask {
    wire::Ask {
        id: 7,
        api: "/api/chat".to_owned(),
        models: vec![wire::Name("llama3.2:3b".to_owned()), wire::Name("gemma3".to_owned())],
        text_bytes: 40_000,
        images: 1,
        max_tokens: Some(512),
        context_wanted: Some(8192),
        cuts: true,
        streams: true,
        app: "an app".to_owned(),
        session: Some(u64::MAX),
        tags: vec![wire::Name("project:x".to_owned())],
        zone: 1,
        priority: 1,
        age_ms: 1500,
        excluded: vec![
            wire::Excluded { node: NodeId::new([3; 32]), backend: None },
            wire::Excluded { node: NodeId::new([4; 32]), backend: Some(wire::Name("ollama".to_owned())) },
        ],
        only: Some(NodeId::new([5; 32])),
        now_only: true,
        rtt_us: 900,
        client_key: "phone".to_owned(),
        tools: true,
    }
}

fn ticket() -> wire::Ticket {
    let scored = wire::Scored {
        node: "den".to_owned(),
        backend: "ollama".to_owned(),
        in_flight: 1,
        slots: 2,
        loaded: true,
        points: vec![50.0, 20.0, -6.0, 0.0, 15.0, 10.0, 7.5],
        predicted_ms: vec![0.0, 120.5, 80.0, 2500.0, 0.25],
    };
    wire::Ticket {
        id: 7,
        node: NodeId::new([4; 32]),
        backend: "ollama".to_owned(),
        model: 1,
        ahead: 2,
        patience_ms: Some(2000),
        scored: vec![scored],
    }
}

fn work() -> wire::Work {
    let lane = wire::LaneWork {
        backend: "ollama".to_owned(),
        model: "gemma3".to_owned(),
        issued: vec![wire::Issued { by: NodeId::new([4; 32]), requests: 3 }],
        slots: 2,
        waiting: 1,
        loading_ms: Some(4000),
        rests_ms: Some(250),
    };
    wire::Work { number: 9, shares: true, lanes: vec![lane, wire::LaneWork::default()], rtt_us: 700 }
}

fn speeds() -> wire::Speeds {
    let lane = wire::LaneSpeed {
        backend: "ollama".to_owned(),
        model: "gemma3".to_owned(),
        load_ms: Some(4000),
        prefill_mtps: Some(800_000),
        decode_mtps: Some(41_500),
        service_us: Some(2_345_678),
        first_ms: Some(310),
        most_context: Some(131_072),
    };
    wire::Speeds { lanes: vec![lane, wire::LaneSpeed::default()] }
}

/// What is said about requests.
fn about_requests() -> Vec<(&'static str, Envelope)> {
    let waiting = |eta_ms| wire::Waiting { id: 7, position: 3, eta_ms };
    let refused = wire::Refused {
        id: 7,
        status: 503,
        words: "all are busy".to_owned(),
        retry_after_s: Some(4),
        code: "queue-full".to_owned(),
    };
    vec![
        ("ask", Envelope::Ask(ask())),
        ("ask-of-nothing", Envelope::Ask(wire::Ask::default())),
        ("ticket", Envelope::Ticket(ticket())),
        ("refused", Envelope::Refused(refused)),
        ("beat", Envelope::Beat(wire::Beat { waiting: vec![waiting(Some(900)), waiting(None)], total: 2 })),
        ("withdrawn", Envelope::Withdrawn(wire::Withdrawn { ids: vec![7, 8] })),
        ("ended", Envelope::Ended(wire::Ended { id: 7, ending: 0, first_ms: Some(310), took_ms: 2800 })),
        ("work", Envelope::Work(work())),
        ("work-of-nothing", Envelope::Work(wire::Work::default())),
        ("speeds", Envelope::Speeds(speeds())),
    ]
}

/// Reads bytes and writes what it understood of them again.
type Again = fn(&[u8]) -> Option<Vec<u8>>;

/// Every thing that goes over the wire, as bytes, with how it is read and written again.
fn samples() -> Vec<(&'static str, Vec<u8>, Again)> {
    let envelope = |bytes: &[u8]| Envelope::decode(bytes).ok().map(|envelope| envelope.encode());
    let summary_again = |bytes: &[u8]| Summary::decode(bytes).ok().map(|summary| summary.encode());
    let mut coded = summary();
    coded.share.code = Some("sharing".to_owned());
    let catalog_again = |bytes: &[u8]| Catalog::decode(bytes).ok().map(|catalog| catalog.encode().0);
    let mut samples: Vec<(&'static str, Vec<u8>, Again)> =
        about_requests().into_iter().map(|(name, sample)| (name, sample.encode(), envelope as Again)).collect();
    samples.extend([
        ("roster", Envelope::Roster(roster()).encode(), envelope),
        ("roster-digest", Envelope::Roster(Roster { digest: [7; 16], ..Roster::default() }).encode(), envelope),
        ("addresses", Envelope::Addresses(addresses()).encode(), envelope),
        ("summary", summary().encode(), summary_again),
        ("summary-coded", coded.encode(), summary_again),
        ("summary-of-nothing", Summary::default().encode(), summary_again),
        ("catalog", catalog().encode().0, catalog_again),
        ("catalog-of-nothing", Catalog::default().encode().0, catalog_again),
    ] as [(&'static str, Vec<u8>, Again); 8]);
    samples
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
    for (name, bytes, again) in samples() {
        let file = folder.join(name).with_extension("hex");
        if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&file, hex(&bytes)).unwrap();
        }
        let golden = unhex(&std::fs::read_to_string(&file).unwrap());
        assert_eq!(hex(&bytes), hex(&golden), "{name}");
        assert_eq!(again(&golden).map(|bytes| hex(&bytes)), Some(hex(&golden)), "{name}");
    }
}

#[test]
fn what_earlier_versions_wrote_is_read() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/catalog-early.hex");
    let early = Catalog::decode(&unhex(&std::fs::read_to_string(file).unwrap())).unwrap();
    let shelf = &early.backends[0];
    assert_eq!((shelf.models.len(), shelf.serves.len(), shelf.slots, shelf.any_name), (2, 0, None, false));
}

#[test]
fn what_was_written_is_read() {
    assert_eq!(Envelope::decode(&Envelope::Roster(roster()).encode()), Ok(Envelope::Roster(roster())));
    assert_eq!(Envelope::decode(&Envelope::Addresses(addresses()).encode()), Ok(Envelope::Addresses(addresses())));
    for (name, sample) in about_requests() {
        assert_eq!(Envelope::decode(&sample.encode()), Ok(sample), "{name}");
    }
    assert_eq!(Summary::decode(&summary().encode()), Ok(summary()));
    assert_eq!(Catalog::decode(&catalog().encode().0), Ok(catalog()));
    // One connection carries both languages, and each knows the other's kinds as unknown.
    let pulse = Message::Pulse(Pulse::default());
    assert_eq!(Envelope::decode(&pulse.encode()), Ok(Envelope::Membership(pulse)));
    assert_eq!(Message::decode(&Envelope::Roster(roster()).encode()), Err(NotAMessage::Unknown));
    assert_eq!(Envelope::decode(&[0xa1, 0x18, 0x63, 0xa0]), Err(NotAMessage::Unknown));
}

#[test]
fn what_is_too_much_is_left_out_in_order_of_worth() {
    let long = Server { id: "x".repeat(60), kind: "y".repeat(60), version: Some("z".repeat(60)), ..server() };
    let full = Summary { backends: vec![long; MAX_BACKENDS], ..summary() };
    let bytes = full.encode();
    let told = Summary::decode(&bytes).unwrap();
    assert!(bytes.len() <= MAX_PAYLOAD, "{} bytes", bytes.len());
    assert_eq!((told.machine, told.share.reason.as_str()), (None, ""));
    assert_eq!((told.name, told.catalog), (full.name, full.catalog));
    assert!(told.backends.len() > 10 && told.backends.len() < MAX_BACKENDS, "{}", told.backends.len());

    let entry = Entry { id: "m".repeat(100), ..Entry::default() };
    let shelf = Shelf { models: vec![entry; 12_000], ..Shelf::default() };
    let (bytes, is_whole) = Catalog { backends: vec![shelf] }.encode();
    assert!(bytes.len() <= MAX_CATALOG && !is_whole, "{} bytes", bytes.len());
    assert_eq!(Catalog::decode(&bytes).unwrap().backends[0].models.len(), 6_000);
    assert!(catalog().encode().1);
}

#[test]
fn what_holds_too_much_is_refused() {
    let many = Roster { statements: vec![Vec::new().into(); MAX_STATEMENTS + 1], ..roster() };
    let long = Addresses { members: vec![Place { addresses: vec![Address("1".repeat(65))], ..place() }] };
    let broad = Addresses { members: vec![Place { addresses: vec![Address(String::new()); 9], ..place() }] };
    for (envelope, words) in [
        (Envelope::Roster(many), "more than 512"),
        (Envelope::Addresses(long), "65 bytes"),
        (Envelope::Addresses(broad), "more than 8"),
        (Envelope::Ask(wire::Ask { models: vec![wire::Name(String::new()); 33], ..ask() }), "more than 32"),
        (Envelope::Ask(wire::Ask { app: "x".repeat(65), ..ask() }), "65 bytes"),
        (Envelope::Withdrawn(wire::Withdrawn { ids: vec![1; 513] }), "more than 512"),
    ] {
        let error = Envelope::decode(&envelope.encode()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(Envelope::decode(&vec![0; MAX_MESSAGE + 1]), Err(NotAMessage::TooLong(MAX_MESSAGE + 1)));
    let crowded = Summary { backends: vec![Server::default(); MAX_BACKENDS + 1], ..Summary::default() };
    assert!(Summary::decode(&crowded.encode()).is_err());
}

fn place() -> Place {
    Place { node: NodeId::new([1; 32]), addresses: Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        drop(Envelope::decode(&bytes));
        drop(Summary::decode(&bytes));
        drop(Catalog::decode(&bytes));
    }

    #[test]
    fn damaged_bytes_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 1..6),
    ) {
        let samples = samples();
        let (_, bytes, again) = which.get(&samples);
        let mut bytes = bytes.clone();
        for (place, bit) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        // What was read is what would be written: no two readings of one message.
        if let Some(written) = again(&bytes) {
            prop_assert_eq!(again(&written), Some(written));
        }
    }
}
