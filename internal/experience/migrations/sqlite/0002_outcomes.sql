CREATE TABLE outcomes (
	id INTEGER PRIMARY KEY,
	key TEXT NOT NULL UNIQUE,
	run TEXT NOT NULL,
	session TEXT NOT NULL,
	episode INTEGER NOT NULL,
	step INTEGER NOT NULL,
	reward REAL,
	terminated INTEGER NOT NULL,
	truncated INTEGER NOT NULL,
	info TEXT,
	time INTEGER NOT NULL
);
CREATE INDEX outcomes_of_sessions ON outcomes (session, episode, step);
-- For people with an SQL shell.
CREATE VIEW experience AS
SELECT r.name AS run, s.id & 0xFFFFFFFFFF AS sequence,
	strftime('%Y-%m-%dT%H:%M:%f', s.time / 1e9, 'unixepoch') AS time,
	v.model, v.version, s.session, s.episode, s.step, s.request, s.row,
	s.flags & 1 AS deterministic, (s.flags & 2) / 2 AS first, (s.flags & 4) / 4 AS intervened,
	s.queue / 1e6 AS queue_ms, s.infer / 1e6 AS infer_ms,
	s.value, s.log_prob, s.interventions, s.observation, s.action, s.raw
FROM steps s JOIN runs r ON r.id = s.id >> 40 JOIN versions v ON v.id = s.version;
