//! Loads and unloads of a llama-server in router mode, as measured on build 10434 (November 2026).
//!
//! Both orders are answered at once and carried out afterwards; `/models` tells how far they are. A load that failed
//! shows as `unloaded` with `failed` and an exit code, and no word about why. With its limit reached and nothing idle a
//! router refuses to load; with something idle it evicts by itself.

use serde_json::{Value, json};

use super::LoadFault;
use super::asker::Asker;
use crate::http::Answer;
use crate::portrait::{list, number, text};

/// Loads the model called `id`; returns its context, where told.
pub(super) async fn load(asker: &Asker, id: &str) -> Result<Option<u64>, LoadFault> {
    let answer = asker.order("/models/load", &json!({ "model": id }), "/health").await?;
    let words = words(&answer);
    // Also what it says of one that is just loading.
    if answer.status != 200 && !words.contains("already running") {
        return Err(LoadFault::refused(answer.status, &words));
    }
    let mut pauses = asker.pauses(asker.patience.load);
    loop {
        let entry = entry(asker, id).await?.ok_or_else(|| LoadFault::gone("is not listed any more"))?;
        let status = entry.get("status").unwrap_or(&Value::Null);
        match text(status, "value").as_deref() {
            // One that sleeps wakes up with its next request.
            Some("loaded" | "sleeping") => return Ok(entry.get("meta").and_then(|meta| number(meta, "n_ctx"))),
            Some("unloaded") => return Err(ended(status)),
            _ => {}
        }
        if !pauses.wait().await {
            return Err(LoadFault::busy("takes too long to load"));
        }
    }
}

/// Unloads the model called `id` and waits until its engine has ended.
pub(super) async fn unload(asker: &Asker, id: &str) -> Result<(), LoadFault> {
    let answer = asker.order("/models/unload", &json!({ "model": id }), "/health").await?;
    let words = words(&answer);
    if answer.status != 200 {
        let is_unloaded = ["not running", "not found"].iter().any(|end| words.contains(end));
        return if is_unloaded { Ok(()) } else { Err(LoadFault::refused(answer.status, &words)) };
    }
    let mut pauses = asker.pauses(asker.patience.unload);
    loop {
        let Some(entry) = entry(asker, id).await? else { return Ok(()) };
        let status = entry.get("status").and_then(|status| text(status, "value")).unwrap_or_default();
        if status == "unloaded" {
            return Ok(());
        }
        if !pauses.wait().await {
            let passed = pauses.passed().as_secs();
            return Err(LoadFault::busy(format!("is still {status} {passed} s after it was told to go")));
        }
    }
}

async fn entry(asker: &Asker, id: &str) -> Result<Option<Value>, LoadFault> {
    let body = asker.look("/models").await?;
    Ok(list(&body, "data").iter().find(|entry| text(entry, "id").as_deref() == Some(id)).cloned())
}

fn ended(status: &Value) -> LoadFault {
    if status.get("failed").and_then(Value::as_bool) != Some(true) {
        return LoadFault::busy("was unloaded by somebody else while it was loading");
    }
    let code = status.get("exit_code").and_then(Value::as_i64);
    LoadFault::new(match code {
        Some(code) => format!("its engine ended with code {code} while loading; its server's log says why"),
        None => "its engine ended while loading; its server's log says why".to_owned(),
    })
}

fn words(answer: &Answer) -> String {
    answer.json().and_then(|body| text(body.get("error")?, "message")).unwrap_or_default()
}
