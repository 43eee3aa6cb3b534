//! The command line: what may be written, and which settings the flags stand for.

mod share;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::{Args, CommandFactory, Parser, Subcommand};
use node::settings::NEVER_LEAD;

use crate::Program;
pub(crate) use share::{Pause, ShareCommand, Switch};

/// One call of the program, understood.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) command: Command,
    /// One JSON value per line instead of text for people.
    pub(crate) json: bool,
    /// Settings given by flags, by the name of their variable.
    pub(crate) flags: BTreeMap<&'static str, String>,
}

/// What came of the arguments, where they made sense.
#[derive(Debug)]
pub(crate) enum Parsed {
    Invocation(Box<Invocation>),
    /// Only this text was asked for.
    Help(String),
}

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no running Herd, 4 refused, 5 not found, 6 timed out.
Settings come from flags, then FLEET_* variables, then settings.json; `herd config` shows them.";

/// One local AI endpoint for every app on this machine.
#[derive(Debug, Parser)]
#[command(name = "herd", disable_version_flag = true, disable_help_subcommand = true, after_help = EXIT_CODES)]
struct HerdArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Runs Herd on this machine, never as the leader of a fleet.
#[derive(Debug, Parser)]
#[command(name = "herd-node", disable_version_flag = true, after_help = EXIT_CODES)]
struct NodeArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    serve: ServeArgs,
    /// A machine of the fleet, by address
    #[arg(long, value_name = "URL")]
    router_url: Option<String>,
}

#[derive(Debug, Args)]
struct CommonArgs {
    /// Answer with one JSON value per line
    #[arg(long, global = true)]
    json: bool,
    /// The port of the door [default: 11435]
    #[arg(long, global = true, value_name = "N")]
    port: Option<u16>,
    /// The directory of the database, the logs and the token [default: ~/.fleet-manager]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Print the version
    #[arg(short = 'V', long)]
    version: bool,
}

