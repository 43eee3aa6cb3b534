//! `herd pair`: shows a code, and stays until a machine has joined with it, the time is over, or Ctrl-C.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::ask::{is_yes, next_line};
use super::line;
use crate::World;
use crate::door::{Door, Lines, block_on};
use crate::failure::Failure;
use crate::show::{Tone, clean, sentence, span_s};

/// How long after the end of the code Herd may take to say so.
const GRACE_S: u64 = 60;
/// How long the code is taken to last until Herd says it.
const LASTS_S: u64 = 180;
/// How long the answer to a question may take to get there.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Goes back to the beginning of the line and clears it.
const AGAIN: &str = "\r\u{1b}[K";

/// Who says whether a machine may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consent {
    /// Whoever has the code may.
    Given,
    /// The person at the terminal.
    Person,
    /// A script that reads the questions as JSON, and answers on standard input or by HTTP.
    Script,
}

pub(super) fn pair(door: &Door, yes: bool, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let consent = match (yes, json) {
        (true, _) => Consent::Given,
        (false, true) => Consent::Script,
        (false, false) if world.terminal => Consent::Person,
        (false, false) => {
            return Err(Failure::Usage(
                "`herd pair` asks before it lets a machine in, and nobody can be asked here. Run it in a terminal, or \
                 with --yes to let in whoever has the code."
                    .to_owned(),
            ));
        }
    };
    let mut interrupt = std::mem::replace(&mut world.interrupt, Box::pin(std::future::pending()));
    let mut pairing = Pairing {
        door,
        consent,
        json,
        is_shown: false,
        question: None,
        left_s: LASTS_S,
        over_s: 0,
        counts: false,
        world,
    };
    block_on(async {
        tokio::select! {
            biased;
            () = &mut interrupt => {
                pairing.wipe()?;
                Err(Failure::Failed("The code is withdrawn, nobody has joined.".to_owned()))
            }
            ended = pairing.run() => ended,
        }
    })
}

/// A code that is shown.
struct Pairing<'a, 'w> {
    door: &'a Door,
    consent: Consent,
    json: bool,
    /// Whether the code is on the screen.
    is_shown: bool,
    /// The id of the machine that is asked about.
    question: Option<String>,
    /// Seconds that the code is still good for.
    left_s: u64,
    /// Seconds since it is not.
    over_s: u64,
    /// Whether the line on the screen is the one that counts down.
    counts: bool,
    world: &'a mut World<'w>,
}

/// What a script says to a question.
#[derive(Deserialize)]
struct Answer {
    id: String,
    allow: bool,
}

