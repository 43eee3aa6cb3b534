//! Names of settings: those of the earlier system that mean nothing here, and what somebody meant who mistyped one.

/// Variables of the earlier system that have no effect here, with what to know instead. A trailing `*` stands for any end.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("FLEET_ANTHROPIC_*", "FLEET_ANTHROPIC_MODEL_MAP names the models that answer for claude-… names"),
    ("FLEET_AUTO_PULL*", "models are never fetched because a client named them"),
    ("FLEET_BANDWIDTH_AWARE_SCORING", "speed is learnt, not set"),
    ("FLEET_CLIENT_*", "waiting requests are served fairly between apps"),
    ("FLEET_CLOUD_FLEET_TOKEN", "Herd talks to no cloud of its own"),
    ("FLEET_CONSOLE_LOG_LEVEL", "FLEET_LOG_LEVEL sets the level of the log file and of the terminal"),
    ("FLEET_CONTEXT_COMPACTION_*", "prompts are never rewritten"),
    ("FLEET_CORS_ORIGINS", "web pages of this machine may call as they may call Ollama; others may not"),
    ("FLEET_DEBUG_REQUEST_*", "prompts are never written to disk"),
    ("FLEET_DISABLE_MODEL_PRELOADER", "models are not loaded ahead of requests"),
    ("FLEET_DYNAMIC_NUM_CTX", "the context that a client asks for is passed on"),
    ("FLEET_EMBEDDING_USE_COREML", "backends do the embedding"),
    ("FLEET_ENV_FILE", "set variables in the service's own file, or in settings.json"),
    ("FLEET_FLEET_INTELLIGENCE*", "no model is used to comment on the fleet"),
    ("FLEET_HEARTBEAT_*", "timing between machines is not a setting"),
    ("FLEET_HERD_NICKNAME", "nothing is sent to anybody"),
    ("FLEET_IMAGE_*", "images are not made by this version"),
    ("FLEET_MDNS_SERVICE_*", "the service name is fixed"),
    ("FLEET_MLX_*", "start the server yourself and name it in FLEET_BACKENDS"),
    ("FLEET_MODEL_PRELOAD_MAX_COUNT", "models are not loaded ahead of requests"),
    ("FLEET_NODE_ENABLE_CAPACITY_LEARNING", "this machine's habits are not learnt by this version"),
    ("FLEET_NODE_HEARTBEAT_INTERVAL", "timing between machines is not a setting"),
    ("FLEET_NODE_MDNS_SERVICE_TYPE", "the service name is fixed"),
    ("FLEET_NODE_MLX_*", "start the server yourself and name it in FLEET_BACKENDS"),
    ("FLEET_NODE_PLATFORM_*", "Herd talks to no platform"),
    ("FLEET_NODE_POLL_INTERVAL", "backends are watched without a setting"),
    ("FLEET_NODE_TELEMETRY*", "nothing is sent to anybody"),
    ("FLEET_NUM_CTX_*", "the context that a client asks for is passed on"),
    ("FLEET_OFFLINE_ALERT*", "no alerts are sent"),
    ("FLEET_PINNED_MODELS", "models are not pinned by this version"),
    ("FLEET_PRE_WARM_*", "models are not loaded ahead of requests"),
    ("FLEET_QUEUE_PENALTY_*", "the points are as documented, without a setting"),
    ("FLEET_REBALANCE_*", "waiting requests are bound to a backend only when it is free"),
    ("FLEET_SCORE_*", "the points are as documented, without a setting"),
    ("FLEET_STALE_TIMEOUT", "a request lasts as long as its client waits"),
    ("FLEET_TELEMETRY*", "nothing is sent to anybody"),
    ("FLEET_THINKING_*", "the lengths that a client asks for are passed on"),
    ("FLEET_TRANSCRIPTION*", "this version makes no transcriptions itself"),
    ("FLEET_VISION_EMBEDDING*", "backends do the embedding"),
    ("FLEET_VRAM_FALLBACK", "another model serves only where the client named it"),
];

/// Whether a variable was meant for Herd.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("FLEET_") && !EARLIER.iter().any(|(_, earlier)| *earlier == name)
}

// The earlier node put its prefix before every one of its own settings' names.
const EARLIER: &[(&str, &str)] = &[("FLEET_NODE_ID", "FLEET_NODE_NODE_ID"), ("FLEET_DATA_DIR", "FLEET_NODE_DATA_DIR")];

/// What the setting `name` was called by the earlier system, where that differs.
pub(super) fn earlier_name(name: &str) -> Option<&'static str> {
    EARLIER.iter().find(|(now, _)| *now == name).map(|(_, earlier)| *earlier)
}

/// What to tell somebody who set `name` (found at `place`), which is none of `known`.
pub(super) fn about_unknown(name: &str, place: &str, known: &[&str]) -> String {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    if let Some((_, instead)) = WITHOUT_EFFECT.iter().find(|(pattern, _)| fits(pattern)) {
        return format!("{name}{place} has no effect: {instead}");
    }
    match known.iter().map(|known| (distance(name, known), *known)).min() {
        Some((_, nearest)) => format!("{name}{place} is not a setting of Herd; the nearest is {nearest}"),
        None => format!("{name}{place} is not a setting of Herd"),
    }
}

/// How many characters must be put in, taken out or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The name that this machine gives itself, in a form that can be shown.
pub(super) fn host_name() -> String {
    let name: String =
        gethostname::gethostname().to_string_lossy().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.trim().is_empty() { "this-machine".to_owned() } else { name }
}
