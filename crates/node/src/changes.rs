//! Changes that somebody asks for: models to load and to unload, and who belongs to the fleet.

use std::time::Duration;

use bytes::Bytes;
use gateway::{Change, ChangeError, ChangeFuture, ShareOrder};
use proto::{BackendKind, ModelName};
use routing::{Wish, Wished};
use serde_json::json;

use crate::fleet::{Done, Order};
use crate::node::Node;

/// How long somebody waits for a model; the load itself goes on.
const LONGEST: Duration = Duration::from_secs(600);
/// Between two looks at a model that is waited for. News of backends come sooner.
const LOOK: Duration = Duration::from_millis(200);

impl Node {
    /// Begins `change`; the future tells when it is done.
    pub(crate) fn begin(&self, change: Change) -> ChangeFuture {
        let (model, wish) = match change {
            Change::Load { model, context } => (model, Wish::Load { context }),
            Change::Unload { model } => (model, Wish::Unload),
            Change::Join { code, address } => return self.ask_fleet(|done| Order::Join { code, address, done }),
            Change::Answer { joiner, allow } => return self.ask_fleet(|done| Order::Answer { joiner, allow, done }),
            Change::Leave => return self.ask_fleet(|done| Order::Leave { done }),
            Change::Remove { device } => return self.ask_fleet(|done| Order::Remove { device, done }),
            Change::Rename { device, name } => return self.ask_fleet(|done| Order::Rename { device, name, done }),
            Change::AddKey { name, rpm, at_once } => {
                return self.ask_fleet(|done| Order::AddKey { name, rpm, at_once, done });
            }
            Change::RevokeKey { name } => return self.ask_fleet(|done| Order::RevokeKey { name, done }),
            Change::NewFleet { name } => return self.ask_fleet(|done| Order::NewFleet { name, done }),
            Change::Share(order) => return self.order_share(order),
        };
        let Some(me) = self.me.upgrade() else {
            return failed(ChangeError::Failed("Herd is stopping on this machine".to_owned()));
        };
        let backends = self.backends.load();
        let mut holders = backends.iter().filter(|backend| backend.model(&model).is_some()).peekable();
        if holders.peek().is_none() {
            return failed(ChangeError::NotFound(format!("no backend has model `{model}`")));
        }
        if !holders.any(|backend| loads_by_order(backend.kind)) {
            return failed(ChangeError::NotFound(format!(
                "the backends of model `{model}` load and unload by themselves"
            )));
        }
        let is_load = matches!(wish, Wish::Load { .. });
        let unseen: Vec<_> = backends
            .iter()
            .filter(|backend| !is_load && loads_by_order(backend.kind))
            .filter_map(|backend| {
                Some((backend.clone(), backend.model(&model).filter(|known| known.loaded.is_none())?.id.clone()))
            })
            .collect();
        self.placer.wish(model.clone(), wish);
        Box::pin(async move {
            // Somebody may have loaded it since it was last looked; nobody waits for the end of such an answer.
            for (backend, id) in unseen {
                if let Err(fault) = me.watch.unload(&backend, &id).await {
                    return Err(ChangeError::Failed(format!("model `{model}` was not unloaded: {fault}")));
                }
            }
            tokio::time::timeout(LONGEST, me.until_done(&model, is_load)).await.unwrap_or_else(|_| {
                let state = if is_load { "loaded" } else { "unloaded" };
                Err(ChangeError::TimedOut(format!(
                    "model `{model}` is not {state} after 10 minutes; it may still come"
                )))
            })
        })
    }

    /// Has this machine share or not; answers with all that is known of that afterwards.
    fn order_share(&self, order: ShareOrder) -> ChangeFuture {
        let (heeded, me) = (self.sharing.order(order), self.me.clone());
        Box::pin(async move {
            let all = heeded.await?;
            Ok(match me.upgrade() {
                Some(me) => me.sharing_view(all),
                None => all.to_string().into(),
            })
        })
    }

    /// Has the fleet's driver do something; the end of the node does not wait for it.
    fn ask_fleet(&self, order: impl FnOnce(Done) -> Order) -> ChangeFuture {
        let (doing, stopping) = (self.fleet.change(order), self.stopping.clone());
        Box::pin(async move {
            tokio::select! {
                done = doing => done,
                () = stopping.cancelled_owned() => Err(ChangeError::Failed("Herd is stopping on this machine".to_owned())),
            }
        })
    }

    async fn until_done(&self, model: &ModelName, is_load: bool) -> Result<Bytes, ChangeError> {
        let mut news = self.news.subscribe();
        loop {
            let loaded = self.backends.load().iter().find_map(|backend| {
                let known = backend.model(model).filter(|_| loads_by_order(backend.kind))?;
                Some((backend.id.clone(), known.id.clone(), known.loaded.clone()?))
            });
            let undone = if is_load { "loaded" } else { "unloaded" };
            match (self.placer.look(|router| router.wished(model)), loaded) {
                (Wished::Failed(why), None) if is_load => return Err(not_done(model, undone, &why)),
                (Wished::Failed(why), _) if !is_load => return Err(not_done(model, undone, &why)),
                (Wished::Done | Wished::Failed(_), Some((backend, name, loaded))) if is_load => {
                    let json = json!({ "model": name, "backend": backend.as_str(), "context": loaded.context });
                    return Ok(json.to_string().into());
                }
                // It was gone, be it that somebody had it loaded again since.
                (Wished::Done, _) if !is_load => return Ok(json!({ "model": model.as_str() }).to_string().into()),
                _ => {}
            }
            tokio::select! {
                _ = news.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

fn not_done(model: &ModelName, what: &str, why: &str) -> ChangeError {
    ChangeError::Failed(format!("model `{model}` could not be {what}: {why}"))
}

/// Whether backends of that kind load and unload when they are told to.
fn loads_by_order(kind: BackendKind) -> bool {
    matches!(kind, BackendKind::Ollama | BackendKind::LlamaRouter)
}

fn failed(error: ChangeError) -> ChangeFuture {
    Box::pin(std::future::ready(Err(error)))
}
