//! Clients that manage models themselves: an empty prompt with `keep_alive: 0` unloads.

use std::time::Duration;

use http::{Response, StatusCode};
use proto::{Api, KeepAlive, Outcome};

use crate::exchange::Exchange;
use crate::fleet::{Change, ChangeError};
use crate::reply::{self, Reply};
use crate::worker::Worker;

/// How long the answer waits for the model to be gone: longer than an idle one takes. A busy one goes when its answers
/// have ended; Ollama too answers at once then.
const LONGEST: Duration = Duration::from_secs(5);

/// The answer to a request that only unloads a model; `None` for all others, and where no model is ours to unload.
pub(crate) async fn answer(worker: &Worker, api: Api, exchange: &mut Exchange) -> Option<Response<Reply>> {
    let unloads = !exchange.scan.has_input && exchange.keep_alive() == Some(KeepAlive::Unload);
    if !unloads || !matches!(api, Api::OllamaChat | Api::OllamaGenerate) {
        return None;
    }
    let model = exchange.models().first()?.clone();
    let change = worker.door().fleet().change(Change::Unload { model });
    match tokio::time::timeout(LONGEST, change).await {
        // A server that loads by itself, or a model that nobody has, is answered as any request.
        Ok(Err(ChangeError::NotFound(_))) => return None,
        Ok(Err(ChangeError::Failed(why) | ChangeError::Refused(why) | ChangeError::TimedOut(why))) => {
            tracing::warn!(why, "a model was not unloaded")
        }
        Ok(Ok(_)) | Err(_) => {}
    }
    let body = dialect::unloaded(api, &exchange.record.trace().original_model, worker.door().unix_ms());
    exchange.record.end(Outcome::Completed, 200, None);
    // Ollama answers in one piece, streamed or not.
    Some(reply::full(StatusCode::OK, "application/json; charset=utf-8", body))
}