impl Pairing<'_, '_> {
    async fn run(&mut self) -> Result<(), Failure> {
        let mut lines: Lines =
            self.door.listen("/fleet/pair", &json!({ "yes": self.consent == Consent::Given })).await?;
        let mut typed = match self.consent {
            Consent::Given => None,
            Consent::Person | Consent::Script => typed(self.world),
        };
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                event = lines.next() => match event? {
                    Some(event) => {
                        if let Some(typed) = typed.as_mut().filter(|_| event["asks"].is_object()) {
                            self.forget(typed);
                        }
                        if self.happened(&event)? {
                            return Ok(());
                        }
                        if typed.is_none() && self.consent == Consent::Person {
                            self.decide(false).await?;
                        }
                    }
                    None => {
                        self.wipe()?;
                        return Err(Failure::Failed("Herd shows the code no more, nobody has joined.".to_owned()));
                    }
                },
                said = next(&mut typed) => {
                    if said.is_none() {
                        typed = None;
                    }
                    self.said(said).await?;
                }
                _ = second.tick() => self.tick()?,
            }
        }
    }

    /// What a person typed before there was a question is no answer to it.
    fn forget(&self, typed: &mut mpsc::Receiver<String>) {
        while self.consent == Consent::Person && typed.try_recv().is_ok() {}
    }

    /// Shows what happened; whether that is the end.
    fn happened(&mut self, event: &Value) -> Result<bool, Failure> {
        let text = |value: &Value| value.as_str().map(clean).unwrap_or_default();
        self.wipe()?;
        if let Some(error) = event["error"].as_str() {
            return Err(failure(event["kind"].as_str(), sentence(error)));
        }
        if let Some(expires) = event["expires_in_s"].as_u64() {
            self.left_s = expires;
        }
        if self.json {
            line(self.world, event)?;
        } else if event["code"].is_string() {
            self.show(&text(&event["code"]), &text(&event["address"]))?;
            self.is_shown = true;
        } else if event["joined"].is_object() {
            let name = text(&event["joined"]["name"]);
            writeln!(self.world.out, "‘{name}’ is in the fleet now. `herd nodes` shows how it is doing.")?;
            self.is_shown = false;
        }
        self.world.out.flush()?;
        let asks = &event["asks"];
        if let Some(id) = asks["id"].as_str().filter(|_| self.consent == Consent::Person) {
            self.question = Some(id.to_owned());
            let address = text(&asks["address"]);
            let address = address.parse::<SocketAddr>().map_or(address, |address| address.ip().to_string());
            write!(self.world.err, "Let ‘{}’ ({address}) in? [y/N] ", text(&asks["name"]))?;
            self.world.err.flush()?;
        }
        self.count()?;
        Ok(event["joined"].is_object())
    }

    fn show(&mut self, code: &str, address: &str) -> Result<(), Failure> {
        let large = code.chars().map(String::from).collect::<Vec<_>>().join(" ");
        let large = self.world.paint().paint(Tone::Heading, &large);
        let lasts = span_s(self.left_s);
        let out = &mut self.world.out;
        writeln!(out, "\n    {large}\n\nType on the other machine:  herd join {code}")?;
        if !address.is_empty() {
            writeln!(out, "If it finds nothing there:  herd join {code} --addr {address}")?;
        }
        Ok(writeln!(out, "The code lets one machine in, is good for {lasts}, and is withdrawn by Ctrl-C.")?)
    }

    /// A line came from the terminal or the script; `None`: no more will.
    async fn said(&mut self, said: Option<String>) -> Result<(), Failure> {
        match (self.consent, said) {
            (Consent::Person, said) => self.decide(said.is_some_and(|said| is_yes(&said))).await,
            (Consent::Script, Some(said)) if !said.trim().is_empty() => match serde_json::from_str(&said) {
                Ok(Answer { id, allow }) => self.answer(&id, allow).await,
                Err(_) => {
                    let note = r#"That is no answer; one is a line like {"id":"…","allow":true}."#;
                    Ok(writeln!(self.world.err, "{note}")?)
                }
            },
            _ => Ok(()),
        }
    }

    /// Answers the question, if there is one.
    async fn decide(&mut self, allow: bool) -> Result<(), Failure> {
        match self.question.take() {
            Some(id) => self.answer(&id, allow).await,
            None => Ok(()),
        }
    }

    async fn answer(&mut self, id: &str, allow: bool) -> Result<(), Failure> {
        let answer = json!({ "id": id, "allow": allow });
        match self.door.tell("/fleet/pair/answer", &answer, ANSWER_WITHIN).await {
            Ok(_) => Ok(()),
            // Too late, or meant for nobody: what becomes of the code, Herd says itself.
            Err(Failure::NotFound(why) | Failure::Usage(why) | Failure::TimedOut(why)) => {
                Ok(writeln!(self.world.err, "{why}")?)
            }
            Err(other) => Err(other),
        }
    }

    /// A second went by.
    fn tick(&mut self) -> Result<(), Failure> {
        if self.left_s == 0 {
            self.over_s += 1;
            if self.over_s > GRACE_S {
                self.wipe()?;
                return Err(Failure::TimedOut("Nobody has joined in time. `herd pair` shows a new code.".to_owned()));
            }
            return Ok(());
        }
        self.left_s -= 1;
        self.count()
    }

    /// Says how long the code is good, where a person sees that and is not being asked something.
    fn count(&mut self) -> Result<(), Failure> {
        if self.world.terminal && self.is_shown && self.question.is_none() {
            write!(self.world.err, "{AGAIN}Waiting; the code is good for another {}.", span_s(self.left_s))?;
            self.world.err.flush()?;
            self.counts = true;
        }
        Ok(())
    }

    /// Takes the line that counts down off the screen.
    fn wipe(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.counts) {
            write!(self.world.err, "{AGAIN}")?;
            self.world.err.flush()?;
        }
        Ok(())
    }
}

fn failure(kind: Option<&str>, said: String) -> Failure {
    match kind {
        Some("not_found") => Failure::NotFound(said),
        Some("refused") => Failure::Refused(said),
        Some("timed_out") => Failure::TimedOut(said),
        _ => Failure::Failed(said),
    }
}

/// Lines as they are typed. The thread that reads them ends with the input, or with the process.
fn typed(world: &mut World<'_>) -> Option<mpsc::Receiver<String>> {
    let mut input = world.input.take()?;
    let (sender, receiver) = mpsc::channel(1);
    let reads = move || while next_line(input.as_mut()).is_some_and(|line| sender.blocking_send(line).is_ok()) {};
    std::thread::Builder::new().name("typed".to_owned()).spawn(reads).ok()?;
    Some(receiver)
}

/// The next line that was typed; never, where nobody types.
async fn next(typed: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match typed {
        Some(typed) => typed.recv().await,
        None => std::future::pending().await,
    }
}
