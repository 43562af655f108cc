ALTER TABLE events ADD COLUMN payload json;
ALTER TABLE events ADD COLUMN kind text NOT NULL;
CREATE INDEX events_kind ON events (kind);
