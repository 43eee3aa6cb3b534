//! How a machine joins a fleet: a code that one machine shows and a person types on the other.
//!
//! The machine that is a member [opens an offer](Offer::open): a port of its own that exists while the code is shown. The
//! other one [joins](join()) with the code. Both prove to each other that they know the code (SPAKE2, then a proof each way), so
//! that neither a listener on the network nor a wrong guess learns anything; then the person at the first machine is asked,
//! and only then does the secret of the fleet, its roster and where its members are go over, encrypted.
//!
//! Whoever guesses has three tries in three minutes at one code of 2⁴⁰, of which 2³⁵ are left to somebody who saw the
//! announcement on the network.

mod channel;
mod code;
mod join;
mod offer;
mod words;

pub use code::{BadCode, Code};
pub use join::{JoinError, Welcome, join};
pub use offer::{Candidate, Decision, Handover, Joined, Offer, OfferError, OfferSettings};

#[cfg(test)]
mod tests;
