//! Carries messages and HTTP between authenticated nodes; finds them; pairs them.

mod base32;
pub mod discovery;
mod files;
mod frame;
mod gate;
#[cfg(test)]
mod golden;
mod hello;
mod inbox;
mod interfaces;
mod key;
mod links;
pub mod memory;
pub mod pairing;
mod peers;
pub mod roster;
mod secret;
mod session;
mod shared;
mod tcp;
mod transport;

pub use files::FileError;
pub use hello::{Hello, VERSIONS};
pub use inbox::Events;
pub use interfaces::{OnNetwork, all_networks, container_networks, local_addresses, local_networks, shown_address};
pub use key::{Identity, NodeKey, NotAKey};
pub use links::MOST_ADDRESSES;
pub use secret::{FleetSecret, Secrets};
pub use tcp::{Listen, Mesh, Settings, StartError};
pub use transport::{
    Answering, Body, BoxError, Counts, Event, Hint, LONGEST_MESSAGE, Peer, RequestError, Requesting, SendError, Serve,
    Source, Stray, Transport, Trouble,
};
