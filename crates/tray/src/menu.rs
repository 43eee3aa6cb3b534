//! The menu: what is the case first, then what can be done about it.

use crate::click::id;
use crate::words::{Language, Say};
use crate::{Herd, Running, Share, Sharing, State, Why};

/// Characters of the longest row; more would make the menu wider than some screens.
const LONGEST: usize = 72;

/// The rows, from the top down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Menu {
    /// The rows.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What a click is called, the same for the same meaning at any time; unique within a menu.
    pub id: &'static str,
    /// What it says, at most 72 characters; empty for a separator.
    pub text: String,
    /// What kind of row it is.
    pub kind: Kind,
    /// Whether it can be clicked.
    pub enabled: bool,
}

/// What a row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It says what is the case; never enabled.
    Status,
    /// It does something.
    Action,
    /// It is on or off.
    Check(bool),
    /// It opens more rows.
    Submenu(Vec<Row>),
    /// A line.
    Separator,
}

/// The menu of `state`.
pub fn menu(state: &State, language: Language) -> Menu {
    let build = Build { language };
    let mut rows = build.status(state);
    rows.push(separator("separator.status"));
    match &state.herd {
        Herd::Running(running) => rows.extend(build.running(running)),
        Herd::NotRunning { .. } => rows.push(build.action(id::START, Say::Start)),
        Herd::Starting | Herd::Stopping { .. } | Herd::PortTaken { .. } => {}
    }
    if !matches!(state.herd, Herd::Stopping { .. }) {
        rows.push(build.action(id::DASHBOARD, Say::OpenDashboard));
        rows.push(separator("separator.desktop"));
        if let Some(at_login) = state.preferences.at_login {
            rows.push(build.check(id::LOGIN, Say::StartAtLogin, at_login));
        }
        let switches = vec![
            build.check(id::TELL_STARVED, Say::TellStarved, state.preferences.tell_starved),
            build.check(id::TELL_ASKING, Say::TellAsking, state.preferences.tell_asking),
            build.check(id::TELL_PAUSED, Say::TellPaused, state.preferences.tell_paused),
        ];
        rows.push(build.submenu("notifications", Say::Notifications, switches));
        rows.push(separator("separator.quit"));
    }
    let quit = if matches!(state.herd, Herd::Stopping { .. }) { Say::QuitNow } else { Say::Quit };
    rows.push(build.action(id::QUIT, quit));
    Menu { rows }
}

/// What is shown while the pointer rests on the icon: the name of the app and the status lines.
pub fn tooltip(state: &State, language: Language) -> String {
    let mut lines = vec![language.say(Say::App)];
    lines.extend(Build { language }.status(state).into_iter().map(|row| row.text));
    lines.join("\n")
}

struct Build {
    language: Language,
}

impl Build {
    fn say(&self, say: Say<'_>) -> String {
        shortened(&self.language.say(say))
    }

