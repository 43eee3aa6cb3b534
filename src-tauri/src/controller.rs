//! The one controller: knows the state, shows it, and carries out what clicks mean.
//!
//! Runs on a thread and a runtime of its own until the app ends. All that can wake it are the events of one channel, its own
//! timer, and the end of the question that it has asked.

mod answers;
mod local;

use std::net::SocketAddr;
use std::time::Duration;

use node::settings::Settings;
use proto::{Clock, Moment};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tray::{Command, Herd, Language, Page, Preferences, Say, State, Told, Topic, command, icon, menu, tooltip};

use crate::client::{Client, Fault};
use crate::desktop::{Content, Desktop, Shown};
use crate::finding::{self, Found};
use crate::preferences::File;
use answers::Known;

/// How often is looked while nothing tells of changes.
const LOOK_EACH: Duration = Duration::from_secs(2);
/// How often once nothing has changed for [`CALM_AFTER`]: looking is most of what the app does while nobody uses it.
const LOOK_WHEN_CALM: Duration = Duration::from_secs(4);
const CALM_AFTER: Duration = Duration::from_secs(60);
/// How soon after something was done is looked again.
const LOOK_SOON: Duration = Duration::from_millis(250);
/// How often is looked whether a port is free by now, or a Herd is back.
const LOOK_FOR_HERD_EACH: Duration = Duration::from_secs(3);
/// How often is looked whether a node that was told to stop has.
const LOOK_FOR_END_EACH: Duration = Duration::from_millis(50);
/// A face starts a node of its own no sooner than this after the Herd that it showed is gone: a service that is being
/// restarted must get its port back.
const GONE_FOR: Duration = Duration::from_secs(60);

/// What wakes the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A row of the menu was clicked.
    Clicked(String),
    /// The person wants to see the window: a second start, a click on the icon or on the app.
    Opened,
    /// The system wants the app to end.
    Ended,
}

/// What the controller is made with.
pub(crate) struct Start<D> {
    pub(crate) desktop: D,
    /// The settings and their warnings, or why there are none.
    pub(crate) settings: Result<(Settings, Vec<String>), String>,
    pub(crate) preferences: File,
    /// Whether the window opens once there is something to see.
    pub(crate) opens: bool,
    pub(crate) clock: Clock,
}

/// Runs until the app is to end; then it has told the desktop so.
pub(crate) async fn run<D: Desktop>(start: Start<D>, mut events: mpsc::Receiver<Event>) {
    let Start { desktop, settings, preferences, opens, clock } = start;
    let settings = match settings {
        Ok(settings) => settings,
        Err(why) => {
            let mut controller = Controller::new(desktop, None, preferences, clock);
            controller.fail(why);
            if opens {
                controller.open(Page::Home).await;
            }
            while let Some(event) = events.recv().await {
                if controller.handle(event).await {
                    break;
                }
            }
            controller.desktop.exit();
            return;
        }
    };
    let mut controller = Controller::new(desktop, Some(settings), preferences, clock);
    controller.show();
    controller.begin().await;
    controller.look().await;
    if opens {
        controller.open(Page::Home).await;
    }
    loop {
        let wait = controller.wait();
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    if controller.handle(event).await {
                        break;
                    }
                }
                None => break,
            },
            () = tokio::time::sleep(wait) => {
                if controller.look().await {
                    break;
                }
            }
        }
    }
    controller.desktop.exit();
}

struct Controller<D> {
    desktop: D,
    /// None: they cannot be read, and nothing can be started.
    settings: Option<(Settings, Vec<String>)>,
    preferences: File,
    told: Told,
    clock: Clock,
    language: Language,
    herd: Herd,
    /// The node in this process.
    node: Option<node::Running>,
    /// The Herd that is shown, in this process or in another.
    client: Option<Client>,
    known: Known,
    shown: Option<Shown>,
    /// When that last changed.
    changed: Moment,
    /// The last thing that was done, after which is looked soon.
    acted: bool,
    /// Since when the Herd of another process does not answer.
    gone: Option<Moment>,
    /// Whether the window shows a notice, to be replaced once there is a dashboard.
    shows_notice: bool,
}

impl<D: Desktop> Controller<D> {
    fn new(desktop: D, settings: Option<(Settings, Vec<String>)>, preferences: File, clock: Clock) -> Controller<D> {
        Controller {
            desktop,
            settings,
            told: Told::before(&preferences.kept.told),
            preferences,
            clock,
            language: Language::default(),
            herd: Herd::Starting,
            node: None,
            client: None,
            known: Known::default(),
            shown: None,
            changed: clock.now(),
            acted: false,
            gone: None,
            shows_notice: false,
        }
    }

    fn state(&self) -> State {
        let kept = &self.preferences.kept;
        let preferences = Preferences {
            at_login: self.desktop.at_login(),
            tell_starved: kept.tell_starved,
            tell_asking: kept.tell_asking,
            tell_paused: kept.tell_paused,
        };
        State { herd: self.herd.clone(), preferences }
    }

