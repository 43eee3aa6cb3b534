//! Ranks the requests of the whole fleet, and binds each to a node when a slot there is its.

mod words;

pub use words::*;
