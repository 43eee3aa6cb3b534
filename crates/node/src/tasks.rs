//! The owner of tasks and threads: nothing runs that nobody waits for.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks of one runtime, ended together.
#[derive(Default)]
pub struct Tasks {
    set: JoinSet<()>,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet; `stop` ends those that will be spawned.
    pub fn new(stop: CancellationToken) -> Tasks {
        Tasks { set: JoinSet::new(), stop }
    }

    /// Runs a task until the token that it is handed is cancelled. One that ends earlier is loud.
    pub fn spawn<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        let running = task(stop.clone());
        self.set.spawn(async move {
            running.await;
            if !stop.is_cancelled() {
                tracing::error!(task = name, "a task ended that should run as long as the program");
            }
        });
    }

    /// Stops all tasks and waits for their end, at most for `grace`; what has not ended then is dropped.
    pub async fn shutdown(mut self, grace: Duration) {
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.set.join_next().await {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    tracing::error!(%error, "a task panicked");
                }
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!(tasks = self.set.len(), "tasks did not end in time");
            self.set.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_every_task() {
        let mut tasks = Tasks::new(CancellationToken::new());
        let (done, mut ended) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..3 {
            let done = done.clone();
            tasks.spawn("test", move |stop| async move {
                stop.cancelled().await;
                tokio::time::sleep(Duration::from_secs(number)).await;
                done.send(number).unwrap();
            });
        }
        drop(done);
        tasks.shutdown(Duration::from_secs(10)).await;
        let mut all = Vec::new();
        while let Some(number) = ended.recv().await {
            all.push(number);
        }
        assert_eq!(all, [0, 1, 2]);
    }
}
