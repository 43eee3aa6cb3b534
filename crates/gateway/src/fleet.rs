//! What the door asks of the node it belongs to.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialect::Failure;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use proto::{Api, BackendId, BackendState, Candidate, KeepAlive, ModelName, Moment, NodeId, Server, Trace};
use tokio::sync::oneshot;

use crate::share::ShareOrder;

/// The node behind a door. Called on the request path: nothing here may block.
pub trait Fleet: Send + Sync + 'static {
    /// Where one attempt goes.
    fn place(&self, ask: Ask) -> Placing;
    /// The attempt placed under `key` has produced its first content.
    fn first_content(&self, key: u64);
    /// The attempt placed under `key` is over. Called once for each ticket, by its [`Slot`].
    fn finish(&self, key: u64, ending: Ending);
    /// A request is over.
    fn report(&self, trace: Trace);
    /// A request of another node's door is over; that door keeps its trace.
    fn served(&self, _trace: Trace) {}
    /// Whether requests of other nodes are taken just now, and otherwise why not.
    fn takes_guests(&self) -> Result<(), String> {
        Ok(())
    }
    /// Takes one request of another node, or says why not; it counts as running here for as long as the pass is kept.
    fn admit_guest(&self) -> Result<GuestPass, String> {
        self.takes_guests().map(|()| GuestPass::default())
    }
    /// The request of this ticket has produced its first content at another node.
    fn ticket_begun(&self, _ticket: u64) {}
    /// The request of this ticket is over. Of a ticket that has ended already nothing more counts.
    fn ticket_ended(&self, _ticket: u64, _ending: TicketEnding) {}
    /// Sends a request to another node; the answer's head comes with its first content. Dropping it cancels it there.
    fn send(&self, node: NodeId, _request: Request<AwayBody>) -> Sending {
        Box::pin(std::future::ready(Err(format!("there is no way to {node}"))))
    }
    /// What is meant by `model@machine`, where that machine is in the fleet: the model's own name, and the machine.
    fn at_machine<'a>(&self, _name: &'a str) -> Option<(&'a str, NodeId)> {
        None
    }
    /// A request to this backend failed in a way that asks for a look at it.
    fn suspect(&self, backend: &BackendId);
    /// The models of this backend may have changed.
    fn refresh(&self, backend: &BackendId);
    /// How the tokens of a prompt for `model` can be counted: `text_bytes` of text and `images`.
    fn count(&self, model: &ModelName, text_bytes: u64, images: u32) -> Count;
    /// The model that answers for `asked`, a name of Anthropic's own (`claude-…`), where no backend has one of that name;
    /// `None` where there is none.
    fn stand_in(&self, asked: &str) -> Option<Arc<str>>;
    /// Changes something, and answers with JSON when it is done. May be dropped: what was begun goes on.
    fn change(&self, change: Change) -> ChangeFuture;
    /// Lets one more machine join: shows a code and waits for it. `yes`: whoever has the code needs no further consent.
    ///
    /// Each item is a JSON object: first `{"code","expires_in_s","address"}`, then perhaps
    /// `{"asks":{"id","name","address"}}` (answered by [`Change::Answer`]), at last `{"joined":{"id","name"}}`, or an error.
    /// Dropping the stream withdraws the code.
    fn pair(&self, yes: bool) -> PairStream;
    /// What people and scripts are shown, as JSON.
    fn view(&self, view: View) -> ViewFuture;
    /// Numbers for `/metrics`.
    fn gauges(&self) -> Gauges;
}

