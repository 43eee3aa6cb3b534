-- 0002: what Herd knows beyond the documented columns. NULL means: not known, or written by the earlier system.
ALTER TABLE request_traces ADD COLUMN node_key       TEXT;    -- the node's identity: survives a renaming
ALTER TABLE request_traces ADD COLUMN backend        TEXT;    -- the one that served last
ALTER TABLE request_traces ADD COLUMN path           TEXT;    -- the call, as the client made it
ALTER TABLE request_traces ADD COLUMN kind           TEXT;    -- text, embed, image, stt, rerank
ALTER TABLE request_traces ADD COLUMN http_status    INTEGER; -- 0: the client left before any
ALTER TABLE request_traces ADD COLUMN queued_ms      REAL;    -- spent waiting for a slot
ALTER TABLE request_traces ADD COLUMN app            TEXT;    -- from the User-Agent
ALTER TABLE request_traces ADD COLUMN zone           TEXT;    -- node, fleet, cloud: how far it was allowed to go
ALTER TABLE request_traces ADD COLUMN priority       INTEGER;
ALTER TABLE request_traces ADD COLUMN key_id         TEXT;    -- the client's key, never the key itself
ALTER TABLE request_traces ADD COLUMN candidates     TEXT;    -- JSON list, the chosen one first
ALTER TABLE request_traces ADD COLUMN attempts       TEXT;    -- JSON list, in order
ALTER TABLE request_traces ADD COLUMN unretriable    INTEGER; -- 1: the body was too large to keep for a second try
ALTER TABLE request_traces ADD COLUMN request_bytes  INTEGER;
ALTER TABLE request_traces ADD COLUMN response_bytes INTEGER;
ALTER TABLE latency_observations ADD COLUMN node_key TEXT;
ALTER TABLE latency_observations ADD COLUMN backend  TEXT;
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
