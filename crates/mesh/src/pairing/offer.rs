//! The machine that shows a code.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::Code;
use super::channel::{self, Agreed, Channel, Ended, Side};
use super::words::{Clear, Sealed, VERSIONS, Why};
use crate::roster::{LONGEST_NAME, Roster};
use crate::{NodeKey, Secrets};

/// Conversations at once; whoever comes then is hung up on.
const MOST_AT_ONCE: usize = 8;
/// How long the joiner may take to say who it is, and to store what it got.
const PROMPT: Duration = Duration::from_secs(20);
/// How often a joiner is told that somebody is still being asked.
const WAIT_EVERY: Duration = Duration::from_secs(5);

/// How an offer is made.
#[derive(Clone, Copy, Debug)]
pub struct OfferSettings {
    /// How long the code is good for. Three minutes are enough to walk to another machine.
    pub lasts: Duration,
    /// How many guesses there are.
    pub tries: u8,
    /// Listens on loopback only, for tests.
    pub loopback: bool,
}

impl Default for OfferSettings {
    fn default() -> OfferSettings {
        OfferSettings { lasts: Duration::from_secs(180), tries: 3, loopback: false }
    }
}

/// Why nobody joined.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// No port could be opened.
    #[error("cannot listen for the machine that wants to join: {0}")]
    Port(std::io::Error),
    /// The system has no randomness.
    #[error("no randomness for a code: {0}")]
    NoRandomness(getrandom::Error),
    /// The time is over.
    #[error("nobody joined in time: show a new code to try again")]
    Expired,
    /// Too many wrong codes.
    #[error("the code was entered wrongly too often: show a new one to try again")]
    TooManyTries,
    /// The person asked said no.
    #[error("{name} was not allowed to join")]
    Refused {
        /// The name of the machine that asked.
        name: String,
    },
    /// The connection broke after the fleet was handed over, before the other machine said that it has it.
    #[error(
        "the connection to {name} broke while it joined: look there whether it has, else remove it here and try again"
    )]
    Lost {
        /// Who.
        node: NodeKey,
        /// The name of that machine.
        name: String,
    },
}

/// A machine that knows the code and wants to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who: proved.
    pub node: NodeKey,
    /// What it calls itself: at most [`LONGEST_NAME`] bytes without control characters, otherwise anything.
    pub name: String,
    /// Where it calls from.
    pub address: SocketAddr,
}

/// Whether a candidate may join.
#[derive(Debug)]
pub enum Decision {
    /// It is on the roster now; this is handed over.
    Admit(Box<Handover>),
    /// It may not.
    Refuse,
}

/// What a new member gets.
#[derive(Clone, Debug)]
pub struct Handover {
    /// The fleet's name.
    pub name: String,
    /// The fleet's secrets.
    pub secrets: Secrets,
    /// The roster, with the new member on it.
    pub roster: Roster,
    /// Where members may be found.
    pub hints: Vec<(NodeKey, SocketAddr)>,
}

/// A machine that joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Who.
    pub node: NodeKey,
    /// What it calls itself.
    pub name: String,
}

/// An open port and the code for it. Dropping it closes the port.
pub struct Offer {
    code: Code,
    port: u16,
    listeners: Vec<TcpListener>,
    until: Instant,
    tries: Cell<u8>,
    /// Somebody proved to know the code and is being asked about: others wait.
    busy: Cell<bool>,
}

impl Offer {
    /// Opens a port and makes up a code.
    pub async fn open(settings: OfferSettings) -> Result<Offer, OfferError> {
        Offer::with_code(Code::generate().map_err(OfferError::NoRandomness)?, settings).await
    }

