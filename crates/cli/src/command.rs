//! The commands: each asks one thing and shows it, for people or for scripts.

mod ask;
mod config;
pub(crate) mod dashboard;
mod doctor;
mod keys;
mod load;
mod logs;
mod membership;
mod models;
mod nodes;
mod pair;
mod share;
mod status;
mod traces;
mod why;

use std::path::PathBuf;

use node::settings::Settings;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::World;
use crate::args::{Command, FleetCommand, Invocation, definition};
use crate::door::Door;
use crate::failure::Failure;
use crate::show::Paint;

/// Carries out what was asked for.
pub(crate) fn run(invocation: Invocation, world: &mut World<'_>) -> Result<(), Failure> {
    let Invocation { command, json, flags } = invocation;
    match command {
        Command::Version if json => return line(world, &json!({"version": proto::VERSION})),
        Command::Version => return Ok(writeln!(world.out, "herd {}", proto::VERSION)?),
        Command::Completions { shell } => return completions(shell, json, world),
        _ => {}
    }
    let (settings, warnings) = Settings::load(|name| flags.get(name).cloned(), world.vars.clone())
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let door = Door::new(&settings);
    match command {
        Command::Serve(_) => (world.serve)(settings, warnings).map_err(|error| Failure::Failed(format!("{error:#}"))),
        Command::Status => status::status(&door, json, world),
        Command::Nodes => nodes::nodes(&door, json, world),
        Command::Leader => nodes::leader(&door, json, world),
        Command::Devices => nodes::devices(&door, json, world),
        Command::Pair { yes } => pair::pair(&door, yes, json, world),
        Command::Join { code, addr } => membership::join(&door, &code.join(" "), addr.as_deref(), json, world),
        Command::Leave { yes } => membership::leave(&door, yes, json, world),
        Command::Remove { name, yes } => membership::remove(&door, &name, yes, json, world),
        Command::Rename { name, new } => membership::rename(&door, &name, &new, json, world),
        Command::Fleet { command: FleetCommand::New { name, yes } } => {
            membership::new_fleet(&door, name.as_deref(), yes, json, world)
        }
        Command::Keys { command } => keys::keys(&door, command, json, world),
        Command::Share { command } => share::share(&door, command.as_ref(), json, world),
        Command::Models => models::models(&door, json, world),
        Command::Ps => models::ps(&door, json, world),
        Command::Load { model, context } => load::load(&door, &model, context, json, world),
        Command::Unload { model } => load::unload(&door, &model, json, world),
        Command::Traces { n } => traces::traces(&door, n, json, world),
        Command::Why { id } => why::why(&door, &id, json, world),
        Command::Config => config::config(&door, &settings, &warnings, json, world),
        Command::Logs { follow, n } => logs::logs(&log_file(&settings), n, follow, json, world),
        Command::Dashboard => dashboard::dashboard(&door, settings.port, json, world),
        Command::Doctor => doctor::doctor(&door, &warnings, json, world),
        Command::Completions { .. } | Command::Version => Ok(()),
    }
}

fn log_file(settings: &Settings) -> PathBuf {
    settings.data_dir.join("logs").join("herd.jsonl")
}

fn completions(shell: clap_complete::Shell, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "herd", &mut script);
    if json {
        return line(world, &json!({"shell": shell.to_string(), "script": String::from_utf8_lossy(&script)}));
    }
    Ok(world.out.write_all(&script)?)
}

impl World<'_> {
    fn paint(&self) -> Paint {
        Paint { on: self.colour }
    }
}

/// Writes one JSON value on a line of its own.
fn line(world: &mut World<'_>, value: &Value) -> Result<(), Failure> {
    Ok(writeln!(world.out, "{value}")?)
}

/// Writes each element of a list on a line of its own.
fn lines(world: &mut World<'_>, list: &Value) -> Result<(), Failure> {
    let rows = list.as_array().ok_or_else(|| not_understood("it is not a list"))?;
    rows.iter().try_for_each(|row| line(world, row))
}

/// The answer as what this version knows of it. Fields of newer versions are skipped, they only show with `--json`.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(not_understood)
}

fn not_understood(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(format!("Herd's answer is not understood ({error}). Is it of another version? `herd --version`"))
}
