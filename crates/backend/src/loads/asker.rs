//! Questions to a server that is at work: patient about the work, not about silence.

use std::time::Duration;

use proto::{Address, Clock, Moment};
use serde_json::Value;
use tokio::time::sleep;

use super::{LoadFault, Patience};
use crate::Pace;
use crate::http::{Answer, Client, LONG, SHORT, Trouble};

/// Questions in a row without an answer after which a server hangs.
const MISSES: u32 = 3;

/// Asks one server, for one order.
pub(super) struct Asker {
    quick: Client,
    slow: Client,
    clock: Clock,
    pub(super) patience: Patience,
}

impl Asker {
    pub(super) fn new(address: &Address, own_id: &str, clock: Clock, patience: Patience) -> Asker {
        let connect = Pace::default().connect_to(address);
        let client = |answer: Duration| Client::new(address.clone(), own_id.to_owned(), connect, answer);
        let longest = patience.load.max(patience.unload);
        Asker { quick: client(patience.silence), slow: client(longest), clock, patience }
    }

    /// Gives an order and waits for its end, as long as the server answers `path` meanwhile.
    pub(super) async fn order(&self, order: &str, body: &Value, path: &str) -> Result<Answer, LoadFault> {
        tokio::select! {
            answer = self.slow.post(order, body) => answer.map_err(fault),
            () = self.silence(path) => Err(hung()),
        }
    }

    /// The JSON at `path`. A slow answer is waited for [`MISSES`] times.
    pub(super) async fn look(&self, path: &str) -> Result<Value, LoadFault> {
        for _ in 0..MISSES {
            match self.quick.get(path, LONG).await {
                Ok(answer) if answer.status == 200 => return answer.json().ok_or_else(|| fault(Trouble::Odd)),
                Ok(_) => return Err(fault(Trouble::Odd)),
                Err(Trouble::Silent) => {}
                Err(trouble) => return Err(fault(trouble)),
            }
        }
        Err(hung())
    }

    /// Ends when the server has not answered for long.
    async fn silence(&self, path: &str) {
        let mut misses = 0;
        while misses < MISSES {
            sleep(self.patience.silence).await;
            misses = match self.quick.get(path, SHORT).await {
                Ok(_) => 0,
                Err(_) => misses + 1,
            };
        }
    }

    /// Pauses between looks for at most `limit`.
    pub(super) fn pauses(&self, limit: Duration) -> Pauses {
        let next = self.patience.pause;
        Pauses { clock: self.clock, began: self.clock.now(), limit, next, most: next.saturating_mul(25) }
    }
}

/// Pauses that grow from [`Patience::pause`] to 25 times as much.
pub(super) struct Pauses {
    clock: Clock,
    began: Moment,
    limit: Duration,
    next: Duration,
    most: Duration,
}

impl Pauses {
    /// Waits; false when the time is over.
    pub(super) async fn wait(&mut self) -> bool {
        if self.passed() >= self.limit {
            return false;
        }
        sleep(self.next).await;
        self.next = self.next.saturating_mul(2).min(self.most);
        true
    }

    /// Since the first of them began.
    pub(super) fn passed(&self) -> Duration {
        self.clock.now().since(self.began)
    }
}

fn fault(trouble: Trouble) -> LoadFault {
    match trouble {
        Trouble::Silent => hung(),
        Trouble::Gone(reason) => LoadFault::gone(format!("its server {reason}")),
        Trouble::Foreign(_) | Trouble::Odd => LoadFault::gone("its server answers what no such server answers"),
    }
}

fn hung() -> LoadFault {
    LoadFault::gone("its server takes connections but does not answer")
}
