//! Carries out what the router wants loaded and unloaded.
//!
//! One task owns all loads; the router never has more than one under way at a backend, so there are as many as backends
//! at most. No client's leaving touches them. When the node stops they are dropped.

use std::sync::Arc;

use backend::{Handle, LoadFault};
use routing::{Job, JobFault};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::placing::Placer;

/// What is to be done with a model.
#[derive(Debug)]
pub(crate) enum Order {
    Load(Job),
    Unload(Job),
}

/// Carries out `orders` until `stop`, and tells `placer` how each ended.
pub(crate) async fn carry_out(
    mut orders: mpsc::UnboundedReceiver<Order>,
    backends: Handle,
    placer: Arc<Placer>,
    stop: CancellationToken,
) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = running.join_next() => {
                match ended {
                    Ok((id, result)) => placer.job_ended(id, result),
                    // The router waits for each; a load that panicked is told by nobody else.
                    Err(error) => tracing::error!(%error, "a load was lost"),
                }
            }
            order = orders.recv() => {
                let Some(order) = order else { break };
                let backends = backends.clone();
                running.spawn(async move {
                    let id = match &order {
                        Order::Load(job) | Order::Unload(job) => job.id,
                    };
                    let done = Box::pin(one(&backends, &order)).await;
                    (id, done.map_err(fault))
                });
            }
        }
    }
    running.shutdown().await;
}

async fn one(backends: &Handle, order: &Order) -> Result<(), LoadFault> {
    match order {
        Order::Load(job) => {
            tracing::info!(
                backend = %job.backend.id, model = job.model, context = job.context, why = ?job.why, "loading a model"
            );
            backends.load(&job.backend, &job.model, job.context, job.is_embedding).await.map(|_| ())
        }
        Order::Unload(job) => {
            tracing::info!(backend = %job.backend.id, model = job.model, why = ?job.why, "unloading a model");
            backends.unload(&job.backend, &job.model).await
        }
    }
}

fn fault(fault: LoadFault) -> JobFault {
    JobFault { retry: fault.is_busy || fault.is_memory, is_memory: fault.is_memory, reason: fault.reason }
}
