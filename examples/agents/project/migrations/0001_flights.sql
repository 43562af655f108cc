CREATE TABLE flights (
    flight_id bigint PRIMARY KEY,
    carrier text NOT NULL,
    distance integer NOT NULL,
    departs timestamptz NOT NULL
);