    fn facts(&self, facts: &[Say<'_>]) -> String {
        let facts: Vec<String> = facts.iter().map(|fact| self.language.say(*fact)).collect();
        shortened(&facts.join(&self.language.say(Say::Dot)))
    }

    fn action(&self, id: &'static str, say: Say<'_>) -> Row {
        Row { id, text: self.say(say), kind: Kind::Action, enabled: true }
    }

    fn check(&self, id: &'static str, say: Say<'_>, is_on: bool) -> Row {
        Row { id, text: self.say(say), kind: Kind::Check(is_on), enabled: true }
    }

    fn submenu(&self, id: &'static str, say: Say<'_>, rows: Vec<Row>) -> Row {
        Row { id, text: self.say(say), kind: Kind::Submenu(rows), enabled: true }
    }

    fn status(&self, state: &State) -> Vec<Row> {
        let line = |id, text| Row { id, text, kind: Kind::Status, enabled: false };
        let first = |say| vec![line("status.share", self.say(say))];
        match &state.herd {
            Herd::Starting => first(Say::Starting),
            Herd::Stopping { in_flight } => first(Say::Stopping(*in_flight)),
            Herd::PortTaken { port, by } => first(Say::PortTaken(*port, by)),
            Herd::NotRunning { why } => {
                let mut rows = first(Say::NotRunning);
                rows.extend(why.as_deref().map(|why| line("status.problem", shortened(why))));
                rows
            }
            Herd::Running(running) => {
                let mut rows =
                    vec![line("status.share", self.sharing(running)), line("status.fleet", self.fleet(running))];
                let problem = running.problem.as_deref();
                rows.extend(problem.map(|problem| line("status.problem", self.say(Say::Problem(problem)))));
                rows
            }
        }
    }

    /// "Sharing · 2 requests running", "Paused: in a meeting · 1 request running".
    fn sharing(&self, running: &Running) -> String {
        let Running { share, in_flight, queued, .. } = running;
        let reason = self.reason(share);
        let is_idle = *in_flight == 0 && *queued == 0;
        let mut facts = vec![match (share.sharing, share.why) {
            (Sharing::On, _) if !running.can_serve() => Say::NoServer,
            (Sharing::On, _) if share.anyway => Say::SharingAnyway(share.until),
            (Sharing::On, _) if is_idle => Say::SharingModels(running.own_models, &running.servers),
            (Sharing::On, _) => Say::Sharing,
            (Sharing::Paused, Why::Owner | Why::Nothing) => Say::Paused(share.until),
            (Sharing::Paused, _) => Say::PausedFor(&reason),
            (Sharing::Draining, _) => Say::Finishing(*in_flight),
            (Sharing::Off, Why::FleetOnly) => Say::FleetOnly,
            (Sharing::Off, _) => Say::NotSharing,
        }];
        if *in_flight > 0 && share.sharing != Sharing::Draining {
            facts.push(Say::Running(*in_flight));
        }
        if *queued > 0 {
            facts.push(Say::Waiting(*queued));
        }
        self.facts(&facts)
    }

    /// "Leader · 3 machines · 11 models".
    fn fleet(&self, running: &Running) -> String {
        let fleet = &running.fleet;
        if running.is_alone() {
            let models = (fleet.models > 0).then_some(Say::Models(fleet.models));
            return self.facts(&[Some(Say::Alone), models].into_iter().flatten().collect::<Vec<_>>());
        }
        let leader = match &fleet.leader {
            _ if fleet.leads => Say::Leader,
            Some(name) => Say::LedBy(name),
            None => Say::NoLeader,
        };
        let machines = match fleet.here {
            Some(here) if here < fleet.machines => Say::MachinesHere(here, fleet.machines),
            _ => Say::Machines(fleet.machines),
        };
        self.facts(&[leader, machines, Say::Models(fleet.models)])
    }

    fn reason(&self, share: &Share) -> String {
        match share.why {
            Why::Other if !share.sentence.is_empty() => share.sentence.trim_end_matches('.').to_owned(),
            why => self.language.say(Say::Reason(why)),
        }
    }

    fn running(&self, running: &Running) -> Vec<Row> {
        let share = &running.share;
        let mut rows = Vec::new();
        if let Some(asking) = &running.asking {
            let choice = vec![self.action(id::ALLOW, Say::Allow), self.action(id::REFUSE, Say::Refuse)];
            rows.push(self.submenu("asks", Say::Asks(&asking.name), choice));
        }
        if running.problem.is_some() {
            rows.push(self.action(id::PROBLEM, Say::ShowProblem));
        }
        if !running.can_serve() {
            rows.push(self.action(id::SET_UP, Say::SetUp));
        }
        if !rows.is_empty() {
            rows.push(separator("separator.first"));
        }
        rows.push(self.check(id::SHARE, Say::ShareCompute, share.is_wished()));
        rows.push(self.submenu("pause", Say::Pause, self.pauses(share)));
        let can_finish = Row { enabled: share.sharing == Sharing::On, ..self.action(id::FINISH, Say::FinishThenPause) };
        rows.push(can_finish);
        rows.push(self.check(id::FLEET_ONLY, Say::UseFleetOnly, share.is_fleet_only()));
        if let Some(is_on) = share.rules.meetings {
            rows.push(self.check(id::MEETINGS, Say::PauseInMeetings, is_on));
        }
        if share.sharing == Sharing::Paused && share.why.is_a_rule() {
            let mut about = Vec::new();
            if !share.sentence.is_empty() {
                let text = shortened(&share.sentence);
                about.push(Row { id: "why.sentence", text, kind: Kind::Status, enabled: false });
            }
            about.push(self.action(id::ANYWAY, Say::ShareAnyway));
            rows.push(self.submenu("why", Say::WhyPaused(&self.reason(share)), about));
        }
        rows.push(separator("separator.fleet"));
        rows.push(self.action(id::ADD_DEVICE, Say::AddDevice));
        rows
    }

    fn pauses(&self, share: &Share) -> Vec<Row> {
        let mut rows = Vec::new();
        if matches!(share.sharing, Sharing::Paused | Sharing::Draining) && !share.why.is_a_rule() {
            rows.push(self.action(id::RESUME, Say::Resume));
            rows.push(separator("separator.pause"));
        }
        rows.extend([
            self.action(id::PAUSE_30, Say::Pause30),
            self.action(id::PAUSE_60, Say::Pause60),
            self.action(id::PAUSE_TOMORROW, Say::PauseTomorrow),
            self.action(id::PAUSE_OPEN, Say::PauseOpen),
        ]);
        rows
    }
}

impl Share {
    /// Whether the owner wants to share, even if a rule pauses that now.
    pub(crate) fn is_wished(&self) -> bool {
        match self.sharing {
            Sharing::On => true,
            Sharing::Paused => self.why.is_a_rule(),
            Sharing::Draining | Sharing::Off => false,
        }
    }

