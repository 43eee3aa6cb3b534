//! What the owner of a machine may say about sharing it.

use std::time::Duration;

/// The longest time that can be said: a month. What shall last longer, lasts until it is ended.
pub(crate) const LONGEST: Duration = Duration::from_secs(31 * 24 * 3600);

/// What the owner says, all of it at once; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShareOrder {
    /// What the owner wants.
    pub wish: Option<ShareWish>,
    /// Share for so long whatever the rules say; zero: no more.
    pub anyway: Option<Duration>,
    /// A rule by its name, and whether it may pause.
    pub rule: Option<(String, bool)>,
    /// A program whose use of camera and microphone is no meeting.
    pub ignore: Option<String>,
    /// A program whose use of camera and microphone counts again.
    pub heed: Option<String>,
}

/// What the owner of a machine wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareWish {
    /// Share, as far as the rules agree.
    On,
    /// Do not share.
    Off,
    /// Do not share: this machine is there to use the others.
    FleetOnly,
    /// Pause.
    Pause(PauseFor),
    /// Finish what runs for others, then pause until the owner resumes.
    Finish,
}

/// How long a pause lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseFor {
    /// So long; at most a month.
    Span(Duration),
    /// Until tomorrow morning.
    Tomorrow,
    /// Until the owner resumes.
    Resumed,
}
