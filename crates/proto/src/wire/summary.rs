//! What a node tells of itself: the payload of [`State`](super::State), and the list of its models.

use minicbor::{Decode, Encode};
use serde::Serialize;

use super::MAX_PAYLOAD;
use super::bounds::list;

/// Backends of a node that others are told of, at most.
pub const MAX_BACKENDS: usize = 64;

/// GPUs of a node that others are told of, at most.
pub const MAX_GPUS: usize = 16;

/// Bytes of the longest [`Catalog`].
pub const MAX_CATALOG: usize = 1024 * 1024;

/// Models of one backend, at most.
pub const MAX_MODELS: usize = 16 * 1024;

/// What a node is and does. Sent on change and at least each 30 s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Summary {
    /// What it calls itself.
    #[cbor(n(0), default)]
    pub name: String,
    /// Herd's version there.
    #[cbor(n(1), default)]
    pub version: String,
    /// Whether it takes work.
    #[cbor(n(2), default)]
    pub share: Share,
    /// Its inference servers.
    #[cbor(n(3), default, decode_with = "list::<Ctx, Server, MAX_BACKENDS>")]
    pub backends: Vec<Server>,
    /// Its machine, where that is known.
    #[n(4)]
    pub machine: Option<Machine>,
    /// Tells lists of models apart: the list itself is asked for when this changes. Zeros: there is none.
    #[cbor(n(5), default, with = "minicbor::bytes")]
    pub catalog: [u8; 16],
    /// Requests that its own servers work on.
    #[cbor(n(6), default)]
    pub in_flight: u32,
    /// Requests that wait at its door.
    #[cbor(n(7), default)]
    pub queued: u32,
}

/// Whether and why a node takes work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Share {
    /// `on`, `paused`, `draining` or `off`.
    #[cbor(n(0), default)]
    pub state: String,
    /// One sentence.
    #[cbor(n(1), default)]
    pub reason: String,
    /// In how many seconds that ends by itself, roughly.
    #[n(2)]
    pub ends_in_s: Option<u64>,
    /// The reason, for programs.
    #[n(3)]
    pub code: Option<String>,
}

/// One inference server of a node. No address: others name it by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Server {
    /// Its name on that node.
    #[cbor(n(0), default)]
    pub id: String,
    /// What kind of program it is.
    #[cbor(n(1), default)]
    pub kind: String,
    /// `up`, `loading`, `hung` or `down`.
    #[cbor(n(2), default)]
    pub health: String,
    /// The program's version.
    #[n(3)]
    pub version: Option<String>,
    /// Requests per model that it works on at once, where known.
    #[n(4)]
    pub slots: Option<u32>,
    /// Requests that it works on.
    #[cbor(n(5), default)]
    pub in_flight: u32,
    /// How many models it has.
    #[cbor(n(6), default)]
    pub models: u32,
    /// How many of them are in memory.
    #[cbor(n(7), default)]
    pub loaded: u32,
}

/// A machine as it was sensed. Sizes are bytes, shares are percent; what is not known is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Machine {
    /// The system and its version.
    #[n(0)]
    pub os: Option<String>,
    /// The processor's architecture.
    #[n(1)]
    pub arch: Option<String>,
    /// The processor's name.
    #[n(2)]
    pub chip: Option<String>,
    /// The machine's model.
    #[n(3)]
    pub model: Option<String>,
    /// Processors that the system schedules on.
    #[n(4)]
    pub cores_logical: Option<u32>,
    /// Cores.
    #[n(5)]
    pub cores_physical: Option<u32>,
    /// How busy the processors are.
    #[n(6)]
    pub cpu_percent: Option<u8>,
    /// Main memory.
    #[n(7)]
    pub memory_total: Option<u64>,
    /// What programs could still be given of it.
    #[n(8)]
    pub memory_available: Option<u64>,
    /// The disk of the data directory.
    #[n(9)]
    pub disk_total: Option<u64>,
    /// What may still be written there.
    #[n(10)]
    pub disk_available: Option<u64>,
    /// Its GPUs.
    #[cbor(n(11), default, decode_with = "list::<Ctx, MachineGpu, MAX_GPUS>")]
    pub gpus: Vec<MachineGpu>,
    /// Whether it runs on a battery.
    #[n(12)]
    pub on_battery: Option<bool>,
    /// The battery's charge.
    #[n(13)]
    pub battery_percent: Option<u8>,
    /// Whether its processors run slower because of heat.
    #[n(14)]
    pub throttled: Option<bool>,
}

/// One GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct MachineGpu {
    /// Who makes it.
    #[cbor(n(0), default)]
    pub vendor: String,
    /// Its name.
    #[n(1)]
    pub name: Option<String>,
    /// Its memory; where `unified`, what of main memory it may use.
    #[n(2)]
    pub memory_total: Option<u64>,
    /// What of it is in use.
    #[n(3)]
    pub memory_used: Option<u64>,
    /// Whether it has no memory of its own.
    #[cbor(n(4), default)]
    pub unified: bool,
    /// How busy it is.
    #[n(5)]
    pub busy_percent: Option<u8>,
}

