//! Decides who is alive and who leads.
//!
//! Each second a node sends a pulse to every member that it is connected to. A member from which not one byte came for
//! [`PATIENCE`], or whose connection closed, is gone. There is one leader: whoever is followed stays, whatever joins; if
//! nobody leads, the best live member claims and the others wait behind it; after a partition the leader that more
//! nodes follow stays. Every claim has an epoch above all that its author ever saw, and no node ever goes back to a lower
//! one. Pulses say whom the sender hears and whom it follows, so a node that cannot reach the leader itself still knows
//! that there is one. The settings of the fleet travel the same way.
//!
//! Reads no clock, no randomness and no environment: equal inputs give equal answers.
//!
//! ```
//! use std::time::Duration;
//! use membership::{Input, Membership, Output, Start};
//! use proto::{Epoch, Incarnation, Moment, NodeId, Priority, Role};
//!
//! let me = NodeId::new([1; 32]);
//! let start = Start {
//!     me,
//!     incarnation: Incarnation(1),
//!     epoch: Epoch::default(),
//!     priority: Priority::Normal,
//!     settings: vec![],
//!     seed: 7,
//! };
//! let mut membership = Membership::new(start, Moment::default());
//! membership.handle(Input::Roster(vec![(me, Role::Admin)]), Moment::default());
//! let mut led = false;
//! while let Some(wake) = membership.poll_timeout().filter(|_| !led) {
//!     membership.handle_timeout(wake);
//!     while let Some(output) = membership.poll_output() {
//!         led |= matches!(output, Output::LeaderChanged { leader: Some(leader), .. } if leader == me);
//!     }
//! }
//! assert!(led, "a fleet of one is led by that one");
//! ```

mod claims;
mod core;
mod course;
mod gossip;
mod leading;
mod liveness;
mod map;
mod peer;
mod twin;
mod views;
mod words;

pub use crate::core::Membership;
pub use words::{Input, MemberView, Output, PATIENCE, PULSE, Presence, SettingRefused, Standing, Start, View};
