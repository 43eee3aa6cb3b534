//! Every word that the tray shows. A second language is a second function like [`english`], and the compiler says what it
//! lacks.

use crate::{Until, Why};

/// A language of the tray.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
}

impl Language {
    /// `say` in this language.
    pub fn say(self, say: Say<'_>) -> String {
        match self {
            Language::English => english(say),
        }
    }
}

/// All that can be said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Say<'a> {
    /// The name of the app.
    App,
    /// Between two facts of one line.
    Dot,

    // What is the case.
    /// Herd is being started.
    Starting,
    /// Herd ends as soon as these many requests have.
    Stopping(u32),
    /// Nothing answers.
    NotRunning,
    /// Another program has the port.
    PortTaken(u16, &'a str),
    /// It takes work.
    Sharing,
    /// It takes work for these many models of these servers.
    SharingModels(u32, &'a [String]),
    /// It takes work although a rule would pause it.
    SharingAnyway(Option<Until>),
    /// It takes none for a while, as the owner said.
    Paused(Option<Until>),
    /// It takes none for a while, for a reason.
    PausedFor(&'a str),
    /// It takes none, and pauses as soon as these many requests have ended.
    Finishing(u32),
    /// It takes no work, as the owner said.
    NotSharing,
    /// It takes no work and only uses the fleet.
    FleetOnly,
    /// No inference server answers here.
    NoServer,
    /// Requests that run.
    Running(u32),
    /// Requests that wait.
    Waiting(u32),
    /// Something is broken.
    Problem(&'a str),
    /// A machine waits to be let in.
    Asks(&'a str),

    // The fleet.
    /// This machine leads.
    Leader,
    /// Another machine leads.
    LedBy(&'a str),
    /// Nobody leads now.
    NoLeader,
    /// This machine is the whole fleet.
    Alone,
    /// Machines in the fleet.
    Machines(u32),
    /// Machines of the fleet that are heard now.
    MachinesHere(u32, u32),
    /// Models that can be asked for.
    Models(u32),

    // Reasons, to follow "Paused:" and "Why paused:".
    /// A reason that is known by its code.
    Reason(Why),

    // What can be done.
    /// Share or not.
    ShareCompute,
    /// The choice of pauses.
    Pause,
    /// End the pause.
    Resume,
    /// Pause half an hour.
    Pause30,
    /// Pause an hour.
    Pause60,
    /// Pause until tomorrow.
    PauseTomorrow,
    /// Pause until told otherwise.
    PauseOpen,
    /// Let running work end, then pause.
    FinishThenPause,
    /// Take no work, use the fleet.
    UseFleetOnly,
    /// The rule about meetings.
    PauseInMeetings,
    /// Opens what explains the pause.
    WhyPaused(&'a str),
    /// Share although a rule says no.
    ShareAnyway,
    /// Begin pairing.
    AddDevice,
    /// Let the machine in that asks.
    Allow,
    /// Do not let it in.
    Refuse,
    /// Show the window.
    OpenDashboard,
    /// Show what can be done without an inference server.
    SetUp,
    /// Show what is wrong.
    ShowProblem,
    /// Start a Herd here.
    Start,
    /// Start with the session.
    StartAtLogin,
    /// The choice of notifications.
    Notifications,
    /// The switch of the first notification.
    TellStarved,
    /// The switch of the second one.
    TellAsking,
    /// The switch of the third one.
    TellPaused,
    /// End the app.
    Quit,
    /// End it without waiting for requests.
    QuitNow,

    // Notifications: a title and a text each.
    /// A request failed for want of machines.
    StarvedTitle,
    /// The model that nobody could serve.
    StarvedText(&'a str),
    /// A device asks to join.
    AskingTitle,
    /// Which one, and what to do.
    AskingText(&'a str),
    /// A rule paused this machine for the first time.
    PausedTitle,
    /// Which one, and what to do.
    PausedText(&'a str),

    // The window while there is no dashboard to show.
    /// Its title.
    NoticeTitle,
    /// What to do about a taken port.
    PortAdvice(u16),
    /// What to do when Herd could not be started.
    StartAdvice,
    /// The browser shows what the window could not.
    WindowFailed,
}

/// The English table.
pub fn english(say: Say<'_>) -> String {
    let text = match say {
        Say::App => "Herd",
        Say::Dot => " · ",
        Say::Starting => "Starting…",
        Say::Stopping(0) => "Stopping…",
        Say::Stopping(requests) => return format!("Stopping after {}", counted(requests, "request", "requests")),
        Say::NotRunning => "Herd is not running",
        Say::PortTaken(port, by) => return format!("Port {port} is taken by {by}"),
        Say::Sharing => "Sharing",
        Say::SharingModels(models, servers) => {
            return format!("Sharing {} ({})", counted(models, "model", "models"), servers.join(", "));
        }
        Say::SharingAnyway(until) => return format!("Sharing anyway{}", until.map(until_when).unwrap_or_default()),
        Say::Paused(until) => return format!("Paused{}", until.map(until_when).unwrap_or_default()),
        Say::PausedFor(reason) => return format!("Paused: {reason}"),
        Say::Finishing(0) => "Pausing",
        Say::Finishing(requests) => {
            return format!("Finishing {}, then pausing", counted(requests, "request", "requests"));
        }
        Say::NotSharing => "Not sharing",
        Say::FleetOnly => "Using the fleet only",
        Say::NoServer => "No inference server on this machine",
        Say::Running(requests) => return format!("{} running", counted(requests, "request", "requests")),
        Say::Waiting(requests) => return format!("{requests} waiting"),
        Say::Problem(problem) => return format!("Problem: {problem}"),
        Say::Asks(name) => return format!("‘{name}’ asks to join"),
        Say::Leader => "Leader",
        Say::LedBy(name) => return format!("Led by {name}"),
        Say::NoLeader => "No leader now",
        Say::Alone => "This machine alone",
        Say::Machines(machines) => return counted(machines, "machine", "machines"),
        Say::MachinesHere(here, all) => return format!("{here} of {all} machines here"),
        Say::Models(models) => return counted(models, "model", "models"),
        Say::Reason(why) => reason(why),
        Say::ShareCompute => "Share compute",
        Say::Pause => "Pause",
        Say::Resume => "Resume now",
        Say::Pause30 => "For 30 minutes",
        Say::Pause60 => "For 1 hour",
        Say::PauseTomorrow => "Until tomorrow",
        Say::PauseOpen => "Until I resume",
        Say::FinishThenPause => "Finish current, then pause",
        Say::UseFleetOnly => "Use the fleet only",
        Say::PauseInMeetings => "Pause in meetings",
        Say::WhyPaused(reason) => return format!("Why paused: {reason}"),
        Say::ShareAnyway => "Share anyway for an hour",
        Say::AddDevice => "Add a device…",
        Say::Allow => "Let it in",
        Say::Refuse => "Refuse",
        Say::OpenDashboard => "Open dashboard",
        Say::SetUp => "What can be done…",
        Say::ShowProblem => "Show the problem…",
        Say::Start => "Start Herd",
        Say::StartAtLogin => "Start at login",
        Say::Notifications => "Notifications",
        Say::TellStarved => "A request found no machine",
        Say::TellAsking => "A device asks to join",
        Say::TellPaused => "Paused by a rule, the first time",
        Say::Quit => "Quit",
        Say::QuitNow => "Quit without waiting",
        Say::StarvedTitle => "No machine could answer",
        Say::StarvedText(model) => {
            return format!("A request for {model} failed: no machine of the fleet could take it.");
        }
        Say::AskingTitle => "A device asks to join",
        Say::AskingText(name) => return format!("‘{name}’ has the code. Let it in from Herd's menu or the dashboard."),
        Say::PausedTitle => "Herd is paused",
        Say::PausedText(reason) => {
            return format!("Sharing pauses by itself: {reason}. Running work finishes. Herd's menu has the switch.");
        }
        Say::NoticeTitle => "Herd cannot start",
        Say::PortAdvice(port) => {
            return format!(
                "Apps on this machine look for Herd at port {port}. Stop the other program, and Herd starts by itself; \
                 or give Herd another port with the variable FLEET_PORT."
            );
        }
        Say::StartAdvice => "Choose “Start Herd” in its menu to try again. “herd doctor” in a terminal says more.",
        Say::WindowFailed => "The window does not open here; the dashboard is shown in the browser.",
    };
    text.to_owned()
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Nothing => "nothing keeps it from sharing",
        Why::Owner => "you paused it",
        Why::SwitchedOff => "you switched it off",
        Why::FleetOnly => "this machine only uses the fleet",
        Why::Meeting => "in a meeting",
        Why::Battery => "on battery",
        Why::Lid => "the lid is closed",
        Why::Display => "the display is off",
        Why::FullScreen => "a game or film fills the screen",
        Why::Heat => "the machine is hot",
        Why::Metered => "the network is metered",
        Why::Busy => "other programs need the machine",
        Why::Stopping => "Herd is stopping",
        Why::Other => "a rule says so",
    }
}

fn counted(number: u32, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// " until 14:30", with a space before, so that it can be left out.
fn until_when(Until { days, hour, minute }: Until) -> String {
    match days {
        0 => format!(" until {hour:02}:{minute:02}"),
        1 => format!(" until tomorrow {hour:02}:{minute:02}"),
        days => format!(" for {days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        let ollama = ["Ollama".to_owned()];
        let until = |days| Some(Until { days, hour: 7, minute: 5 });
        for (say, expected) in [
            (Say::Running(1), "1 request running"),
            (Say::Running(2), "2 requests running"),
            (Say::SharingModels(1, &ollama), "Sharing 1 model (Ollama)"),
            (Say::Stopping(0), "Stopping…"),
            (Say::Stopping(1), "Stopping after 1 request"),
            (Say::Paused(None), "Paused"),
            (Say::Paused(until(0)), "Paused until 07:05"),
            (Say::Paused(until(1)), "Paused until tomorrow 07:05"),
            (Say::Paused(until(3)), "Paused for 3 days"),
            (Say::MachinesHere(2, 3), "2 of 3 machines here"),
        ] {
            assert_eq!(Language::English.say(say), expected);
        }
    }
}