/// The models of a node: the answer to `GET /mesh/models`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Catalog {
    /// Its inference servers that are up.
    #[cbor(n(0), default, decode_with = "list::<Ctx, Shelf, MAX_BACKENDS>")]
    pub backends: Vec<Shelf>,
}

/// The models of one inference server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Shelf {
    /// Its name on that node.
    #[cbor(n(0), default)]
    pub id: String,
    /// What kind of program it is.
    #[cbor(n(1), default)]
    pub kind: String,
    /// The program's version.
    #[n(2)]
    pub version: Option<String>,
    /// Its models.
    #[cbor(n(3), default, decode_with = "list::<Ctx, Entry, MAX_MODELS>")]
    pub models: Vec<Entry>,
    /// The paths of the calls that it can be used for.
    #[cbor(n(4), default, decode_with = "list::<Ctx, String, 64>")]
    pub serves: Vec<String>,
    /// Requests per model that it works on at once, where known.
    #[n(5)]
    pub slots: Option<u32>,
    /// Models that it holds in memory at once, where known.
    #[n(6)]
    pub most_loaded: Option<u32>,
    /// Whether its one model answers to every name.
    #[cbor(n(7), default)]
    pub any_name: bool,
}

/// One model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// The name exactly as its server wants to be asked for it.
    #[cbor(n(0), default)]
    pub id: String,
    /// Hexadecimal digits that tell two models of one name apart.
    #[n(1)]
    pub digest: Option<String>,
    /// Hexadecimal digits that tell files of weights apart.
    #[n(2)]
    pub weights: Option<String>,
    /// Bytes on disk.
    #[n(3)]
    pub size: Option<u64>,
    /// For instance `Q4_K_M`.
    #[n(4)]
    pub quantization: Option<String>,
    /// For instance `llama`.
    #[n(5)]
    pub family: Option<String>,
    /// For instance `8.0B`.
    #[n(6)]
    pub parameter_size: Option<String>,
    /// What it can do, in Ollama's words. Empty: not told.
    #[cbor(n(7), default, decode_with = "list::<Ctx, String, 32>")]
    pub capabilities: Vec<String>,
    /// Tokens of context that it was trained for.
    #[n(8)]
    pub context_trained: Option<u64>,
    /// When it was last changed, for people.
    #[n(9)]
    pub modified_at: Option<String>,
    /// Set while it is in memory.
    #[n(10)]
    pub loaded: Option<InMemory>,
}

/// A model in memory. When it leaves is not told: that changes with every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InMemory {
    /// Tokens of context per slot.
    #[n(0)]
    pub context: Option<u64>,
    /// Bytes in memory.
    #[n(1)]
    pub size: Option<u64>,
    /// Bytes of these on a GPU.
    #[n(2)]
    pub size_vram: Option<u64>,
}

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a member sent what cannot be read: {0}")]
pub struct Unreadable(pub(super) String);

impl Summary {
    /// As the payload of a state: at most [`MAX_PAYLOAD`] bytes. What is too much is left out, the machine first, then the
    /// sentence of the share state, then the last servers.
    pub fn encode(&self) -> Vec<u8> {
        let mut fitting = self.clone();
        loop {
            let bytes = minicbor::to_vec(&fitting).expect("writing to memory cannot fail");
            if bytes.len() <= MAX_PAYLOAD {
                return bytes;
            }
            if fitting.machine.take().is_none() && std::mem::take(&mut fitting.share.reason).is_empty() {
                let Some(_) = fitting.backends.pop() else { return Vec::new() };
            }
        }
    }

    /// Reads the payload of a state.
    pub fn decode(bytes: &[u8]) -> Result<Summary, Unreadable> {
        minicbor::decode(bytes).map_err(|error| Unreadable(error.to_string()))
    }
}

impl Catalog {
    /// At most [`MAX_CATALOG`] bytes; false if the last models had to be left out for that.
    pub fn encode(&self) -> (Vec<u8>, bool) {
        let mut fitting = self.clone();
        let mut is_whole = true;
        loop {
            let bytes = minicbor::to_vec(&fitting).expect("writing to memory cannot fail");
            if bytes.len() <= MAX_CATALOG {
                return (bytes, is_whole);
            }
            is_whole = false;
            let Some(last) = fitting.backends.last_mut() else { return (Vec::new(), false) };
            last.models.truncate(last.models.len() / 2);
            if last.models.is_empty() {
                fitting.backends.pop();
            }
        }
    }

    /// Reads the answer of another node.
    pub fn decode(bytes: &[u8]) -> Result<Catalog, Unreadable> {
        minicbor::decode(bytes).map_err(|error| Unreadable(error.to_string()))
    }
}
