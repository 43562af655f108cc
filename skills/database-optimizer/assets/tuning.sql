-- Questions to ask a PostgreSQL 15, most telling first. Read only; run them one by one.

-- 1. Where the time goes (needs pg_stat_statements).
SELECT round(total_exec_time) AS ms, calls, round(mean_exec_time::numeric, 2) AS mean_ms, rows, left(query, 90) AS query
FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 15;

-- 2. Who waits for what, now.
SELECT pid, state, wait_event_type, wait_event, now() - xact_start AS transaction, pg_blocking_pids(pid) AS blocked_by, left(query, 60) AS query
FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' ORDER BY xact_start;

-- 3. Share of reads that came from shared_buffers, by table.
SELECT relname, heap_blks_read, round(100.0 * heap_blks_hit / nullif(heap_blks_hit + heap_blks_read, 0), 1) AS hit_percent
FROM pg_statio_user_tables ORDER BY heap_blks_read DESC LIMIT 15;

-- 4. Updates that stayed in their page (HOT): near 100 for online feature tables.
SELECT relname, n_tup_upd, round(100.0 * n_tup_hot_upd / nullif(n_tup_upd, 0), 1) AS hot_percent
FROM pg_stat_user_tables WHERE n_tup_upd > 1000 ORDER BY n_tup_upd DESC;

-- 5. How large JSONB documents are, and how much of them is out of line: replace table and column.
-- SELECT percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY pg_column_size(body)) FROM raw_events;

-- 6. WAL written since start, by kind.
SELECT wal_records, wal_fpi, pg_size_pretty(wal_bytes) AS wal, round(100.0 * wal_fpi / nullif(wal_records, 0), 1) AS full_page_percent FROM pg_stat_wal;
