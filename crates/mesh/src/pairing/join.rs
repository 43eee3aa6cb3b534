//! The machine on which the code is typed.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Code;
use super::channel::{self, Agreed, Channel, Ended, Side};
use super::words::{Clear, Sealed, VERSIONS, Why};
use crate::roster::{FleetId, LONGEST_NAME, Roster, Statement};
use crate::{FleetSecret, Hint, Identity, NodeKey, Secrets, Source};

/// How long a connection may take.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// How long the other machine may be silent while somebody there is asked. It says "wait" more often than this.
const SILENCE: Duration = Duration::from_secs(30);
/// Addresses of members that are taken over, at most.
const MOST_HINTS: usize = 256;

/// What a machine gets that joined.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The fleet's name.
    pub name: String,
    /// The fleet's secrets.
    pub secrets: Secrets,
    /// The roster, with this machine on it.
    pub roster: Roster,
    /// Where members may be found.
    pub hints: Vec<Hint>,
}

/// Why a machine could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody shows a code there.
    #[error(
        "no machine there shows a code: show one with `herd pair` on a machine of the fleet, and check the address"
    )]
    Nobody,
    /// The other machine has another code.
    #[error("that is not the code ({tries_left} more tries)")]
    WrongCode {
        /// How many tries are left before the code is void.
        tries_left: u8,
    },
    /// The code was entered wrongly too often, here or elsewhere.
    #[error("the code was entered wrongly too often: show a new one")]
    TooManyTries,
    /// Another machine is just joining with the same code.
    #[error("another machine is just joining there: wait until it has, then show a new code")]
    Busy,
    /// The time was over before anybody allowed it.
    #[error("the code is not valid any more: show a new one")]
    Expired,
    /// The person at the other machine said no.
    #[error("the other machine was told not to let this one join")]
    Refused,
    /// What listens there does not know the code.
    #[error("what answered there does not know the code: somebody may try to trick this machine")]
    Pretender,
    /// Both have versions that do not understand each other.
    #[error("the other machine has a version of Herd that is too old or too new for this one")]
    Version,
    /// What was handed over is no fleet with this machine in it.
    #[error("the other machine handed over a damaged fleet")]
    Damaged,
    /// This machine's name cannot be used.
    #[error("a name has 1 to {LONGEST_NAME} bytes and no control characters")]
    BadName,
    /// What was got could not be stored.
    #[error("joining failed here: {0}")]
    NotStored(String),
    /// The connection broke, or the other machine is no Herd.
    #[error("the connection to the other machine broke: {0}")]
    Broken(String),
}

impl From<Ended> for JoinError {
    fn from(ended: Ended) -> JoinError {
        JoinError::Broken(ended.to_string())
    }
}

/// Joins the fleet of the machine that shows `code` at one of `addresses`.
///
/// They are tried in turn until one answers and is not about another code; wrong guesses are counted there. `store` is called
/// once with what was got, before the other machine is told that all is well: if it fails, so does this.
/// May be dropped: nothing has happened here before `store`.
pub async fn join(
    code: &Code,
    addresses: &[SocketAddr],
    identity: &Identity,
    name: &str,
    store: impl FnOnce(&Welcome) -> Result<(), String>,
) -> Result<Welcome, JoinError> {
    if !(1..=LONGEST_NAME).contains(&name.len()) || name.chars().any(char::is_control) {
        return Err(JoinError::BadName);
    }
    let mut worst = JoinError::Nobody;
    for address in addresses {
        let connecting = tokio::time::timeout(CONNECTED_WITHIN, TcpStream::connect(address)).await;
        let Ok(Ok(stream)) = connecting else { continue };
        match agree(stream, code).await {
            Ok((channel, agreed)) => return introduce(channel, &agreed, identity, name, store).await,
            Err(error) => worst = error,
        }
    }
    Err(worst)
}

