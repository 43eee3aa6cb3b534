-- 0001: the tables that published queries read, with the columns they know. Times are Unix seconds, durations milliseconds.
-- A database of the earlier system has some of them already; columns it lacks are added after this.
CREATE TABLE IF NOT EXISTS latency_observations (
    id                INTEGER PRIMARY KEY,
    node_id           TEXT NOT NULL,                       -- the node's shown name
    model_name        TEXT NOT NULL,
    latency_ms        REAL NOT NULL,
    tokens_generated  INTEGER,
    timestamp         REAL NOT NULL,
    prompt_tokens     INTEGER,
    completion_tokens INTEGER
);
CREATE TABLE IF NOT EXISTS request_traces (
    id                     INTEGER PRIMARY KEY,
    request_id             TEXT NOT NULL,
    model                  TEXT NOT NULL,                  -- the one that served
    original_model         TEXT NOT NULL,                  -- the one asked for
    node_id                TEXT NOT NULL,                  -- the node's shown name
    score                  REAL,
    scores_breakdown       TEXT,                           -- JSON object
    status                 TEXT NOT NULL,                  -- completed, failed, client_disconnected, incomplete, rejected
    latency_ms             REAL,
    time_to_first_token_ms REAL,
    prompt_tokens          INTEGER,
    completion_tokens      INTEGER,
    retry_count            INTEGER DEFAULT 0,
    fallback_used          INTEGER DEFAULT 0,
    excluded_nodes         TEXT,                           -- JSON list
    client_ip              TEXT,
    original_format        TEXT,                           -- ollama, openai, anthropic
    error_message          TEXT,
    timestamp              REAL NOT NULL,                  -- when it came in
    tags                   TEXT,                           -- JSON list
    finish_reason          TEXT,
    estimated_tokens       INTEGER
);
CREATE TABLE IF NOT EXISTS benchmark_runs (
    id                      INTEGER PRIMARY KEY,
    run_id                  TEXT UNIQUE,
    timestamp               REAL,
    duration_s              REAL,
    total_requests          INTEGER,
    total_failures          INTEGER,
    total_prompt_tokens     INTEGER,
    total_completion_tokens INTEGER,
    requests_per_sec        REAL,
    tokens_per_sec          REAL,
    latency_p50_ms          REAL,
    latency_p95_ms          REAL,
    latency_p99_ms          REAL,
    ttft_p50_ms             REAL,
    ttft_p95_ms             REAL,
    ttft_p99_ms             REAL,
    fleet_snapshot          TEXT,                          -- JSON
    per_model_results       TEXT,                          -- JSON
    per_node_results        TEXT,                          -- JSON
    peak_utilization        TEXT                           -- JSON
);
