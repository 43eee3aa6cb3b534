//! The rows of the table, by what they look at.

mod cpu;
mod faults;
mod latency;
mod listings;
mod loads;
#[cfg(target_os = "linux")]
mod members;
mod memory;
mod placing;
mod streams;
#[cfg(target_os = "linux")]
mod strikes;
mod translation;
#[cfg(target_os = "linux")]
mod travel;

use anyhow::Result;

use crate::report::Measure;
use crate::stage::Stage;

/// A group of rows that one play measures.
pub(crate) struct Row {
    /// The numbers it answers to.
    pub names: &'static [&'static str],
    pub play: fn(&mut Stage) -> Result<Vec<Measure>>,
}

/// Rows that take ten minutes each, and so are played only when they are named.
pub(crate) const LONG: &[&str] = &["11", "12"];

/// All rows, in the order they are played.
pub(crate) const ROWS: &[Row] = &[
    Row { names: &["1"], play: latency::tiny },
    Row { names: &["2"], play: cpu::requests },
    Row { names: &["3"], play: cpu::burst },
    Row { names: &["3t"], play: translation::burst },
    Row { names: &["4"], play: streams::one_way },
    Row { names: &["4b", "5"], play: streams::thousand },
    Row { names: &["6"], play: memory::idle },
    Row { names: &["7"], play: memory::large_bodies },
    Row { names: &["7b"], play: latency::large_prompt },
    Row { names: &["7t"], play: translation::large_prompt },
    Row { names: &["8"], play: listings::tags },
    Row { names: &["9", "15"], play: placing::tickets },
    #[cfg(target_os = "linux")]
    Row { names: &["11"], play: strikes::dies },
    #[cfg(target_os = "linux")]
    Row { names: &["12"], play: strikes::hangs },
    Row { names: &["12b"], play: faults::refusing },
    #[cfg(target_os = "linux")]
    Row { names: &["12b"], play: travel::refusing },
    Row { names: &["13"], play: faults::left },
    #[cfg(target_os = "linux")]
    Row { names: &["14"], play: travel::added },
    Row { names: &["17"], play: faults::start },
    #[cfg(target_os = "linux")]
    Row { names: &["16"], play: members::five },
    Row { names: &["18"], play: loads::contexts },
    Row { names: &["18m"], play: loads::models },
    Row { names: &["18w"], play: loads::wait },
];