/// The facts of one request that placement needs: not the prompt.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The call.
    pub api: Api,
    /// The model asked for, then its fallbacks. Never empty.
    pub models: Vec<ModelName>,
    /// The app, where it says who it is.
    pub app: Option<Arc<str>>,
    /// Tokens of prompt and answer, roughly.
    pub estimated_tokens: u64,
    /// Bytes of the prompt's text.
    pub text_bytes: u64,
    /// Images of the prompt.
    pub images: u32,
    /// The most tokens that the answer may have, where the client says.
    pub max_tokens: Option<u64>,
    /// The context that the client wants (`num_ctx`), in tokens.
    pub context_wanted: Option<u64>,
    /// Whether the client's dialect has a prompt that is too long cut in silence, rather than refused.
    pub cuts: bool,
    /// How long the client wishes the model to stay in memory.
    pub keep_alive: Option<KeepAlive>,
    /// What the requests of one conversation have in common, where it can be told.
    pub session: Option<u64>,
    /// Backends of this node that have failed this request.
    pub excluded: Vec<BackendId>,
    /// Other nodes that have.
    pub excluded_nodes: Vec<NodeId>,
    /// The only node that may serve it.
    pub only: Option<NodeId>,
    /// Whether it is refused where it would have to wait.
    pub now_only: bool,
    /// Whether it offers tools.
    pub tools: bool,
    /// Whether nobody waits for the answer.
    pub is_batch: bool,
    /// Set where another node's door has sent it here.
    pub guest: Option<Guest>,
    /// Whether the answer is streamed.
    pub streams: bool,
    /// When the request came in here.
    pub arrived: Moment,
    /// How old it was then: it came by another node's door.
    pub age: Duration,
}

/// How tokens are counted without generating any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A backend that has the model counts them with its own tokenizer.
    Backend,
    /// No backend of the model can; this many, going by what was counted before.
    Estimate(u64),
    /// No backend has the model.
    UnknownModel,
}

/// A request that another node's door has sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Whose door.
    pub from: NodeId,
    /// Who placed it here.
    pub issuer: NodeId,
    /// Requests that may wait before it; where there are more, it is sent back.
    pub ahead: u32,
}

/// Kept while a request of another node runs here.
#[derive(Default)]
#[must_use = "the request counts as over as soon as this is dropped"]
pub struct GuestPass(Option<Box<dyn std::any::Any + Send + Sync>>);

impl GuestPass {
    /// Keeps `counted` as long as the request runs.
    pub fn of(counted: impl Send + Sync + 'static) -> GuestPass {
        GuestPass(Some(Box::new(counted)))
    }
}

impl std::fmt::Debug for GuestPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GuestPass").field(&self.0.is_some()).finish()
    }
}

/// The answer to an [`Ask`].
#[expect(
    clippy::large_enum_variant,
    reason = "moved once and unpacked at once: a box would cost each request an allocation"
)]
pub enum Placing {
    /// Decided on the spot.
    Now(Result<Ticket, NoTicket>),
    /// The request waits. Dropping the future takes it out of the queue.
    Later(PlacingLater),
}

/// An answer on its way.
pub type PlacingLater = Pin<Box<dyn Future<Output = Result<Ticket, NoTicket>> + Send>>;

/// Why a request gets no place.
#[derive(Clone, Debug)]
pub struct NoTicket {
    /// What its client is told.
    pub failure: Failure,
    /// Whether there is no room for a guest right now: its door asks again.
    pub is_bounce: bool,
}

impl From<Failure> for NoTicket {
    fn from(failure: Failure) -> NoTicket {
        NoTicket { failure, is_bounce: false }
    }
}

/// The body of a request to another node.
pub type AwayBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A request to another node, on its way. The error is for people.
pub type Sending = Pin<Box<dyn Future<Output = Result<Response<Incoming>, String>> + Send>>;

