//! Runs one machine: owns every thread and task, feeds the decisions, drives the hands.
//!
//! [`run`] is all that a headless face calls: it ends when the process is told to stop, after what was running has ended.
//! A face with other things to do calls [`start`], and stops the node by its handle.

mod awake;
mod backends;
mod bind;
mod changes;
mod clock;
mod doctor;
mod files;
mod fleet;
mod fleet_status;
mod lanes;
mod loads;
pub mod logging;
mod node;
mod outside;
mod placing;
mod reach;
mod refusal;
mod run;
mod running;
pub mod settings;
mod sharing;
mod tasks;
mod tickets;
mod views;

pub use run::run;
pub use running::{Running, start};
pub use tasks::Tasks;
