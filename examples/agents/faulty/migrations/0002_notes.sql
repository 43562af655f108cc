SET lock_timeout = '2s';
ALTER TABLE flights ADD COLUMN notes json;