/// "Send it there."
pub struct Ticket {
    /// The other node that has the backend; `None`: this one.
    pub server: Option<Server>,
    /// Where. Of a backend of another node the address means nothing.
    pub backend: Arc<BackendState>,
    /// Which of [`Ask::models`] it is to serve.
    pub model: usize,
    /// What the decision saw, the chosen one first.
    pub candidates: Vec<Candidate>,
    /// How long the request waited for it.
    pub queued: Duration,
    /// The context to name to the backend, in tokens: the one that the model is loaded with. `None`: none is named.
    pub context: Option<u64>,
    /// What became of the context that the request needs.
    pub verdict: Verdict,
    /// How much of [`Ticket::queued`] went into loading the model; `None`: it was in memory.
    pub loaded_for: Option<Duration>,
    /// Tokens of the prompt, as estimated.
    pub prompt_tokens: u64,
    /// The place that it holds there.
    pub slot: Slot,
    /// Fires when the attempt should be given up before its first content: the backend hangs and another could do it.
    pub moved: oneshot::Receiver<()>,
    /// From sending it to its first content: where that takes longer, a second try elsewhere is worth it.
    pub patience: Option<Duration>,
    /// Requests that may be ahead of it at the other node.
    pub ahead: u32,
    /// Who placed it, where that was not the node's own router.
    pub issuer: Option<NodeId>,
}

/// What became of the context that a request needs: the value of `X-Fleet-Context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fits what the model was loaded with.
    Kept,
    /// The model was loaded again with more.
    Grown,
    /// Nothing holds it: the backend cuts the prompt.
    Cut,
    /// That is the backend's business.
    Passed,
}

impl Verdict {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Kept => "kept",
            Verdict::Grown => "grown",
            Verdict::Cut => "cut",
            Verdict::Passed => "passed",
        }
    }
}

/// A place at a backend, given back however the attempt ends.
#[must_use = "the slot is freed as soon as this is dropped"]
pub struct Slot {
    fleet: Arc<dyn Fleet>,
    /// The place at a backend of this node.
    key: Option<u64>,
    /// The ticket that it was placed by, where that has a number.
    ticket: Option<u64>,
}

impl Slot {
    /// The slot that `fleet` knows as `key`.
    pub fn new(fleet: Arc<dyn Fleet>, key: u64) -> Slot {
        Slot { fleet, key: Some(key), ticket: None }
    }

    /// The place at another node that `fleet` knows by this ticket.
    pub fn away(fleet: Arc<dyn Fleet>, ticket: u64) -> Slot {
        Slot { fleet, key: None, ticket: Some(ticket) }
    }

    /// Both in one: a place at a backend of this node, and the ticket that it was taken by.
    pub fn and(mut self, mut by: Slot) -> Slot {
        self.ticket = by.ticket.take();
        self
    }

    /// The ticket that it was placed by.
    pub(crate) fn ticket(&self) -> Option<u64> {
        self.ticket
    }

    /// Tells that content has begun to flow.
    pub fn first_content(&self) {
        if let Some(key) = self.key {
            self.fleet.first_content(key);
        }
        if let Some(ticket) = self.ticket {
            self.fleet.ticket_begun(ticket);
        }
    }

    /// Gives the slot back, saying how the attempt ended.
    pub fn finish(mut self, ending: Ending) {
        self.end(TicketEnding::Attempt(ending));
    }

    /// Gives the slot back before anything was tried: the node had no room.
    pub fn bounced(mut self) {
        self.end(TicketEnding::Bounced);
    }

    /// Gives the slot back because a second try elsewhere was faster.
    pub fn too_slow(mut self) {
        self.end(TicketEnding::TooSlow);
    }

    fn end(&mut self, ending: TicketEnding) {
        if let Some(key) = self.key.take() {
            let at_backend = match ending {
                TicketEnding::Attempt(ending) => ending,
                TicketEnding::Bounced | TicketEnding::TooSlow => Ending::ClientLeft,
            };
            self.fleet.finish(key, at_backend);
        }
        if let Some(ticket) = self.ticket.take() {
            self.fleet.ticket_ended(ticket, ending);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.end(TicketEnding::Attempt(Ending::ClientLeft));
    }
}

/// How the request of a ticket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketEnding {
    /// As an attempt.
    Attempt(Ending),
    /// The node had no room.
    Bounced,
    /// A second try elsewhere was faster.
    TooSlow,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Answered to the end.
    Answered,
    /// The client went away.
    ClientLeft,
    /// The backend refused what the client sent: it works.
    Refused,
    /// The backend said that it is full.
    Busy,
    /// The backend failed before any content.
    Failed,
    /// The backend failed after some content.
    Broke,
}