    /// Shows what is known, if it is another than what is shown.
    fn show(&mut self) {
        let state = self.state();
        let shown =
            Shown { menu: menu(&state, self.language), icon: icon(&state), tooltip: tooltip(&state, self.language) };
        if self.shown.as_ref() != Some(&shown) {
            self.desktop.show(&shown);
            self.shown = Some(shown);
            self.changed = self.clock.now();
        }
    }

    /// Looks who has the port, and starts a node if nobody has.
    async fn begin(&mut self) {
        let Some((settings, warnings)) = self.settings.clone() else { return };
        let addresses: Vec<SocketAddr> =
            settings.host.addresses().iter().map(|ip| SocketAddr::new(*ip, settings.port)).collect();
        // Port 0 means any free one, so nobody has it.
        let found = if settings.port == 0 { Found::Nobody } else { finding::look(&addresses).await };
        match found {
            Found::Herd(address) => self.face(Client::new(address, &settings.data_dir)),
            Found::Other(by) => {
                self.herd = Herd::PortTaken { port: settings.port, by };
                self.show();
            }
            Found::Nobody => match node::start(settings.clone(), warnings).await {
                Ok(node) => {
                    let address = node.listening().iter().find_map(|address| address.parse().ok());
                    self.node = Some(node);
                    match address {
                        Some(address) => self.face(Client::new(address, &settings.data_dir)),
                        None => self.fail("it listens nowhere".to_owned()),
                    }
                }
                Err(error) => self.fail(format!("{error:#}")),
            },
        }
    }

    /// Shows the Herd behind `client` from now on, beginning with the next look.
    fn face(&mut self, client: Client) {
        self.client = Some(client);
        self.gone = None;
        self.known = Known::default();
        self.herd = Herd::Starting;
    }

    fn fail(&mut self, why: String) {
        tracing::error!(why, "there is no Herd on this machine");
        self.herd = Herd::NotRunning { why: Some(why) };
        self.show();
    }

    /// How long until the next look.
    fn wait(&mut self) -> Duration {
        match self.herd {
            Herd::Stopping { .. } => LOOK_FOR_END_EACH,
            _ if std::mem::take(&mut self.acted) => LOOK_SOON,
            Herd::Running(_) if self.clock.now().since(self.changed) > CALM_AFTER => LOOK_WHEN_CALM,
            Herd::Running(_) | Herd::Starting => LOOK_EACH,
            Herd::PortTaken { .. } | Herd::NotRunning { .. } => LOOK_FOR_HERD_EACH,
        }
    }

    /// Looks what has changed; whether the app is to end.
    async fn look(&mut self) -> bool {
        if matches!(self.herd, Herd::Stopping { .. }) {
            return self.has_stopped().await;
        }
        if let Some(client) = self.client.clone() {
            match self.known.refresh(&client, self.clock.now(), self.preferences.kept.tell_starved).await {
                Ok(()) => self.told_something().await,
                Err(fault) => self.lost(&fault).await,
            }
        } else if matches!(self.herd, Herd::PortTaken { .. }) {
            self.begin().await;
            self.acted = true;
        }
        false
    }

    /// Shows what was told, and notifies of it.
    async fn told_something(&mut self) {
        self.gone = None;
        let clock = self.clock;
        let Some(running) = self.known.running(&|time| local::until(time, clock.unix_ms())) else { return };
        self.herd = Herd::Running(Box::new(running));
        self.show();
        if std::mem::take(&mut self.shows_notice) {
            let content = self.content(Page::Home).await;
            self.desktop.replace(content);
        }
        let state = self.state();
        let codes = self.told.codes();
        for notice in self.told.news(&state, self.language) {
            self.desktop.notify(&notice);
        }
        if self.told.codes() != codes {
            self.preferences.kept.told = self.told.codes();
            self.preferences.store();
        }
        for model in self.known.starved() {
            let now_s = self.clock.now().since(Moment::at(Duration::ZERO)).as_secs();
            if let Some(notice) = self.told.starved(&model, now_s, &state, self.language) {
                self.desktop.notify(&notice);
            }
        }
    }

    /// The Herd that is shown did not answer.
    async fn lost(&mut self, fault: &Fault) {
        if let Some(node) = &self.node {
            // A node of this process that is slow to answer is no reason to say that it is gone.
            if !node.has_ended() {
                return;
            }
            let ended = self.node.take().map(node::Running::wait);
            let why = match ended {
                Some(Err(error)) => format!("{error:#}"),
                _ => "it has ended by itself".to_owned(),
            };
            self.client = None;
            self.fail(why);
            return;
        }
        if !matches!(fault, Fault::Refused) {
            return;
        }
        let now = self.clock.now();
        let gone = *self.gone.get_or_insert(now);
        if !matches!(self.herd, Herd::NotRunning { .. }) {
            self.herd = Herd::NotRunning { why: None };
            self.show();
        }
        if now.since(gone) >= GONE_FOR {
            self.client = None;
            self.begin().await;
            self.acted = true;
        }
    }