/// Flags of `serve`, which may also stand alone after `herd`.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Never lead a fleet
    #[arg(long)]
    never_lead: bool,
    /// An inference server to use besides those that are found: url[?slots=N&name=X]
    #[arg(long, value_name = "URL")]
    backend: Vec<String>,
    /// The least important level to log: trace, debug, info, warn, error, off
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The shown name of this machine [default: its host name]
    #[arg(long, value_name = "NAME")]
    node_id: Option<String>,
    /// Where to look for Ollama [default: 127.0.0.1:11434]
    #[arg(long, value_name = "HOST")]
    ollama_host: Option<String>,
    /// Where to listen; at other addresses than localhost, clients need a key
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run Herd on this machine until it is stopped (the default)
    Serve(ServeArgs),
    /// Tell how this Herd is doing
    Status,
    /// List the machines of the fleet and how they are doing
    Nodes,
    /// Tell which machine leads the fleet
    Leader,
    /// List the machines that belong to the fleet, in the order of joining
    Devices,
    /// Show a code with which one more machine joins the fleet
    Pair {
        /// Let in whoever has the code, without asking
        #[arg(long)]
        yes: bool,
    },
    /// Join the fleet of the machine that shows a code
    Join {
        /// The code; case, spaces and dashes do not matter
        #[arg(required = true, num_args = 1..=8)]
        code: Vec<String>,
        /// Where the other machine waits, as `herd pair` says there; needed only if it is not found
        #[arg(long, value_name = "HOST:PORT")]
        addr: Option<String>,
    },
    /// Leave the fleet; this machine works alone afterwards
    Leave {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Remove a machine from the fleet
    Remove {
        /// Its name or its id, as `herd devices` shows them
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Rename a machine of the fleet
    Rename {
        /// Its name or its id, as `herd devices` shows them
        name: String,
        /// What it shall be called: 1 to 64 characters
        new: String,
    },
    /// Share this machine with the fleet, or pause that; alone it tells how it is
    Share {
        #[command(subcommand)]
        command: Option<ShareCommand>,
    },
    /// Begin a new fleet
    Fleet {
        #[command(subcommand)]
        command: FleetCommand,
    },
    /// List the keys with which clients on other machines are let in
    Keys {
        #[command(subcommand)]
        command: Option<KeysCommand>,
    },
    /// List the models that can be asked for
    Models,
    /// List the models that are in memory, or waited for
    Ps,
    /// Load a model, so that the next request for it need not wait
    Load {
        /// Its name
        model: String,
        /// Tokens that its context shall hold at least
        #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(4..=100_000_000))]
        context: Option<u64>,
    },
    /// Unload a model as soon as nobody uses it
    Unload {
        /// Its name
        model: String,
    },
    /// List the latest requests
    Traces {
        /// How many, at most 1000
        #[arg(short, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        n: u16,
    },
    /// Tell the story of one request
    Why {
        /// Its X-Fleet-Request-Id, or the first six characters or more of it
        id: String,
    },
    /// Show every setting with where it comes from
    Config,
    /// Show the log
    Logs {
        /// Go on as new lines come
        #[arg(short, long)]
        follow: bool,
        /// How many lines to begin with, at most 100000
        #[arg(short, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100_000))]
        n: u32,
    },
    /// Open the dashboard in the browser, signed in
    Dashboard,
    /// Look for problems and say what to do about them
    Doctor,
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the version (also --version)
    #[command(hide = true)]
    Version,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List them (the default); the keys themselves are not kept
    List,
    /// Make one, and show it this once
    Add {
        /// What it is called: who will use it
        name: String,
        /// Requests that it is good for in any minute [default: any number]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rpm: Option<u32>,
        /// Requests that it is good for at once [default: any number]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        at_once: Option<u32>,
    },
    /// Take one back: it lets nobody in any more
    Revoke {
        /// Its name
        name: String,
    },
}

/// What can be done with fleets.
#[derive(Debug, Subcommand)]
pub(crate) enum FleetCommand {
    /// Begin a new fleet with this machine alone; the others must be let in again
    New {
        /// Its name [default: that of the present one]
        #[arg(long)]
        name: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Understands `args`, the program's own name first; the error is the text for standard error.
pub(crate) fn parse(program: Program, args: Vec<OsString>) -> Result<Parsed, String> {
    let parsed = match program {
        Program::Herd => HerdArgs::try_parse_from(args).map_err(explained).and_then(|args| {
            let ours = args.serve;
            match args.command {
                None => Ok((args.common, Command::Serve(ours), None)),
                Some(Command::Serve(theirs)) => Ok((args.common, Command::Serve(ours.then(theirs)), None)),
                Some(_) if ours.any() => Err(Ended::Usage("flags of `herd serve` go after `serve`".to_owned())),
                Some(command) => Ok((args.common, command, None)),
            }
        }),
        Program::HerdNode => NodeArgs::try_parse_from(args).map_err(explained).map(|args| {
            let serve = ServeArgs { never_lead: true, ..args.serve };
            (args.common, Command::Serve(serve), args.router_url)
        }),
    };
    match parsed {
        Ok((common, command, router_url)) => Ok(Parsed::Invocation(Box::new(invocation(common, command, router_url)))),
        Err(Ended::Help(text)) => Ok(Parsed::Help(text)),
        Err(Ended::Usage(text)) => Err(text),
    }
}

/// The whole command line, for completions.
pub(crate) fn definition() -> clap::Command {
    HerdArgs::command()
}

enum Ended {
    Help(String),
    Usage(String),
}

fn explained(error: clap::Error) -> Ended {
    match error.use_stderr() {
        true => Ended::Usage(error.render().to_string()),
        false => Ended::Help(error.render().to_string()),
    }
}

impl ServeArgs {
    fn any(&self) -> bool {
        self.never_lead
            || !self.backend.is_empty()
            || [&self.log_level, &self.node_id, &self.ollama_host, &self.host].into_iter().any(Option::is_some)
    }

    /// Both, where `later` wins.
    fn then(self, later: ServeArgs) -> ServeArgs {
        let mut backend = self.backend;
        backend.extend(later.backend);
        ServeArgs {
            never_lead: self.never_lead || later.never_lead,
            backend,
            log_level: later.log_level.or(self.log_level),
            node_id: later.node_id.or(self.node_id),
            ollama_host: later.ollama_host.or(self.ollama_host),
            host: later.host.or(self.host),
        }
    }
}

fn invocation(common: CommonArgs, command: Command, router_url: Option<String>) -> Invocation {
    let mut flags = BTreeMap::new();
    let mut set = |name, value: &Option<String>| {
        if let Some(value) = value {
            flags.insert(name, value.clone());
        }
    };
    set("FLEET_PORT", &common.port.map(|port| port.to_string()));
    set("FLEET_DATA_DIR", &common.data_dir);
    if let Command::Serve(serve) = &command {
        set("FLEET_LOG_LEVEL", &serve.log_level);
        set("FLEET_NODE_ID", &serve.node_id);
        set("FLEET_NODE_OLLAMA_HOST", &serve.ollama_host);
        set("FLEET_HOST", &serve.host);
        set("FLEET_BACKENDS", &(!serve.backend.is_empty()).then(|| serve.backend.join(",")));
        set(NEVER_LEAD, &serve.never_lead.then(String::new));
    }
    set("FLEET_NODE_ROUTER_URL", &router_url);
    let command = if common.version { Command::Version } else { command };
    Invocation { command, json: common.json, flags }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(program: Program, line: &str) -> Result<Parsed, String> {
        parse(program, line.split(' ').map(OsString::from).collect())
    }

    fn invoked(program: Program, line: &str) -> Invocation {
        match parsed(program, line) {
            Ok(Parsed::Invocation(invocation)) => *invocation,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        HerdArgs::command().debug_assert();
        NodeArgs::command().debug_assert();
    }

    #[test]
    fn flags_stand_for_settings() {
        for (line, name, value) in [
            ("herd --port 7", "FLEET_PORT", "7"),
            ("herd status --port 7", "FLEET_PORT", "7"),
            ("herd --port 7 status", "FLEET_PORT", "7"),
            ("herd --backend http://a:1 --backend b:2", "FLEET_BACKENDS", "http://a:1,b:2"),
            ("herd --backend a:1 serve --backend b:2", "FLEET_BACKENDS", "a:1,b:2"),
            ("herd --log-level info serve --log-level debug", "FLEET_LOG_LEVEL", "debug"),
            ("herd serve --never-lead", NEVER_LEAD, ""),
            ("herd logs --data-dir /d", "FLEET_DATA_DIR", "/d"),
        ] {
            let invocation = invoked(Program::Herd, line);
            assert_eq!(invocation.flags.get(name).map(String::as_str), Some(value), "{line}");
        }
        assert!(!invoked(Program::Herd, "herd").flags.contains_key(NEVER_LEAD));
    }

    #[test]
    fn herd_node_never_leads_and_takes_an_address() {
        let invocation = invoked(Program::HerdNode, "herd-node --router-url http://10.0.0.2:11435 --node-id den");
        assert!(invocation.flags.contains_key(NEVER_LEAD));
        assert_eq!(invocation.flags["FLEET_NODE_ID"], "den");
        assert_eq!(invocation.flags["FLEET_NODE_ROUTER_URL"], "http://10.0.0.2:11435");
    }

    #[test]
    fn wrong_usage_is_told_from_help() {
        assert!(matches!(parsed(Program::Herd, "herd --help"), Ok(Parsed::Help(_))));
        for line in [
            "herd --port x",
            "herd traces -n 0",
            "herd why",
            "herd --log-level debug status",
            "herd statsu",
            "herd join",
            "herd rename a",
            "herd fleet",
        ] {
            assert!(parsed(Program::Herd, line).is_err(), "{line}");
        }
    }
}