/// Something that can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// This node: `StatusView`.
    Status,
    /// The documented `/fleet/status`.
    FleetStatus,
    /// The documented `/fleet/queue`.
    FleetQueue,
    /// All models.
    Models,
    /// Loaded models.
    Loaded,
    /// The settings in force.
    Config,
    /// What may be wrong.
    Doctor,
    /// The nodes of the fleet.
    Nodes,
    /// The devices on the roster.
    Devices,
    /// Who leads.
    Leader,
    /// The keys of clients on other machines, without the keys themselves.
    Keys,
    /// Whether this machine shares, and why.
    Share,
    /// The last requests, newest first; at most this many.
    Traces(usize),
    /// One request, by its id or the beginning of it.
    Trace(String),
    /// Totals.
    Overview,
    /// Requests per hour over this many hours.
    Trends(u32),
    /// Per model over this many days.
    ModelUsage(u32),
    /// Per node, model and day over this many days.
    Usage(u32),
    /// Per app and tag over this many days.
    Apps(u32),
}

/// A view, on its way.
pub type ViewFuture = Pin<Box<dyn Future<Output = Result<Bytes, ViewError>> + Send>>;

/// Something to be changed, by the owner or by a client that manages models itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Have a model in memory, with at least this context in tokens.
    Load {
        /// The model.
        model: ModelName,
        /// Tokens.
        context: Option<u64>,
    },
    /// Have a model out of memory as soon as nobody uses it.
    Unload {
        /// The model.
        model: ModelName,
    },
    /// Join the fleet of the machine that shows this code.
    Join {
        /// The code, as typed.
        code: String,
        /// Where that machine is, `host:port`, where it was typed too.
        address: Option<String>,
    },
    /// Let the machine in that asks, or do not.
    Answer {
        /// The `id` that it was announced with.
        joiner: String,
        /// Whether it may.
        allow: bool,
    },
    /// Leave the fleet: this machine is a fleet of one afterwards.
    Leave,
    /// Remove a device from the fleet.
    Remove {
        /// Its shown name or its id.
        device: String,
    },
    /// Rename a device.
    Rename {
        /// Its shown name or its id.
        device: String,
        /// What it is called from now on.
        name: String,
    },
    /// Make a key for clients on other machines.
    AddKey {
        /// What it is called.
        name: String,
        /// Requests that it is good for in any minute.
        rpm: Option<u32>,
        /// Requests that it is good for at once.
        at_once: Option<u32>,
    },
    /// Take a key back.
    RevokeKey {
        /// What it is called.
        name: String,
    },
    /// Begin a new fleet with these devices of the present one (none: with this machine alone), under a new secret.
    NewFleet {
        /// The fleet's name; `None`: as before.
        name: Option<String>,
    },
    /// Share this machine, or do not. Answers as [`View::Share`].
    Share(ShareOrder),
}

/// What happens while a code is shown.
pub type PairStream = Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, ChangeError>> + Send>>;

/// A change, on its way.
pub type ChangeFuture = Pin<Box<dyn Future<Output = Result<Bytes, ChangeError>> + Send>>;

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no such thing, or none that Herd can change.
    #[error("{0}")]
    NotFound(String),
    /// It is not allowed: a wrong code, no right to it, a name that is taken.
    #[error("{0}")]
    Refused(String),
    /// It takes too long; it may still happen.
    #[error("{0}")]
    TimedOut(String),
    /// It went wrong.
    #[error("{0}")]
    Failed(String),
}

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It could not be read.
    #[error("{0}")]
    Failed(String),
}

/// Numbers for `/metrics` that the door does not count itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Requests being worked on.
    pub in_flight: u64,
    /// Requests waiting for a slot.
    pub queued: u64,
    /// Trace rows that were dropped because the writer could not keep up.
    pub traces_dropped: u64,
    /// Per backend: its name, whether it is up, its requests in flight, its models.
    pub backends: Vec<(String, bool, u64, u64)>,
}
