//! Holds the scan to its promises on any bytes. Run with `cargo +nightly fuzz run scan` in the folder above.
#![no_main]

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|body: &[u8]| promises::scan_keeps_its_promises(body));
