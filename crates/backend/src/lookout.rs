//! Watches one place for as long as the watcher runs: looks, reports, waits.

use std::sync::Arc;
use std::time::Duration;

use proto::{BackendKind, Clock, Health, Moment};

use crate::board::{Board, Report, Sighting};
use crate::http::{Client, Trouble};
use crate::meet::Server;
use crate::ollama::Ollama;
use crate::portrait::Portrait;
use crate::rhythm::{Look, Rhythm};
use crate::{Pace, Place};

/// Between two looks however often somebody asks for one: a storm of failed requests must not become a storm of looks.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// What watches one place.
pub(crate) struct Lookout {
    at: usize,
    board: Arc<Board>,
    client: Client,
    clock: Clock,
    list_each: Duration,
    cloud_models: bool,
    address: String,
    guess: BackendKind,
    rhythm: Rhythm,
    /// Who answers there now.
    server: Option<Server>,
    /// What was known of the Ollama that went away: descriptions of its models stay true.
    earlier: Option<Ollama>,
    listed: Option<Moment>,
    /// What was said last, by whomever.
    portrait: Option<Portrait>,
    health: Health,
}

impl Lookout {
    pub(crate) fn new(
        at: usize,
        place: &Place,
        board: Arc<Board>,
        pace: &Pace,
        clock: Clock,
        own_id: &str,
        cloud_models: bool,
    ) -> Lookout {
        let connect = pace.connect_to(&place.address);
        Lookout {
            at,
            board,
            client: Client::new(place.address.clone(), own_id.to_owned(), connect, pace.answer),
            clock,
            list_each: pace.models,
            cloud_models,
            address: place.address.authority(),
            guess: if place.address.port == 11434 { BackendKind::Ollama } else { BackendKind::OpenAi },
            rhythm: Rhythm::new(pace.clone(), place.given),
            server: None,
            earlier: None,
            listed: None,
            portrait: None,
            health: Health::Down { reason: "was not looked at yet".to_owned() },
        }
    }

    /// Watches without end. May be dropped at any await.
    pub(crate) async fn watch(mut self) {
        loop {
            let look = self.look().await;
            let pause = self.rhythm.looked(look, self.clock.now());
            self.report();
            self.wait(pause).await;
        }
    }

    /// Looks once; whoever went away or changed is met anew.
    async fn look(&mut self) -> Look {
        let now = self.clock.now();
        let due = self.listed.is_none_or(|listed| now.since(listed) >= self.list_each);
        let list = self.board.begin_look(self.at) || due;
        if let Some(server) = &mut self.server {
            match server.look(&self.client, list).await {
                Ok(look) => {
                    if list {
                        self.listed = Some(now);
                    }
                    return look;
                }
                Err(Trouble::Silent) => return Look::Silent,
                Err(Trouble::Gone(reason)) => {
                    self.part();
                    return Look::Gone(reason);
                }
                Err(Trouble::Odd | Trouble::Foreign(_)) => self.part(),
            }
        }
        match Server::meet(&self.client, self.cloud_models, &mut self.earlier).await {
            Ok((server, look)) => {
                self.server = Some(server);
                self.listed = Some(now);
                look
            }
            Err(Trouble::Silent) => Look::Silent,
            Err(Trouble::Gone(reason)) => Look::Gone(reason),
            Err(Trouble::Foreign(foreign)) => Look::Foreign(foreign),
            Err(Trouble::Odd) => Look::Foreign(crate::http::Foreign::NoInference),
        }
    }

    fn part(&mut self) {
        if let Some(Server::Ollama(ollama)) = self.server.take() {
            self.earlier = Some(*ollama);
        }
        self.listed = None;
    }

    fn report(&mut self) {
        if let Some(portrait) = self.server.as_ref().and_then(Server::portrait) {
            self.portrait = Some(portrait);
        }
        let sighting = if self.rhythm.is_forgotten(self.clock.now()) {
            self.portrait = None;
            self.earlier = None;
            None
        } else {
            if let Some(health) = self.rhythm.health(&self.address) {
                if std::mem::discriminant(&health) != std::mem::discriminant(&self.health) {
                    tracing::info!(place = %self.address, now = ?health, "a backend's health changed");
                }
                self.health = health;
            }
            Some(Sighting { portrait: self.portrait.clone(), guess: self.guess, health: self.health.clone() })
        };
        self.board.report(self.at, Report { sighting, note: self.rhythm.note(&self.address) });
    }

    /// Waits until it is time to look again or somebody asks; meanwhile reports what becomes known.
    async fn wait(&mut self, pause: Duration) {
        let board = Arc::clone(&self.board);
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            let more = async {
                match &mut self.server {
                    Some(server) => server.more_is_known(&self.client).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut over => return,
                () = board.asked(self.at) => return tokio::time::sleep(LEAST_PAUSE.min(pause)).await,
                () = more => self.report(),
            }
        }
    }
}
