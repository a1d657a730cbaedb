-- The life of one process each. A run that has not ended was killed.
CREATE TABLE runs (
	id INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	began INTEGER NOT NULL,            -- nanoseconds since 1970, as all times
	ended INTEGER,                     -- when it closed the log itself
	found INTEGER,                     -- when another run found that it had not
	pruned INTEGER NOT NULL DEFAULT 0  -- steps up to this sequence were deleted
);
CREATE TABLE versions (
	id INTEGER PRIMARY KEY,
	model TEXT NOT NULL,
	version TEXT NOT NULL,
	digest TEXT NOT NULL,
	layout TEXT NOT NULL,              -- JSON
	UNIQUE (model, version, digest)
);
-- id is the run's shifted left by 40 bits, and the sequence of the step. Steps
-- are thus in their order, and each is there once.
CREATE TABLE steps (
	id INTEGER PRIMARY KEY,
	version INTEGER NOT NULL,
	time INTEGER NOT NULL,
	mono INTEGER NOT NULL,             -- since the run began, nanoseconds
	request TEXT,
	row INTEGER NOT NULL,
	flags INTEGER NOT NULL,            -- 1 deterministic, 2 first of an episode, 4 with interventions
	observation BLOB NOT NULL,         -- float32, little-endian, as are the other blobs
	action BLOB NOT NULL,
	raw BLOB,                          -- before the envelope, where it changed something
	queue INTEGER,                     -- nanoseconds, as the two that follow
	infer INTEGER,
	enveloping INTEGER,
	session TEXT,
	episode INTEGER,
	step INTEGER,
	value REAL,
	log_prob REAL,
	seed INTEGER,                      -- the 64 bits of an unsigned number
	draw_step INTEGER,
	draw_row INTEGER,
	interventions TEXT,                -- JSON
	masks BLOB
);
CREATE INDEX steps_of_sessions ON steps (session, id) WHERE session IS NOT NULL;
CREATE TABLE gaps (
	run INTEGER NOT NULL,
	first INTEGER NOT NULL,
	last INTEGER NOT NULL,
	reason TEXT NOT NULL,
	time INTEGER NOT NULL,
	PRIMARY KEY (run, first)
) WITHOUT ROWID;
