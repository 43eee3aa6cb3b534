//! Loads and unloads: the two orders that a backend gets from us and not from a client.
//!
//! Each is a call of [`Handle`] that the node awaits in a task of its own, so that no client's leaving can cut it: an
//! Ollama kills a load whose asker leaves. Nothing here decides what to load; nothing is tried twice. Bounded by
//! [`Patience`]; what a server answers is cut at 16 MiB.

mod asker;
mod ollama;
mod router;

use std::time::Duration;

use proto::{BackendKind, BackendState};
use tokio::time::timeout;

use crate::Handle;
use asker::Asker;

/// A number below this is no context: Ollama would load the model with so few tokens that nothing fits.
const LEAST_CONTEXT: u64 = 4;

/// How long to wait for the node to be told of what was done; the watcher answers within milliseconds.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// How long to wait for servers that load and unload.
#[derive(Clone, Debug, PartialEq)]
pub struct Patience {
    /// Longest load. A server that stops making progress ends a load itself (Ollama after 5 minutes without any), so
    /// this is for one that does not; shorter, and the largest models on slow disks never load.
    pub load: Duration,
    /// Longest unload: a model goes when the last answer ends that it is giving to anybody. Longer, and room that
    /// another program holds is waited for in vain; shorter, and a long answer's end is missed.
    pub unload: Duration,
    /// A server that answers no question for three times as long, loading or not, hangs.
    pub silence: Duration,
    /// First pause between two looks at what is loaded; doubles up to 25 times as much.
    pub pause: Duration,
    /// Pause after an unload from a GPU. Memory comes back half a second to a second and a half after the engine ended
    /// (waitForVRAMRecovery in Ollama's server/sched.go, August 2026); a load that begins before finds too little of it
    /// and keeps layers on the processor for good.
    pub settle: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            load: Duration::from_secs(600),
            unload: Duration::from_secs(60),
            silence: Duration::from_secs(15),
            pause: Duration::from_millis(20),
            settle: Duration::from_millis(1500),
        }
    }
}

/// A load that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedIn {
    /// From the order to the answer; near zero if the model was loaded like that already.
    pub took: Duration,
    /// Tokens of context per slot that it is loaded with, where told: less than asked for where the model was trained
    /// for less.
    pub context: Option<u64>,
}

/// Why a model was not loaded, or not unloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LoadFault {
    /// What happened, as a sentence for people; with the server's own words where it said any, cut at 500 characters.
    pub reason: String,
    /// Whether memory did not suffice. Told by the words that Ollama itself goes by; a router does not say why.
    pub is_memory: bool,
    /// Whether the server, or the model on it, is not there any more: trying again is in vain until it is seen again.
    pub is_gone: bool,
    /// Whether somebody else's use of the server stands in the way: the model is still in use, nothing can be evicted,
    /// or too many wait. It may work later.
    pub is_busy: bool,
}

impl LoadFault {
    fn new(reason: impl Into<String>) -> LoadFault {
        LoadFault { reason: reason.into(), ..LoadFault::default() }
    }

    fn gone(reason: impl Into<String>) -> LoadFault {
        LoadFault { is_gone: true, ..LoadFault::new(reason) }
    }

    fn busy(reason: impl Into<String>) -> LoadFault {
        LoadFault { is_busy: true, ..LoadFault::new(reason) }
    }

    /// What a refusal with `status` and a server's words `text` means.
    fn refused(status: u16, text: &str) -> LoadFault {
        let lower = text.to_ascii_lowercase();
        LoadFault {
            reason: match text {
                "" => format!("refused with status {status}"),
                text => text.chars().take(MOST_WORDS).collect(),
            },
            is_memory: MEMORY.iter().any(|words| lower.contains(words)),
            is_gone: status == 404,
            is_busy: status == 503 || lower.contains("model limit reached"),
        }
    }
}

/// Characters of a server's words that are passed on.
const MOST_WORDS: usize = 500;

/// Words of an engine that had too little memory: those by which Ollama itself knows it (llm/status.go, August 2026),
/// that of a model larger than the machine (llm/server.go), and that of versions before 0.30.
const MEMORY: [&str; 12] = [
    "out of memory",
    "out of device memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "allocation failed",
    "not enough memory",
    "insufficient memory",
    "vk_error_out_of_device_memory",
    "erroroutofmemory",
    "unable to load full model on gpu",
    "requires more system memory",
];

