SELECT count(*) FROM raw_events WHERE body ->> 'kind' = 'delay' AND event_ts > now() - interval '1 day';
