-- The raw store: what arrived, as it arrived, appended and never changed. One row an event.
CREATE TABLE raw_events (
    event_id bigint GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    event_ts timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    body jsonb NOT NULL CHECK (jsonb_typeof(body) = 'object'),
    PRIMARY KEY (event_id, event_ts)
) PARTITION BY RANGE (event_ts);
COMMENT ON TABLE raw_events IS 'Events as received; partitioned by month of the event; dropped after 13 months';

CREATE TABLE raw_events_2026_11 PARTITION OF raw_events FOR VALUES FROM ('2026-11-01') TO ('2026-12-01');
CREATE TABLE raw_events_2026_12 PARTITION OF raw_events FOR VALUES FROM ('2026-12-01') TO ('2027-01-01');
CREATE TABLE raw_events_default PARTITION OF raw_events DEFAULT;

-- Time ranges of an append-only table: a few pages, where a btree would be gigabytes.
CREATE INDEX raw_events_event_ts ON raw_events USING brin (event_ts);
-- The one key that pipelines filter by equality.
CREATE INDEX raw_events_kind ON raw_events ((body ->> 'kind'), event_ts);
-- Containment (@>) over the whole document. It makes inserts many times slower: leave it out where nobody asks.
CREATE INDEX raw_events_body ON raw_events USING gin (body jsonb_path_ops);