impl Handle {
    /// Waits for loads and unloads as long as `patience` says.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Handle {
        self.patience = patience;
        self
    }

    /// Loads `model`, as the backend calls it, with `context` tokens per slot, and keeps it loaded until it is unloaded.
    ///
    /// Also right for a model that is loaded with another context: it is loaded again. `None`, or less than four
    /// tokens, leaves the context to the server; embedding models and routers are never told one. Ends when the server
    /// lists the model as loaded and the node was told so, at the latest after [`Patience::load`].
    ///
    /// Dropping it half-way makes an Ollama kill the load; a router goes on.
    pub async fn load(
        &self,
        state: &BackendState,
        model: &str,
        context: Option<u64>,
        is_embedding: bool,
    ) -> Result<LoadedIn, LoadFault> {
        let asker = self.asker(state);
        let began = self.clock.now();
        let context = context.filter(|tokens| *tokens >= LEAST_CONTEXT && !is_embedding);
        let work = async {
            match state.kind {
                BackendKind::Ollama => ollama::load(&asker, state, model, context, is_embedding).await,
                BackendKind::LlamaRouter => router::load(&asker, model).await,
                kind => Err(by_itself(kind)),
            }
        };
        let limit = self.patience.load;
        let late = || LoadFault::busy(format!("is not loaded after {} s", limit.as_secs()));
        let loaded = timeout(limit, work).await.unwrap_or_else(|_| Err(late()));
        let took = self.clock.now().since(began);
        match &loaded {
            Ok(context) => tracing::info!(backend = %state.id, model, ?context, ?took, "loaded a model"),
            Err(fault) => tracing::warn!(backend = %state.id, model, %fault, ?took, "could not load a model"),
        }
        self.told(state).await;
        loaded.map(|context| LoadedIn { took, context })
    }

    /// Unloads `model`, as the backend calls it. One that is not loaded is unloaded.
    ///
    /// A server waits for the end of every answer that the model is giving, also to others. Ends when the server lists
    /// the model no more and the node was told so, at the latest [`Patience::silence`] after [`Patience::unload`]: then
    /// the fault says how the model is still held, and the order stands, so it may go any time later. Names that share the model's file of
    /// weights are unloaded with it. May be dropped half-way.
    pub async fn unload(&self, state: &BackendState, model: &str) -> Result<(), LoadFault> {
        let asker = self.asker(state);
        let began = self.clock.now();
        let work = async {
            match state.kind {
                BackendKind::Ollama => ollama::unload(&asker, state, model).await,
                BackendKind::LlamaRouter => router::unload(&asker, model).await,
                kind => Err(by_itself(kind)),
            }
        };
        // An Ollama does not answer the order while it loads this very model.
        let limit = self.patience.unload.saturating_add(self.patience.silence);
        let late = || LoadFault::busy(format!("is not unloaded after {} s", limit.as_secs()));
        let gone = timeout(limit, work).await.unwrap_or_else(|_| Err(late()));
        let took = self.clock.now().since(began);
        match &gone {
            Ok(()) => tracing::info!(backend = %state.id, model, ?took, "unloaded a model"),
            Err(fault) => tracing::warn!(backend = %state.id, model, %fault, ?took, "could not unload a model"),
        }
        self.told(state).await;
        gone
    }

    fn asker(&self, state: &BackendState) -> Asker {
        Asker::new(&state.address, &self.own_id, self.clock, self.patience.clone())
    }

    /// Waits until the node knows what is loaded now, if this backend is watched.
    async fn told(&self, state: &BackendState) {
        let _ = timeout(SEEN_WITHIN, self.board.look(&state.id)).await;
    }
}

fn by_itself(kind: BackendKind) -> LoadFault {
    LoadFault::new(format!("a backend of kind {} loads and unloads by itself", kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_understood() {
        let memory = |status, text| LoadFault::refused(status, text).is_memory;
        for text in [
            "llama-server process has terminated: exit status 1: error: cudaMalloc failed: out of memory",
            "unable to load full model on GPU",
            "model requires more system memory (8.0 GiB) than is available (3.1 GiB)",
            "llama-server process has terminated: ggml_backend_alloc: FAILED TO ALLOCATE buffer",
        ] {
            assert!(memory(500, text), "{text}");
        }
        for (status, text, is_gone, is_busy) in [
            (500, "llama-server process no longer running: unknown ", false, false),
            (500, "timed out waiting for llama-server to start - ", false, false),
            (404, "model 'nope' not found", true, false),
            (503, "server busy, please try again.  maximum pending requests exceeded", false, true),
            (500, "model limit reached, try again later", false, true),
        ] {
            let fault = LoadFault::refused(status, text);
            assert_eq!((fault.is_memory, fault.is_gone, fault.is_busy), (false, is_gone, is_busy), "{text}");
            assert_eq!(fault.to_string(), text);
        }
        assert_eq!(LoadFault::refused(418, "").reason, "refused with status 418");
        assert_eq!(LoadFault::refused(500, &"x".repeat(9999)).reason.len(), MOST_WORDS);
    }
}
