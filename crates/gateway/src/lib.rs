//! The door: the HTTP interface that apps talk to. Checks who calls, reads each request once, asks the node where it
//! goes, and carries the bytes there and back.
//!
//! The door knows nothing of fleets and models beyond what [`Fleet`] tells it, and starts nothing by itself: the node
//! makes one [`Door`], one [`Worker`] per thread, and runs [`Worker::serve`] on each.

mod answer;
mod away;
mod body;
mod budget;
mod control;
mod counting;
mod dashboard;
mod door;
mod entrance;
mod exchange;
mod fleet;
mod guard;
mod headers;
mod inflate;
mod keys;
mod listing;
mod manage;
mod metrics;
mod outside;
mod protection;
mod pulse;
mod record;
mod reply;
mod share;
mod source;
mod stored;
mod told;
mod unloading;
mod upstream;
mod verdict;
mod worker;

pub use door::{Door, Limits, Protection, Settings};
pub use entrance::{Entrance, Entry, Network};
pub use fleet::{
    Ask, AwayBody, Change, ChangeError, ChangeFuture, Count, Ending, Fleet, Gauges, Guest, GuestPass, NoTicket,
    PairStream, Placing, PlacingLater, Sending, Slot, Ticket, TicketEnding, Verdict, View, ViewError, ViewFuture,
};
pub use keys::{Key, MOST_PER_MINUTE};
pub use listing::Elsewhere;
pub use share::{PauseFor, ShareOrder, ShareWish};
pub use worker::Worker;
