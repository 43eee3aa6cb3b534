//! What is to be told once the lock around the scheduler is free.

use bytes::Bytes;
use mesh::SendError;
use proto::NodeId;
use proto::wire::Envelope;
use tokio::sync::oneshot;

use super::{Answer, Line};
use crate::fleet::known::key;

/// Messages to other nodes, and answers to this door's own requests.
#[derive(Default)]
pub(super) struct Mail {
    answers: Vec<(u64, oneshot::Sender<Answer>, Answer)>,
    messages: Vec<(NodeId, Envelope)>,
}

impl Mail {
    pub(super) fn send(&mut self, to: NodeId, message: Envelope) {
        self.messages.push((to, message));
    }

    pub(super) fn answer(&mut self, number: u64, to: oneshot::Sender<Answer>, answer: Answer) {
        self.answers.push((number, to, answer));
    }

    /// Takes out the answer to request `number`, which need not go by its channel then.
    pub(super) fn take_own(&mut self, number: u64) -> Option<Answer> {
        let at = self.answers.iter().position(|(answered, ..)| *answered == number)?;
        Some(self.answers.swap_remove(at).2)
    }

    /// Sends all of it. Gives back what had no room on its way and must not get lost: a leader that is not told that a
    /// request is over would count it for ever.
    #[must_use = "what is given back is to be sent again"]
    pub(super) fn deliver(self, line: Option<&Line>) -> Vec<(NodeId, Envelope)> {
        for (_, to, answer) in self.answers {
            // Whoever does not wait any more has given it back by then.
            let _ = to.send(answer);
        }
        let mut owed = Vec::new();
        let Some(line) = line else { return owed };
        for (to, message) in self.messages {
            let sent = line.mesh.send(key(to), Bytes::from(message.encode()));
            match sent {
                Ok(()) => {}
                Err(SendError::Full) if matches!(message, Envelope::Ended(_) | Envelope::Withdrawn(_)) => {
                    owed.push((to, message));
                }
                // What else does not arrive is noticed: a leader that hears nothing says nothing, and one that is gone
                // has forgotten.
                Err(error) => tracing::debug!(node = %to, %error, "a message about requests was not sent"),
            }
        }
        owed
    }
}