    /// Whether the owner wants this machine to use the others only.
    pub(crate) fn is_fleet_only(&self) -> bool {
        self.sharing == Sharing::Off && self.why == Why::FleetOnly
    }
}

impl Menu {
    /// Every row, those of submenus after the row that opens them.
    pub fn all(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().flat_map(|row| {
            let inner: &[Row] = match &row.kind {
                Kind::Submenu(rows) => rows,
                _ => &[],
            };
            std::iter::once(row).chain(inner)
        })
    }
}

fn separator(id: &'static str) -> Row {
    Row { id, text: String::new(), kind: Kind::Separator, enabled: false }
}

/// `text` on one line, with an ellipsis where it is too long.
fn shortened(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= LONGEST {
        return text;
    }
    let mut cut: String = text.chars().take(LONGEST - 1).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

/// Text of the menu, for a look and for tests: one row a line, `[x]` for what is on, `-` for what cannot be clicked.
impl std::fmt::Display for Menu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn write(f: &mut std::fmt::Formatter<'_>, rows: &[Row], depth: usize) -> std::fmt::Result {
            for row in rows {
                let mark = match &row.kind {
                    Kind::Separator => {
                        writeln!(f, "{:depth$}---", "")?;
                        continue;
                    }
                    Kind::Check(true) => "[x] ",
                    Kind::Check(false) => "[ ] ",
                    Kind::Submenu(_) => "> ",
                    _ if !row.enabled => "- ",
                    _ => "",
                };
                writeln!(f, "{:depth$}{mark}{}", "", row.text)?;
                if let Kind::Submenu(rows) = &row.kind {
                    write(f, rows, depth + 4)?;
                }
            }
            Ok(())
        }
        write(f, &self.rows, 0)
    }
}

#[cfg(test)]
pub(crate) mod fixtures;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::fixtures::*;
    use super::*;
    use crate::icon;

    /// A picture of each menu, kept as a file. `GOLDEN=write` writes them anew.
    #[test]
    fn menus_look_as_they_did() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        #[allow(clippy::disallowed_methods, reason = "a switch of the test")]
        let writes = std::env::var("GOLDEN").is_ok_and(|golden| golden == "write");
        for (name, state) in all() {
            let picture = format!(
                "icon {}\n\n{}\n{}\n",
                icon(&state).name(),
                tooltip(&state, Language::English),
                menu(&state, Language::English)
            );
            let file = directory.join(format!("{name}.txt"));
            if writes {
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(&file, &picture).unwrap();
            }
            assert_eq!(picture, std::fs::read_to_string(&file).unwrap_or_default(), "{name}");
        }
    }

    #[test]
    fn ids_are_unique_and_rows_fit() {
        for (name, state) in all() {
            let menu = menu(&state, Language::English);
            let ids: BTreeSet<_> = menu.all().map(|row| row.id).collect();
            assert_eq!(ids.len(), menu.all().count(), "{name}");
            assert!(menu.all().all(|row| row.text.chars().count() <= LONGEST), "{name}");
            let is_status = |row: &&Row| row.kind == Kind::Status;
            assert!(menu.rows.iter().take_while(is_status).count() > 0, "{name} begins with what is the case");
            assert!(menu.all().filter(is_status).all(|row| !row.enabled), "{name}");
        }
    }

    #[test]
    fn nothing_can_break_a_row_or_make_it_endless() {
        let mut state = problem();
        if let Herd::Running(running) = &mut state.herd {
            running.problem = Some(format!("a\nb\u{1b} {}", "ä".repeat(500)));
        }
        let menu = menu(&state, Language::English);
        let row = menu.rows.iter().find(|row| row.id == "status.problem").unwrap();
        assert!(row.text.starts_with("Problem: a b ") && row.text.ends_with('…'), "{}", row.text);
        assert_eq!(row.text.chars().count(), LONGEST);
    }

    #[test]
    fn a_rule_does_not_undo_the_wish_to_share() {
        for (state, wished) in [
            (idle(), true),
            (in_a_meeting(), true),
            (paused_by_owner(), false),
            (finishing(), false),
            (fleet_only(), false),
            (off(), false),
        ] {
            assert_eq!(state.running().unwrap().share.is_wished(), wished, "{state:?}");
        }
    }
}
