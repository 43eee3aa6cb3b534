//! Decides whether this machine may share now, and says why.
//!
//! What the owner wishes comes first. Where the owner wants to share, rules look at what speaks for somebody using the
//! machine (a camera or a microphone in use, a game, a battery) and pause. Pausing concerns new requests of other machines
//! only: what is running finishes, and the apps of this machine are always served. What is not known never pauses.
//!
//! A rule pauses soon and resumes late ([`Rules::resume_after`]), so that nothing flaps: what pauses because of a rule stays
//! paused for [`LEAST_PAUSE`] at least, unless the owner says otherwise.
//!
//! Reads no clock and no files: it is told the time, and equal inputs give equal answers.
//!
//! ```
//! use std::time::Duration;
//! use capacity::{Capacity, Evidence, Input, Reason, RuleId, Rules, State};
//! use proto::Moment;
//!
//! let at = |seconds| Moment::at(Duration::from_secs(seconds));
//! let mut capacity = Capacity::new(Rules::default());
//! let call = Evidence { cameras: Some(vec!["zoom".to_owned()]), ..Evidence::default() };
//! capacity.handle(Input::Evidence(call), at(10));
//! assert_eq!(capacity.share().state, State::On, "a camera that is only tried does not pause");
//! assert_eq!(capacity.poll_timeout(), Some(at(11)));
//! capacity.handle_timeout(at(11));
//! let share = capacity.poll_output().expect("something has changed");
//! assert_eq!((share.state, share.reason, share.rule), (State::Paused, Reason::Meeting, Some(RuleId::Meetings)));
//! ```

mod ambient;
mod core;
mod evidence;
mod holders;
mod phase;
mod rules;
mod tomorrow;
mod words;

pub use crate::core::{Capacity, Input};
pub use ambient::is_ambient;
pub use evidence::Evidence;
pub use holders::{Holder, Kind, Standing};
pub use phase::Phase;
pub use rules::{LEAST_PAUSE, RuleId, Rules, Switches};
pub use tomorrow::until_tomorrow;
pub use words::{Reason, Share, State, Wish};
