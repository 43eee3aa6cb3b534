//! What the core is told, what it answers, and its times.

use std::sync::Arc;
use std::time::Duration;

use proto::wire::{MAX_KEY, MAX_SETTINGS, MAX_VALUE, Message, Setting};
use proto::{Epoch, Incarnation, NodeId, Priority, Role};

/// Time between two pulses.
pub const PULSE: Duration = Duration::from_secs(1);

/// Silence after which a member counts as gone, and how long a node watches before it ever claims.
///
/// Longer than three pulses: a Wi-Fi card that saves power may hold back one or two. Much longer, and requests are sent
/// to machines that are asleep.
pub const PATIENCE: Duration = Duration::from_millis(3500);

/// What a node knows when it starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// This node.
    pub me: NodeId,
    /// One more than the last stored one.
    pub incarnation: Incarnation,
    /// The last stored one.
    pub epoch: Epoch,
    /// How well it suits as the leader.
    pub priority: Priority,
    /// The stored settings of the fleet. Too long or too many ones are left out.
    pub settings: Vec<Setting>,
    /// Spreads the pulses of nodes that start together; decides nothing else.
    pub seed: u64,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The fleet consists of these nodes now. Whatever comes from others is ignored.
    ///
    /// Of more than [`MAX_MEMBERS`](proto::wire::MAX_MEMBERS) those with the smallest ids are watched, on every node the
    /// same; a node that is not on the list, or beyond its end, is silent and follows nobody.
    Roster(Vec<(NodeId, Role)>),
    /// There is an authenticated connection to a member.
    Connected(NodeId),
    /// There is none any more.
    Disconnected(NodeId),
    /// Some bytes came from a member, whatever they were. May be told seldom: once in half a second is enough.
    Heard(NodeId),
    /// A member sent a message.
    Message(NodeId, Message),
    /// How well this node suits has changed. A leader that must not lead any more resigns at once, which is also what to
    /// tell before the machine goes to sleep.
    Priority(Priority),
    /// What the layers above tell the others has changed: at most [`MAX_PAYLOAD`](proto::wire::MAX_PAYLOAD) bytes, more
    /// is ignored. Changes within a second are told together.
    State(Vec<u8>),
    /// As [`Input::State`], but the others are told at once: they may be about to send work here.
    UrgentState(Vec<u8>),
    /// The owner changed a setting of the fleet; `None` takes it back.
    SettingSet {
        /// Its name.
        key: String,
        /// Its value.
        value: Option<String>,
    },
    /// The machine slept, or this process was stopped. A late call of any verb tells the same.
    Slept,
    /// The node's clock jumped: what was measured before means nothing now.
    ClockJumped,
    /// This node stops. After it the core does nothing any more.
    Leave,
}

/// Something to do or to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Store both before carrying out what comes behind this: what was said must not be said again.
    Persist {
        /// The number of this start.
        incarnation: Incarnation,
        /// The highest epoch ever seen.
        epoch: Epoch,
    },
    /// Send a message to a connected member.
    Send(NodeId, Arc<Message>),
    /// Another node leads, or none, or the same one in a later epoch. Epochs never go back.
    LeaderChanged {
        /// Who leads.
        leader: Option<NodeId>,
        /// Since which epoch; of no leader: the last one that was followed.
        epoch: Epoch,
    },
    /// This node hears a member, so it can be sent work.
    MemberAlive(NodeId),
    /// This node does not hear a member any more. [`View`] says whether others do.
    MemberDead(NodeId),
    /// Close what connection there is to a member, unless a stream on it still moves, and dial it.
    ///
    /// Said at once and then each second for a member that was seen in the last ten minutes (or that may have been, in the
    /// first minute after start or sleep), else each half minute.
    Redial(NodeId),
    /// A member told what its layers above have to say.
    StateOf(NodeId, Vec<u8>),
    /// A setting has another value now: apply and store it.
    SettingChanged(Setting),
    /// What the owner set cannot be kept.
    SettingRefused {
        /// Its name.
        key: String,
        /// Why.
        reason: SettingRefused,
    },
    /// Two machines live under one identity, as after copying a disk: one of them must get a new one.
    ///
    /// Said at most every ten minutes for each. This node's own identity is possible too.
    DuplicateIdentity(NodeId),
}

/// Why a setting cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingRefused {
    /// The name is longer than [`MAX_KEY`] bytes.
    #[error("a setting's name has at most {MAX_KEY} bytes")]
    LongKey,
    /// The value is longer than [`MAX_VALUE`] bytes.
    #[error("a setting's value has at most {MAX_VALUE} bytes")]
    LongValue,
    /// There are [`MAX_SETTINGS`] already, those counted that were taken back.
    #[error("a fleet has at most {MAX_SETTINGS} settings")]
    Full,
    /// This node is a guest, or not on the roster.
    #[error("a guest changes no settings")]
    Guest,
}

/// The fleet as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// What it may do; `None`: it is not on the roster.
    pub role: Option<Role>,
    /// What it is doing.
    pub standing: Standing,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// Since which epoch.
    pub epoch: Epoch,
    /// The other members, in the order of their ids.
    pub members: Vec<MemberView>,
}

/// What a node is doing about leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It stopped, or is not on the roster.
    Outside,
    /// It started, woke or moved a moment ago and only watches.
    Observing,
    /// It knows no leader and waits for its turn or for news.
    Waiting,
    /// It follows the leader.
    Following,
    /// It leads.
    Leading,
}

/// What this node knows of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub id: NodeId,
    /// What it may do.
    pub role: Role,
    /// Whether it lives.
    pub presence: Presence,
    /// How well it suits as the leader; `None`: not known.
    pub priority: Option<Priority>,
    /// Its last known start; `None`: not known.
    pub incarnation: Option<Incarnation>,
    /// Whom it follows, as it last said.
    pub follows: Option<NodeId>,
    /// Time since anybody is known to have heard it; `None`: not since this node started.
    pub silent_for: Option<Duration>,
}

/// Whether a member lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// This node hears it.
    Here,
    /// Others hear it, this node does not.
    Elsewhere,
    /// It said that it stops.
    Left,
    /// Nobody who is heard hears it.
    Gone,
}
