//! The settings of a node: read once at start, from flags, environment, `settings.json` and defaults, in this order.
//!
//! Nothing here looks at the environment or at a file by itself, except [`Settings::load`], which reads the one file.

mod names;
mod parse;
mod reader;
pub(crate) mod sharing;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use probe::presence::Surroundings;
use proto::view::SettingView;

use parse::Choice;
use reader::Reader;

/// What the owner of this machine decided, or the defaults.
///
/// Any value of a public field is fine; what [`Settings::table`] shows is what was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the door listens for this machine's own programs. `FLEET_HOST`
    pub host: Host,
    /// Further addresses of this machine at which clients with a key are answered, at most 16; an unspecified one stands for
    /// all of its kind. `FLEET_HOST`
    pub addresses: Vec<IpAddr>,
    /// Whether clients on other machines are answered, with a key, while this node leads its fleet. `FLEET_LAN`
    pub lan: bool,
    /// Whether containers on this machine are answered at the addresses of their engines' bridges. `FLEET_CONTAINERS`
    pub containers: bool,
    /// The door's TCP port; 0 takes any free one. `FLEET_PORT`
    pub port: u16,
    /// The directory of the database, the logs and the control token. `FLEET_DATA_DIR`
    pub data_dir: PathBuf,
    /// The shown name of this node: 1 to 64 visible characters. `FLEET_NODE_ID`
    pub node_name: String,
    /// Where Ollama is looked for, as the owner wrote it. `FLEET_NODE_OLLAMA_HOST`
    ///
    /// `None` when nobody said anything: then it is looked for at Ollama's usual address, and need not be there.
    pub ollama: Option<String>,
    /// Inference servers that the owner named, `url[?slots=N&name=X]`, at most 64. `FLEET_BACKENDS`
    pub backends: Vec<String>,
    /// Whether inference servers are looked for at their usual ports. Off: only those that were named are used.
    /// `FLEET_LOCAL_DISCOVERY`
    pub local_discovery: bool,
    /// Whether models that an Ollama serves from elsewhere are listed and used. `FLEET_CLOUD_MODELS`
    pub cloud_models: bool,
    /// Which models answer for Anthropic's own names (`claude-…`): a part of such a name, or `*`, with the model, the more
    /// exact first. `FLEET_ANTHROPIC_MODEL_MAP`
    ///
    /// Where nothing fits, the best model there is.
    pub anthropic_models: Vec<(String, String)>,
    /// Requests that may wait for a slot; the next one is refused. `FLEET_QUEUE_SIZE`
    ///
    /// Too small refuses bursts that would have been served a moment later; each waiting request holds its body in memory.
    pub queue_size: NonZeroUsize,
    /// How long a request waits while no backend may serve it. `FLEET_QUEUE_WAIT`
    ///
    /// Shorter than a backend's restart, and each restart is felt by clients; much longer, and clients learn late that
    /// nothing is there.
    pub queue_wait: Duration,
    /// Tries after the first one that failed before any content. `FLEET_MAX_RETRIES`
    pub max_retries: u32,
    /// What is done with options that would reload a model. `FLEET_CONTEXT_PROTECTION`
    pub context_protection: ContextProtection,
    /// What decides between backends. `FLEET_SCORING`
    pub scoring: Scoring,
    /// The least important level that is logged: `trace`, `debug`, `info`, `warn`, `error` or `off`. `FLEET_LOG_LEVEL`
    pub log_level: String,
    /// Megabytes that the database may take before the oldest rows go. `FLEET_HISTORY_MB`
    pub history_mb: u64,
    /// The port for the other machines of the fleet, the next free one of the fifteen above it if it is taken; 0 takes any.
    /// `FLEET_MESH_PORT`
    pub mesh_port: u16,
    /// Whether this machine announces itself to the local network and looks for others there. `FLEET_MDNS`
    pub mdns: bool,
    /// Where other machines of the fleet are, as `host:port`, at most 64. `FLEET_PEERS`, and `FLEET_NODE_ROUTER_URL`.
    pub peers: Vec<String>,
    /// Whether this node never leads a fleet. The flag `--never-lead`.
    pub never_lead: bool,
    /// What pauses sharing. `FLEET_PAUSE_*`
    pub pauses: capacity::Rules,
    /// Whether this machine is kept from falling asleep while it serves, unless it runs on battery. `FLEET_KEEP_AWAKE`
    pub keep_awake: bool,
    /// Programs whose use of camera and microphone is no meeting, at most 64. `FLEET_PAUSE_IGNORE`
    pub not_meetings: Vec<String>,
    /// Where the senses for somebody's presence look.
    pub surroundings: Surroundings,
    rows: Vec<SettingView>,
}

