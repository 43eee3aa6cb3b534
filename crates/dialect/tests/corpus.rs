//! Replays what the fuzzer starts from and what it once found.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

#[path = "../fuzz/promises.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz target")]
mod promises;

#[test]
fn the_corpus_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/scan");
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let body = std::fs::read(&path).unwrap();
        eprintln!("{}", path.display());
        promises::scan_keeps_its_promises(&body);
        // A body may be cut anywhere.
        for length in 0..body.len().min(400) {
            promises::scan_keeps_its_promises(&body[..length]);
        }
        replayed += 1;
    }
    assert!(replayed >= 30, "only {replayed} files in the corpus");
}
