//! Decides where each request goes, what it waits for, and what to try next.
//!
//! Two levels: [`scheduler`] chooses among the machines of the fleet, [`Router`] among the backends of one.
//!
//! The router: among this machine's backends that have the model, the least loaded one, ties in turn. Knows the
//! slots of every backend and learns those it is not told, keeps who must wait in a bounded and fair queue, lets
//! backends that fail rest, loads and unloads models where the server would do that badly, keeps every request to the
//! context that is loaded, and gives one to another backend when its own is lost or when the first content of a
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
//!     text_bytes: 400,
//!     media: 0,
//!     max_tokens: None,
//!     context_wanted: None,
//!     cuts: true,
//!     keep_alive: None,
//!     excluded: vec![],
//!     streams: true,
//!     waited_since: now,
//!     most_ahead: None,
//!     issuer: None,
//! };
//! router.handle(Input::Arrive(1, ask), now);
//! assert!(matches!(router.poll_output(), Some(Output::Refuse(1, Refusal::NoBackend))));
//! ```

mod breaker;
mod context;
mod fleet;
mod job;
mod lane;
mod learning;
mod loading;
mod loads;
mod memory;
mod moving;
mod pace;
mod patience;
mod points;
mod queue;
mod queue_view;
mod refusal;
mod router;
pub mod scheduler;
mod settling;
mod stand_in;
mod standing;
mod tokens;
mod views;
mod words;
mod work;

pub use job::{Job, JobFault, JobId, Why, Wish, Wished};
pub use queue_view::{LaneState, QueueView, WaitReason};
pub use refusal::Refusal;
pub use router::Router;
pub use stand_in::stand_in;
pub use tokens::Estimate;
pub use words::{Ask, Ending, Grant, Input, Key, Output, Settings, Verdict};