    pub(super) async fn with_code(code: Code, settings: OfferSettings) -> Result<Offer, OfferError> {
        let (four, six) = if settings.loopback {
            (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
        } else {
            (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
        };
        let listener = TcpListener::bind((four, 0)).await.map_err(OfferError::Port)?;
        let port = listener.local_addr().map_err(OfferError::Port)?.port();
        let mut listeners = vec![listener];
        // Not every machine has IPv6, and where one socket serves both, this port is taken.
        listeners.extend(TcpListener::bind((IpAddr::V6(six), port)).await.ok());
        #[allow(clippy::disallowed_methods, reason = "a deadline for tokio's own timers, a few minutes from now")]
        let until = Instant::now() + settings.lasts;
        Ok(Offer { code, port, listeners, until, tries: Cell::new(settings.tries), busy: Cell::new(false) })
    }

    /// The code to show.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The port to announce.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a machine that knows the code, asks `allow` about it, and hands the fleet over.
    ///
    /// `allow` is asked about one machine at a time; before it admits one it has put it on the roster and stored that.
    /// May be dropped: the port closes, and whoever is connected is hung up on.
    pub async fn run<F>(self, allow: impl Fn(Candidate) -> F) -> Result<Joined, OfferError>
    where
        F: Future<Output = Decision>,
    {
        let deadline = tokio::time::sleep_until(self.until);
        tokio::pin!(deadline);
        let mut talks = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = &mut deadline => return Err(OfferError::Expired),
                (stream, address) = self.accept() => {
                    if talks.len() < MOST_AT_ONCE {
                        talks.push(self.talk(stream, address, &allow));
                    }
                }
                Some(end) = talks.next() => {
                    if let Some(result) = end {
                        return result;
                    }
                    if self.tries.get() == 0 && talks.is_empty() {
                        return Err(OfferError::TooManyTries);
                    }
                }
            }
        }
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        let each = self.listeners.iter().map(|listener| Box::pin(listener.accept()));
        loop {
            match futures_util::future::select_all(each.clone().collect::<Vec<_>>()).await.0 {
                Ok(accepted) => return accepted,
                // Too many open files, or somebody who was gone at once.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Talks with one machine. `None` if the offer stands as before.
    async fn talk<F>(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        allow: &impl Fn(Candidate) -> F,
    ) -> Option<Result<Joined, OfferError>>
    where
        F: Future<Output = Decision>,
    {
        let _ = stream.set_nodelay(true);
        let (agreed, _busy) = match self.agree(&mut stream).await {
            Ok(agreed) => agreed?,
            Err(error) => {
                tracing::debug!(%address, %error, "a machine that wanted to join was turned away");
                return None;
            }
        };
        let mut channel = agreed.seal(Side::Offerer, stream);
        let candidate = tokio::time::timeout(PROMPT, introduction(&mut channel, &agreed, address)).await.ok()?.ok()?;
        let Candidate { node, name, .. } = candidate.clone();
        let decision = {
            let asking = allow(candidate);
            tokio::pin!(asking);
            loop {
                tokio::select! {
                    decision = &mut asking => break decision,
                    () = tokio::time::sleep(WAIT_EVERY) => channel.say(&Sealed::Wait {}).await.ok()?,
                }
            }
        };
        let Decision::Admit(handover) = decision else {
            let _ = channel.say(&Sealed::Sorry { why: Why::Refused.number() }).await;
            return Some(Err(OfferError::Refused { name }));
        };
        let handed = async {
            channel.say(&welcome(&handover)).await?;
            match channel.hear().await? {
                Sealed::Done {} => Ok(()),
                _ => Err(Ended::Nonsense),
            }
        };
        match tokio::time::timeout(PROMPT, handed).await {
            Ok(Ok(())) => Some(Ok(Joined { node, name })),
            _ => Some(Err(OfferError::Lost { node, name })),
        }
    }

    /// Finds out whether the other machine knows the code. `None` if it was told why not. If it does, nobody else is talked
    /// to until the second value is dropped.
    async fn agree(&self, stream: &mut TcpStream) -> Result<Option<(Agreed, Busy<'_>)>, Ended> {
        let (Clear::Knock { min, max, share }, knock) = channel::hear(stream).await? else {
            return Err(Ended::Nonsense);
        };
        let refusal = if self.busy.get() {
            Some(Why::Busy)
        } else if max < VERSIONS.0 || min > VERSIONS.1 {
            Some(Why::Version)
        } else if self.tries.get() == 0 {
            Some(Why::TooManyTries)
        } else {
            None
        };
        if let Some(why) = refusal {
            channel::say(stream, &Clear::Sorry { why: why.number(), tries_left: self.tries.get() }).await?;
            return Ok(None);
        }
        // Counted before anything is answered: who goes away after having seen the answer has had its try.
        let left = self.tries.get() - 1;
        self.tries.set(left);
        let (spake, ours) = channel::begin(Side::Offerer, &self.code);
        let key = zeroize::Zeroizing::new(spake.finish(&share).map_err(|_| Ended::Nonsense)?);
        let said = channel::say(stream, &Clear::Share { version: VERSIONS.1.min(max), share: ours }).await?;
        let agreed = Agreed::new(&key, &knock, &said)?;
        let (Clear::Proof { proof }, _) = channel::hear(stream).await? else { return Err(Ended::Nonsense) };
        // Somebody else may have proved it in the meantime.
        if self.busy.get() {
            channel::say(stream, &Clear::Sorry { why: Why::Busy.number(), tries_left: left }).await?;
            return Ok(None);
        }
        if !agreed.is_proved(Side::Joiner, &proof) {
            channel::say(stream, &Clear::Sorry { why: Why::WrongCode.number(), tries_left: left }).await?;
            return Ok(None);
        }
        // Was no guess.
        self.tries.set(self.tries.get() + 1);
        let busy = Busy::new(&self.busy);
        channel::say(stream, &agreed.proof(Side::Offerer)).await?;
        Ok(Some((agreed, busy)))
    }
}

/// Keeps an offer from others, however a talk ends.
struct Busy<'a>(&'a Cell<bool>);

impl Busy<'_> {
    fn new(flag: &Cell<bool>) -> Busy<'_> {
        flag.set(true);
        Busy(flag)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

async fn introduction(
    channel: &mut Channel<TcpStream>,
    agreed: &Agreed,
    address: SocketAddr,
) -> Result<Candidate, Ended> {
    let Sealed::Introduction { node, name, signature } = channel.hear().await? else { return Err(Ended::Nonsense) };
    let node: [u8; 32] = node.try_into().map_err(|_| Ended::Nonsense)?;
    let signature: [u8; 64] = signature.try_into().map_err(|_| Ended::Nonsense)?;
    let node = NodeKey::from(node);
    let is_named = (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    if !is_named || !node.signed(&agreed.to_sign(), &signature) {
        return Err(Ended::Nonsense);
    }
    Ok(Candidate { node, name, address })
}

fn welcome(handover: &Handover) -> Sealed {
    Sealed::Welcome {
        fleet: handover.roster.fleet().bytes().to_vec(),
        name: handover.name.clone(),
        secrets: handover.secrets.iter().map(|secret| secret.bytes().to_vec().into()).collect(),
        statements: handover.roster.statements().map(|statement| statement.encode().into()).collect(),
        addresses: handover.hints.iter().map(|(node, address)| format!("{node} {address}")).collect(),
    }
}