    /// Whether the node that was told to stop has.
    async fn has_stopped(&mut self) -> bool {
        match &self.node {
            Some(node) if !node.has_ended() => false,
            _ => {
                if let Some(Err(error)) = self.node.take().map(node::Running::wait) {
                    tracing::error!(error = format!("{error:#}"), "the node ended with an error");
                }
                true
            }
        }
    }

    /// Carries out what an event means; whether the app is to end.
    async fn handle(&mut self, event: Event) -> bool {
        let meant = match event {
            Event::Clicked(row) => {
                let meant = command(&self.state(), &row);
                // The toolkit has changed the mark of a check item by itself: what is shown is not what was told.
                self.shown = None;
                meant
            }
            Event::Opened => Some(Command::Open(Page::Home)),
            Event::Ended => Some(Command::Quit),
        };
        let ends = match meant {
            Some(meant) => self.carry_out(meant).await,
            None => false,
        };
        self.show();
        ends
    }

    async fn carry_out(&mut self, command: Command) -> bool {
        match command {
            Command::Share(order) => self.tell("/fleet/share", &order.body()).await,
            Command::Answer { id, allow } => {
                self.tell("/fleet/pair/answer", &json!({ "id": id, "allow": allow })).await;
            }
            Command::Open(page) => self.open(page).await,
            Command::Start => self.desktop.restart(),
            Command::AtLogin(on) => self.desktop.set_at_login(on),
            Command::Tell(topic, on) => {
                let kept = &mut self.preferences.kept;
                match topic {
                    Topic::Starved => kept.tell_starved = on,
                    Topic::Asking => kept.tell_asking = on,
                    Topic::Paused => kept.tell_paused = on,
                }
                self.preferences.store();
            }
            Command::Quit => return self.quit(),
        }
        false
    }

    /// Ends at once if there is no node in this process, else once it has stopped.
    fn quit(&mut self) -> bool {
        let Some(node) = &self.node else { return true };
        node.stop();
        if !matches!(self.herd, Herd::Stopping { .. }) {
            let in_flight = match &self.herd {
                Herd::Running(running) => running.in_flight,
                _ => 0,
            };
            self.herd = Herd::Stopping { in_flight };
        }
        false
    }

    /// Tells Herd something, and looks soon what became of it.
    async fn tell(&mut self, path: &str, body: &Value) {
        let Some(client) = self.client.clone() else { return };
        if let Err(fault) = client.post(path, body).await {
            tracing::warn!(path, %fault, "Herd did not do what was clicked");
        }
        // At once, so that the menu shows it the next time that it is opened.
        self.known.forget();
        if !matches!(self.herd, Herd::Stopping { .. }) {
            self.look().await;
        }
        self.acted = true;
    }

    /// Opens the window with `page`, or with what keeps it from being shown.
    async fn open(&mut self, page: Page) {
        // What is being read or typed there is not taken away: the person asked for the window, not for a page of it.
        if page == Page::Home && !self.shows_notice && self.client.is_some() && self.desktop.focus() {
            return;
        }
        let content = self.content(page).await;
        self.shows_notice = matches!(content, Content::Notice(..));
        self.desktop.open(content);
    }

    async fn content(&self, page: Page) -> Content {
        let say = |say| self.language.say(say);
        match (&self.herd, &self.client) {
            (Herd::PortTaken { port, by }, _) => {
                let lines = vec![say(Say::PortTaken(*port, by)) + ".", say(Say::PortAdvice(*port))];
                Content::Notice(say(Say::NoticeTitle), lines)
            }
            (Herd::Running(_), Some(client)) => Content::Page(signed_in(client, page).await),
            (Herd::NotRunning { why }, _) => {
                let mut lines: Vec<String> = why.iter().map(|why| sentence(why)).collect();
                lines.push(say(Say::StartAdvice));
                let title = if why.is_some() { Say::NoticeTitle } else { Say::NotRunning };
                Content::Notice(say(title), lines)
            }
            _ => Content::Notice(say(Say::App), vec![say(Say::Starting)]),
        }
    }
}

/// The address of `page`, with a ticket that signs it in once. Without one it can be read, and says how to sign in.
async fn signed_in(client: &Client, page: Page) -> String {
    let address = format!("http://{}{}", client.address, page.path());
    match client.post("/dashboard/api/ticket", &json!({})).await {
        Ok(answer) => match answer["ticket"].as_str() {
            Some(ticket) => format!("{address}#t={ticket}"),
            None => address,
        },
        Err(fault) => {
            tracing::warn!(%fault, "the dashboard is shown without signing in");
            address
        }
    }
}

/// `text` with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let text = letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect());
    if text.ends_with(['.', '!', '?', '…']) { text } else { text + "." }
}
