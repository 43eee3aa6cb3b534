//! `node.json`: what this machine remembers from start to start.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use mesh::NodeKey;
use proto::Epoch;
use proto::NodeId;
use proto::wire::Setting;
use serde::{Deserialize, Serialize};

use super::papers::set_aside;
use crate::files;
use crate::sharing::Kept;

const NODE: &str = "node.json";
/// Bytes of the longest `node.json` that is read: 512 settings and the addresses of 1024 members have less.
const LONGEST: u64 = 4 * 1024 * 1024;
/// Addresses kept of one member.
pub(crate) const MOST_ADDRESSES: usize = 4;
/// Members whose addresses are kept.
const MOST_MEMBERS: usize = 1024;

/// `node.json`: what this machine remembers from start to start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// How often this node has started.
    pub(crate) incarnation: u64,
    /// The highest epoch that it ever saw.
    pub(crate) epoch: Epoch,
    /// The fleet's name as it was when this machine joined.
    pub(crate) fleet_name: Option<String>,
    /// The fleet's settings.
    pub(crate) settings: BTreeMap<String, Setting>,
    /// Where members were found.
    pub(crate) addresses: BTreeMap<NodeKey, Vec<SocketAddr>>,
    /// What the owner has to be told, for instance that this machine was removed.
    pub(crate) told: Option<String>,
    /// What the owner said about sharing.
    pub(crate) share: Option<Kept>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    incarnation: u64,
    epoch: u64,
    fleet_name: Option<String>,
    settings: Vec<Line>,
    addresses: BTreeMap<String, Vec<SocketAddr>>,
    told: Option<String>,
    share: Option<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    value: Option<String>,
    epoch: u64,
    counter: u64,
    author: String,
}

impl Memory {
    pub(super) fn open(dir: &Path, unix_s: u64) -> (Memory, Option<String>) {
        let path = dir.join(NODE);
        // Numbers of starts must grow. Where the last one is lost, seconds since 1970 are more than anybody's starts.
        let fresh = || Memory { incarnation: unix_s, ..Memory::default() };
        let text = match read_bounded(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return (fresh(), None),
            Err(error) => return (fresh(), Some(format!("{}: {error}; a new one is begun", path.display()))),
        };
        match serde_json::from_str::<File>(&text).ok().and_then(Memory::of) {
            Some(mut memory) => {
                memory.incarnation = memory.incarnation.saturating_add(1);
                (memory, None)
            }
            None => {
                let found = match set_aside(&path) {
                    Ok(aside) => {
                        format!("{} was damaged; it is kept as {aside}, and a new one is begun", path.display())
                    }
                    Err(error) => format!("{} is damaged: {error}", path.display()),
                };
                (fresh(), Some(found))
            }
        }
    }

    fn of(file: File) -> Option<Memory> {
        let setting = |line: Line| {
            let author: NodeId = line.author.parse().ok()?;
            let Line { key, value, epoch, counter, .. } = line;
            Some((key.clone(), Setting { key, value, epoch: Epoch::new(epoch), counter, author }))
        };
        let address = |(node, mut addresses): (String, Vec<_>)| {
            addresses.truncate(MOST_ADDRESSES);
            Some((node.parse().ok()?, addresses))
        };
        Some(Memory {
            incarnation: file.incarnation,
            epoch: Epoch::new(file.epoch),
            fleet_name: file.fleet_name,
            settings: file.settings.into_iter().map(setting).collect::<Option<_>>()?,
            addresses: file.addresses.into_iter().take(MOST_MEMBERS).map(address).collect::<Option<_>>()?,
            told: file.told,
            share: file.share,
        })
    }

    pub(super) fn store(&self, dir: &Path) -> Result<(), String> {
        let line = |setting: &Setting| Line {
            key: setting.key.clone(),
            value: setting.value.clone(),
            epoch: setting.epoch.number(),
            counter: setting.counter,
            author: setting.author.full(),
        };
        let file = File {
            incarnation: self.incarnation,
            epoch: self.epoch.number(),
            fleet_name: self.fleet_name.clone(),
            settings: self.settings.values().map(line).collect(),
            addresses: self.addresses.iter().map(|(node, all)| (node.to_string(), all.clone())).collect(),
            told: self.told.clone(),
            share: self.share.clone(),
        };
        let text = serde_json::to_string_pretty(&file).expect("texts and numbers can be written as JSON");
        files::replace(&dir.join(NODE), &text).map_err(|error| format!("{error:#}"))
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Option<String>> {
    use std::io::Read as _;
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    // What is no text is damaged, which the parser says.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