/// The addresses of the door for this machine's own programs, which no other machine can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// 127.0.0.1 and ::1.
    Loopback,
    /// 127.0.0.1 alone.
    V4,
    /// ::1 alone.
    V6,
}

impl Host {
    /// The addresses to bind, the one that must be had first.
    pub fn addresses(self) -> &'static [IpAddr] {
        const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
        match self {
            Host::Loopback => &[V4, V6],
            Host::V4 => &[V4],
            Host::V6 => &[V6],
        }
    }
}

/// What is done with options of a request that describe a machine rather than an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextProtection {
    /// They are dropped, and the answer says so.
    Strip,
    /// They are kept, and the answer warns.
    Warn,
    /// They are kept.
    Passthrough,
}

/// What decides between backends that could serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// The predicted time to the end of the answer.
    Predicted,
    /// The documented points.
    Points,
}

/// Why the settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    /// The value is none of those that the setting may have.
    #[error("{name}={value} is not {expected}")]
    Value {
        /// The setting.
        name: String,
        /// What it was set to, shortened, without control characters.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// There is neither `FLEET_DATA_DIR` nor a home directory.
    #[error("no home directory is known: set FLEET_DATA_DIR to the directory for Herd's database and logs")]
    NoHome,
    /// `settings.json` is not an object of names and values.
    #[error("settings.json is not a JSON object of settings: {0}")]
    File(String),
}

/// What the flag of `never_lead` is called among the flags; no variable sets it.
pub const NEVER_LEAD: &str = "--never-lead";

