-- 0004: the memory of the fleet. A journal is what one node recorded into one database: its entries are numbered from 1,
-- and every node that may see them ends up with all that are not too old.
CREATE TABLE journal (
    id       INTEGER PRIMARY KEY,
    door_key TEXT    NOT NULL,                             -- the identity of the node that records into it
    number   TEXT    NOT NULL,                             -- 16 hexadecimal digits
    door     TEXT    NOT NULL,                             -- that node's shown name
    own      INTEGER NOT NULL CHECK (own IN (0, 1)),       -- 1: of the node that this database is of
    through  INTEGER NOT NULL DEFAULT 0,                   -- all entries up to this one are here, or were
    UNIQUE (door_key, number)
) STRICT;
ALTER TABLE request_traces ADD COLUMN journal INTEGER;     -- NULL: from before there were journals
ALTER TABLE request_traces ADD COLUMN seq     INTEGER;     -- its number there
ALTER TABLE latency_observations ADD COLUMN journal INTEGER;
-- Serves "what others lack of this journal".
CREATE UNIQUE INDEX herd_traces_by_journal ON request_traces (journal, seq) WHERE journal IS NOT NULL;
-- Sums of requests by the hour (UTC) in which they came. They count instead of the rows once those are deleted.
CREATE TABLE fleet_hours (
    journal             INTEGER NOT NULL,                  -- 0: rows from before there were journals
    hour                INTEGER NOT NULL,                  -- the Unix second at which it begins
    node_key            TEXT    NOT NULL,                  -- the node that served; its name where its key is not known
    node_id             TEXT    NOT NULL,                  -- its shown name
    model               TEXT    NOT NULL,
    app                 TEXT    NOT NULL,                  -- empty: not known
    seq                 INTEGER,                           -- NULL: made here for somebody who did not
    requests            INTEGER NOT NULL,
    completed           INTEGER NOT NULL,
    failed              INTEGER NOT NULL,
    broken              INTEGER NOT NULL,                  -- incomplete, or without output
    latency_ms          REAL    NOT NULL,                  -- sums, as the following
    completed_ms        REAL    NOT NULL,
    ttft_ms             REAL    NOT NULL,
    ttfts               INTEGER NOT NULL,
    prompt_tokens       INTEGER NOT NULL,
    completion_tokens   INTEGER NOT NULL,
    retries             INTEGER NOT NULL,
    fallbacks           INTEGER NOT NULL,
    observed            INTEGER NOT NULL,                  -- completed work of a model
    observed_ms         REAL    NOT NULL,
    least_ms            REAL,
    most_ms             REAL,
    observed_prompt     INTEGER NOT NULL,
    observed_completion INTEGER NOT NULL,
    PRIMARY KEY (journal, hour, node_key, model, app)
) STRICT, WITHOUT ROWID;
-- Serves "what others lack of this journal".
CREATE INDEX fleet_hours_by_seq ON fleet_hours (journal, seq);