/// Proves that this machine knows the code, and has the other one prove it.
async fn agree(mut stream: TcpStream, code: &Code) -> Result<(Channel<TcpStream>, Agreed), JoinError> {
    let _ = stream.set_nodelay(true);
    let (spake, share) = channel::begin(Side::Joiner, code);
    let knock = Clear::Knock { min: VERSIONS.0, max: VERSIONS.1, share };
    let knock = channel::say(&mut stream, &knock).await?;
    let (theirs, said) = match channel::hear(&mut stream).await? {
        (Clear::Share { version, share }, said) if (VERSIONS.0..=VERSIONS.1).contains(&version) => (share, said),
        (Clear::Share { .. }, _) => return Err(JoinError::Version),
        (Clear::Sorry { why, tries_left }, _) => return Err(sorry(why, tries_left)),
        _ => return Err(Ended::Nonsense.into()),
    };
    let key = zeroize::Zeroizing::new(spake.finish(&theirs).map_err(|_| Ended::Nonsense)?);
    let agreed = Agreed::new(&key, &knock, &said)?;
    // First this side: whoever guesses is the one who types, and must not learn more than that it was wrong.
    channel::say(&mut stream, &agreed.proof(Side::Joiner)).await?;
    match channel::hear(&mut stream).await?.0 {
        Clear::Proof { proof } if agreed.is_proved(Side::Offerer, &proof) => {
            let channel = agreed.seal(Side::Joiner, stream);
            Ok((channel, agreed))
        }
        Clear::Proof { .. } => Err(JoinError::Pretender),
        Clear::Sorry { why, tries_left } => Err(sorry(why, tries_left)),
        _ => Err(Ended::Nonsense.into()),
    }
}

async fn introduce(
    mut channel: Channel<TcpStream>,
    agreed: &Agreed,
    identity: &Identity,
    name: &str,
    store: impl FnOnce(&Welcome) -> Result<(), String>,
) -> Result<Welcome, JoinError> {
    let introduction = Sealed::Introduction {
        node: identity.key().bytes().to_vec(),
        name: name.to_owned(),
        signature: identity.sign(&agreed.to_sign()).to_vec(),
    };
    channel.say(&introduction).await?;
    let welcome = loop {
        let heard = tokio::time::timeout(SILENCE, channel.hear()).await.map_err(|_| Ended::TooSlow)?;
        match heard {
            Ok(Sealed::Wait {}) => {}
            Ok(Sealed::Welcome { fleet, name, secrets, statements, addresses }) => {
                break read(identity.key(), &fleet, name, secrets, &statements, &addresses)
                    .ok_or(JoinError::Damaged)?;
            }
            Ok(Sealed::Sorry { why }) => return Err(sorry(why, 0)),
            // The offer's time is over, or it was withdrawn: then its port is closed without a word.
            Err(Ended::Io(_)) => return Err(JoinError::Expired),
            Ok(_) | Err(_) => return Err(Ended::Nonsense.into()),
        }
    };
    store(&welcome).map_err(JoinError::NotStored)?;
    // If this is lost, the other side says so; here all is well.
    let _ = channel.say(&Sealed::Done {}).await;
    Ok(welcome)
}

fn sorry(why: u8, tries_left: u8) -> JoinError {
    match Why::of(why) {
        Why::WrongCode if tries_left == 0 => JoinError::TooManyTries,
        Why::WrongCode => JoinError::WrongCode { tries_left },
        Why::TooManyTries => JoinError::TooManyTries,
        Why::Busy => JoinError::Busy,
        Why::Version => JoinError::Version,
        Why::Refused => JoinError::Refused,
        Why::Expired => JoinError::Expired,
        Why::Other => JoinError::Broken("it gave no reason that this version knows".to_owned()),
    }
}

fn read(
    me: NodeKey,
    fleet: &[u8],
    name: String,
    secrets: Vec<minicbor::bytes::ByteVec>,
    statements: &[minicbor::bytes::ByteVec],
    addresses: &[String],
) -> Option<Welcome> {
    let fleet = FleetId(fleet.try_into().ok()?);
    let secret = |bytes: minicbor::bytes::ByteVec| {
        let bytes = zeroize::Zeroizing::new(Vec::from(bytes));
        <[u8; 32]>::try_from(&bytes[..]).ok().map(FleetSecret::from)
    };
    let secrets = Secrets::new(secrets.into_iter().map(secret).collect::<Option<_>>()?)?;
    let statements: Option<Vec<_>> = statements.iter().map(|bytes| Statement::decode(bytes).ok()).collect();
    let roster = Roster::from_statements(fleet, statements?)?;
    roster.member(me)?;
    let hint = |text: &String| {
        let (node, address) = text.split_once(' ')?;
        Some(Hint { node: Some(node.parse().ok()?), address: address.parse().ok()?, source: Source::Peer })
    };
    let hints = addresses.iter().filter_map(hint).take(MOST_HINTS).collect();
    (name.len() <= LONGEST_NAME).then_some(Welcome { name, secrets, roster, hints })
}
