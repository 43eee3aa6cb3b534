//! Which of the icons is shown.

use crate::{Herd, Running, Sharing, State, Why};

/// One of the pictures; what each looks like is the shell's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Icon {
    /// It shares and nothing runs.
    Sharing,
    /// Requests run.
    Busy,
    /// It takes no work for a while.
    Paused,
    /// It takes no work because of a meeting.
    Meeting,
    /// It shares, and leads the fleet.
    Leading,
    /// It shares, and is the whole fleet.
    Alone,
    /// Something needs the owner.
    Problem,
    /// It does not share at all, or there is no Herd yet.
    Off,
}

impl Icon {
    /// Every icon there is.
    pub const ALL: [Icon; 8] =
        [Icon::Sharing, Icon::Busy, Icon::Paused, Icon::Meeting, Icon::Leading, Icon::Alone, Icon::Problem, Icon::Off];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Icon::Sharing => "sharing",
            Icon::Busy => "busy",
            Icon::Paused => "paused",
            Icon::Meeting => "meeting",
            Icon::Leading => "leading",
            Icon::Alone => "alone",
            Icon::Problem => "problem",
            Icon::Off => "off",
        }
    }
}

/// The icon of `state`: what the owner must know wins over what is nice to know.
pub fn icon(state: &State) -> Icon {
    match &state.herd {
        Herd::Starting | Herd::Stopping { .. } => Icon::Off,
        Herd::NotRunning { .. } | Herd::PortTaken { .. } => Icon::Problem,
        Herd::Running(running) => of(running),
    }
}

fn of(running: &Running) -> Icon {
    let share = &running.share;
    if running.problem.is_some() {
        return Icon::Problem;
    }
    match (share.sharing, share.why) {
        (Sharing::Paused | Sharing::Draining, Why::Meeting) => Icon::Meeting,
        (Sharing::Paused | Sharing::Draining, _) => Icon::Paused,
        (Sharing::Off, _) => Icon::Off,
        (Sharing::On, _) if running.in_flight > 0 => Icon::Busy,
        (Sharing::On, _) if !running.can_serve() => Icon::Off,
        (Sharing::On, _) if running.is_alone() => Icon::Alone,
        (Sharing::On, _) if running.fleet.leads => Icon::Leading,
        (Sharing::On, _) => Icon::Sharing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::menu::fixtures::*;

    #[test]
    fn what_needs_the_owner_wins() {
        for (state, expected) in [
            (starting(), Icon::Off),
            (not_running(), Icon::Problem),
            (port_taken(), Icon::Problem),
            (idle(), Icon::Leading),
            (follower(), Icon::Sharing),
            (busy(), Icon::Busy),
            (alone(), Icon::Alone),
            (paused_by_owner(), Icon::Paused),
            (in_a_meeting(), Icon::Meeting),
            (finishing(), Icon::Paused),
            (fleet_only(), Icon::Off),
            (no_server(), Icon::Off),
            (problem(), Icon::Problem),
            (stopping(), Icon::Off),
        ] {
            assert_eq!(icon(&state), expected, "{state:?}");
        }
    }

    #[test]
    fn names_are_different() {
        let names: std::collections::BTreeSet<_> = Icon::ALL.iter().map(|icon| icon.name()).collect();
        assert_eq!(names.len(), Icon::ALL.len());
    }
}
