//! Decides where each request goes, what it waits for, and what to try next.
//!
//! A fleet of one: among this machine's backends that have the model, the least loaded one, ties in turn. Knows the
//! slots of every backend and learns those it is not told, keeps who must wait in a bounded and fair queue, lets
//! backends that fail rest, and gives a request to another backend when its own is lost or when the first content of a
//! model in memory is long overdue. Reads no clock, no randomness and no environment: equal inputs give equal answers.
//!
//! ```
//! use std::time::Duration;
//! use proto::{Api, ModelName, Moment};
//! use routing::{Ask, Input, Output, Refusal, Router, Settings};
//!
//! let mut router = Router::new(Settings::default(), 1);
//! let now = Moment::at(Duration::from_secs(5));
//! let ask = Ask {
//!     api: Api::OllamaChat,
//!     models: vec![ModelName::new("llama3")],
//!     app: None,
//!     estimated_tokens: 100,
//!     excluded: vec![],
//!     streams: true,
//!     waited_since: now,
//! };
//! router.handle(Input::Arrive(1, ask), now);
//! assert!(matches!(router.poll_output(), Some(Output::Refuse(1, Refusal::NoBackend))));
//! ```

mod breaker;
mod fleet;
mod learning;
mod moving;
mod pace;
mod patience;
mod queue;
mod router;
mod stand_in;
mod standing;
mod views;
mod words;

pub use router::Router;
pub use stand_in::stand_in;
pub use words::{Ask, Ending, Grant, Input, Key, Output, QueueView, Refusal, Settings};
