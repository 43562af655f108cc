"""The feature store beside what does the same: raw drivers, pgbench and Feast, in one run on one private PostgreSQL."""
