-- 0003: contexts, loads and conversations. NULL means: not known, or written by an earlier version.
ALTER TABLE request_traces ADD COLUMN context         INTEGER; -- tokens that the backend was asked to have loaded
ALTER TABLE request_traces ADD COLUMN context_verdict TEXT;    -- kept, grown, cut, passed
ALTER TABLE request_traces ADD COLUMN loaded_ms       REAL;    -- of queued_ms, spent on loading the model
ALTER TABLE request_traces ADD COLUMN session         TEXT;    -- 16 hexadecimal digits; the same for all turns of a conversation