impl Settings {
    /// Reads all settings, each from the first place that has it: `flag` (asked by the variable's name, and for
    /// [`NEVER_LEAD`]), `vars` (the whole environment), `file` (the text of `settings.json`), default.
    ///
    /// Also returns a warning for each setting that is unknown or has no effect. An empty variable counts as not set.
    pub fn read(
        flag: impl Fn(&str) -> Option<String>,
        vars: impl IntoIterator<Item = (String, String)>,
        file: Option<&str>,
    ) -> Result<(Settings, Vec<String>), BadSetting> {
        let vars: BTreeMap<String, String> = vars.into_iter().collect();
        let mut reader = Reader::new(&flag, &vars, file)?;
        let r = &mut reader;
        let (host, addresses) = r.read(
            "FLEET_HOST",
            "localhost",
            "Where the door listens; at other addresses than this machine's own, clients need a key.",
            parse::hosts,
        )?;
        let settings = Settings {
            host,
            addresses,
            port: r.read("FLEET_PORT", "11435", "The door's port, on 127.0.0.1 and ::1.", parse::port)?,
            data_dir: r.data_dir()?,
            node_name: r.read_or(
                "FLEET_NODE_ID",
                names::host_name,
                "The shown name of this machine.",
                parse::node_name,
            )?,
            ollama: r.read_given(
                "FLEET_NODE_OLLAMA_HOST",
                "127.0.0.1:11434",
                "Where Ollama is looked for.",
                parse::text,
            )?,
            backends: r.read(
                "FLEET_BACKENDS",
                "",
                "Further inference servers: url[?slots=N&name=X], comma between.",
                parse::list,
            )?,
            local_discovery: r.read(
                "FLEET_LOCAL_DISCOVERY",
                "on",
                "Whether inference servers are looked for at their usual ports; off: only named ones are used.",
                parse::on_off,
            )?,
            cloud_models: r.read(
                "FLEET_CLOUD_MODELS",
                "off",
                "Whether models that an Ollama serves from elsewhere are listed and used.",
                parse::on_off,
            )?,
            anthropic_models: r.read(
                "FLEET_ANTHROPIC_MODEL_MAP",
                "",
                "The model that answers for claude-… names, or a JSON object from parts of names to models; else the best.",
                parse::stand_ins,
            )?,
            queue_size: r.read(
                "FLEET_QUEUE_SIZE",
                "1024",
                "How many requests may wait for a slot; the next one is refused.",
                parse::above_zero,
            )?,
            queue_wait: r.read(
                "FLEET_QUEUE_WAIT",
                "30s",
                "How long a request waits while no backend may serve it.",
                parse::span,
            )?,
            max_retries: r.read(
                "FLEET_MAX_RETRIES",
                "2",
                "Further tries of a request that failed before its answer began.",
                parse::retries,
            )?,
            log_level: r.read(
                "FLEET_LOG_LEVEL",
                "info",
                "The least important level that is logged: trace, debug, info, warn, error, off.",
                parse::level,
            )?,
            history_mb: r.read(
                "FLEET_HISTORY_MB",
                "200",
                "Megabytes that the database may take; then the oldest rows go.",
                parse::megabytes,
            )?,
            context_protection: r.read(
                "FLEET_CONTEXT_PROTECTION",
                "strip",
                "Options that would reload a model: strip, warn, passthrough.",
                ContextProtection::chosen,
            )?,
            scoring: r.read(
                "FLEET_SCORING",
                "predicted",
                "What decides between backends: predicted, points.",
                Scoring::chosen,
            )?,
            mesh_port: r.read(
                "FLEET_MESH_PORT",
                "11441",
                "The port for the other machines of the fleet; 0 = any.",
                parse::port,
            )?,
            mdns: r.read(
                "FLEET_MDNS",
                "on",
                "Whether this machine announces itself to the local network and looks for others there, once it is paired.",
                parse::on_off,
            )?,
            peers: r.read(
                "FLEET_PEERS",
                "",
                "Where other machines of the fleet are: host:port, comma between.",
                parse::peers,
            )?,
            lan: r.read(
                "FLEET_LAN",
                "off",
                "Whether clients on other machines may call, with a key, while this machine leads.",
                parse::on_off,
            )?,
            containers: r.read(
                "FLEET_CONTAINERS",
                "off",
                "Whether containers may call at the addresses of their engines' bridges.",
                parse::on_off,
            )?,
            keep_awake: r.read(
                "FLEET_KEEP_AWAKE",
                "on",
                "Whether this machine is kept from falling asleep while it serves requests, unless on battery.",
                parse::on_off,
            )?,
            never_lead: flag(NEVER_LEAD).is_some(),
            pauses: capacity::Rules::default(),
            not_meetings: Vec::new(),
            surroundings: Surroundings::new(|name| vars.get(name).cloned()),
            rows: Vec::new(),
        };
        let router = r.read(
            "FLEET_NODE_ROUTER_URL",
            "",
            "One more machine of the fleet, as users of the earlier system name it.",
            parse::router,
        )?;
        let (pauses, not_meetings) = sharing::read(r)?;
        let (rows, warnings) = reader.finish();
        let peers = settings.peers.iter().cloned().chain(router).collect();
        Ok((Settings { peers, rows, pauses, not_meetings, ..settings }, warnings))
    }

    /// Like [`Settings::read`], with the `settings.json` of the data directory, where there is one.
    ///
    /// A file that cannot be read, or of more than 1 MiB, is an error.
    pub fn load(
        flag: impl Fn(&str) -> Option<String>,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Settings, Vec<String>), BadSetting> {
        let vars: BTreeMap<String, String> = vars.into_iter().collect();
        let dir = Reader::new(&flag, &vars, None)?.data_dir()?;
        let file = settings_file(&dir)?;
        Settings::read(flag, vars, file.as_deref())
    }

    /// One row for each setting: its value, where that comes from, and what it means.
    pub fn table(&self) -> Vec<SettingView> {
        self.rows.clone()
    }
}

fn settings_file(dir: &Path) -> Result<Option<String>, BadSetting> {
    use std::io::Read;
    const LARGEST: u64 = 1024 * 1024;
    let file = match std::fs::File::open(dir.join("settings.json")) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BadSetting::File(error.to_string())),
    };
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| BadSetting::File(error.to_string()))?;
    if text.len() as u64 > LARGEST {
        return Err(BadSetting::File("it is larger than 1 MiB".to_owned()));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
