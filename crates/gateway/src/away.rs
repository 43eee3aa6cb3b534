//! Requests that another node serves: sent there by this door, and served here for others.
//!
//! They travel as they came: the client's own call, with a few headers beside it (`herd-…`). The node that serves it says
//! what it knows of the answer in one more header, and at the end in a trailer; everything else is the client's answer.

mod door;
mod facts;
mod inflow;
mod node;

pub(crate) use door::{Arrived, Kit, Leg, Went};
pub(crate) use facts::Facts;
pub(crate) use inflow::AwayInflow;
