//! What nodes remember for each other: the bytes never change, and whatever comes in, reading it ends well.

#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::path::PathBuf;

use minicbor::Encoder;
use proptest::prelude::*;
use proto::wire::{Batch, Cell, Cells, Envelope, Held, JournalEntry, MAX_BATCH, MAX_CELLS, MAX_VECTOR, Run, Vector};

fn held(journal: u64, through: u64) -> Held {
    Held { door: "0".repeat(52), journal, through }
}

fn vector() -> Vector {
    Vector { journals: vec![held(1, 2), held(u64::MAX, 300)] }
}

fn batch() -> Batch {
    let cells = vec![(0, Cell::Text("an id".to_owned())), (1, Cell::Integer(-7)), (300, Cell::Real(0.5))];
    let entries = vec![
        JournalEntry { seq: 3, kind: 0, cells: Cells(cells) },
        JournalEntry { seq: 5, kind: 1, cells: Cells::default() },
    ];
    let run = Run { door: "0".repeat(52), name: "studio".to_owned(), journal: 1, after: 2, through: 6, entries };
    Batch { runs: vec![run], more: true }
}

fn samples() -> [(&'static str, Vec<u8>); 5] {
    [
        ("vector", vector().encode()),
        ("vector-of-nothing", Vector::default().encode()),
        ("batch", batch().encode()),
        ("batch-of-nothing", Batch::default().encode()),
        ("news", Envelope::News(0x0123_4567_89ab_cdef).encode()),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    lines.collect()
}

/// `GOLDEN=write` adds files for new samples. One that is there is what a released version sends: it must not change.
#[test]
fn bytes_are_those_of_every_version() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, bytes) in samples() {
        let file = folder.join(name).with_extension("hex");
        if std::env::var_os("GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&file, hex(&bytes)).unwrap();
        }
        assert_eq!(hex(&bytes), std::fs::read_to_string(&file).unwrap(), "{name}");
    }
    assert_eq!(Vector::decode(&vector().encode()).unwrap(), vector());
    assert_eq!(Batch::decode(&batch().encode()).unwrap(), batch());
    assert_eq!(Envelope::decode(&samples()[4].1).unwrap(), Envelope::News(0x0123_4567_89ab_cdef));
}

#[test]
fn digests_are_those_of_every_version() {
    assert_eq!(Vector::default().digest(), 0);
    assert_eq!(Vector { journals: vec![held(1, 0)] }.digest(), 0, "nothing of a journal is the same as no journal");
    assert_eq!(vector().digest(), 0x14d0_e73f_c9fa_2458);
    let turned = Vector { journals: vector().journals.into_iter().rev().collect() };
    assert_eq!(turned.digest(), vector().digest());
    let others = [vec![held(1, 300), held(u64::MAX, 2)], vec![held(1, 3), held(u64::MAX, 299)], vec![held(1, 2)]];
    for journals in others {
        assert_ne!(Vector { journals }.digest(), vector().digest());
    }
}

#[test]
fn cells_of_the_future_are_skipped() {
    let mut e = Encoder::new(Vec::new());
    e.map(2).unwrap().u8(0).unwrap().array(1).unwrap().map(2).unwrap();
    e.u8(5).unwrap().array(1).unwrap().map(3).unwrap().u8(0).unwrap().u8(9).unwrap().u8(2).unwrap();
    e.begin_map().unwrap().u8(1).unwrap().u8(7).unwrap();
    e.u8(2).unwrap().array(2).unwrap().u8(1).unwrap().map(0).unwrap().u8(3).unwrap().null().unwrap();
    e.u32(70_000).unwrap().u8(4).unwrap().u8(4).unwrap().u64(u64::MAX).unwrap().end().unwrap();
    e.u8(77).unwrap().str("later").unwrap().u8(66).unwrap().bool(true).unwrap();
    e.u8(99).unwrap().str("later").unwrap();
    let cells = Cells(vec![(1, Cell::Integer(7)), (4, Cell::Integer(i64::MAX))]);
    let entry = JournalEntry { seq: 9, kind: 0, cells };
    let expected = Batch { runs: vec![Run { entries: vec![entry], ..Run::default() }], more: false };
    assert_eq!(Batch::decode(e.writer()).unwrap(), expected);
}

#[test]
fn what_holds_too_much_is_refused() {
    assert!(Vector::decode(&vec![0; MAX_VECTOR + 1]).is_err());
    assert!(Batch::decode(&vec![0; MAX_BATCH + 1]).is_err());
    let mut many = batch();
    many.runs[0].entries[0].cells = Cells(vec![(1, Cell::Integer(1)); MAX_CELLS + 1]);
    assert!(Batch::decode(&many.encode()).unwrap_err().to_string().contains("64 cells"));
    let long = Vector { journals: vec![Held { door: "x".repeat(65), ..held(1, 1) }] };
    assert!(Vector::decode(&long.encode()).is_err());
    let fullest = Vector { journals: vec![held(u64::MAX, u64::MAX); proto::wire::MAX_JOURNALS] };
    assert!(fullest.encode().len() <= MAX_VECTOR);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_batches_are_read_or_refused(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 0..6),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = batch().encode();
        for (place, bit) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        drop(Batch::decode(&bytes));
        drop(Batch::decode(&bytes[..cut.index(bytes.len())]));
        drop((Batch::decode(&noise), Vector::decode(&noise)));
    }
}
