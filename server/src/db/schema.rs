//! What is in the database's file, version by version.
//!
//! In: nothing. Out: SQL of each version.
//! Promise: a version that was released is never changed; later ones add steps.

/// Version of the schema that this build writes.
pub(super) const SCHEMA: i64 = 4;

/// Tokens and runs.
pub(super) const SCHEMA_1: &str = "
CREATE TABLE meta (
    key    TEXT PRIMARY KEY,
    value  BLOB NOT NULL
) STRICT;
CREATE TABLE tokens (
    id       TEXT PRIMARY KEY,
    hash     BLOB NOT NULL,
    scopes   TEXT NOT NULL,
    images   TEXT NOT NULL,
    expires  INTEGER,
    once     INTEGER NOT NULL,
    used     INTEGER NOT NULL DEFAULT 0,
    created  INTEGER NOT NULL
) STRICT;
CREATE TABLE runs (
    number         INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    action         TEXT NOT NULL,
    image          TEXT NOT NULL,
    version        TEXT,
    partitions     TEXT NOT NULL,
    agent          TEXT NOT NULL,
    agent_version  TEXT NOT NULL,
    machine        TEXT NOT NULL,
    token          TEXT NOT NULL,
    session        BLOB NOT NULL,
    store_session  TEXT,
    state          TEXT NOT NULL,
    step           TEXT NOT NULL DEFAULT '',
    done           INTEGER NOT NULL DEFAULT 0,
    total          INTEGER NOT NULL DEFAULT 0,
    error          TEXT NOT NULL DEFAULT '',
    committed      INTEGER,
    receipt        TEXT,
    started        INTEGER NOT NULL,
    ended          INTEGER
) STRICT;
CREATE INDEX runs_by_state ON runs (state, ended);
";

/// What version 2 adds: who made a token and for what, machines armed for network boot, PINs.
pub(super) const SCHEMA_2: &str = "
ALTER TABLE tokens ADD COLUMN origin TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN version TEXT;
ALTER TABLE tokens ADD COLUMN armed TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN armed TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_by_token ON runs (token);
CREATE TABLE netboot (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    mac      TEXT NOT NULL UNIQUE,
    mode     TEXT NOT NULL,
    image    TEXT,
    once     INTEGER NOT NULL,
    follows  TEXT,
    disk     TEXT NOT NULL,
    name     TEXT NOT NULL,
    expires  INTEGER,
    created  INTEGER NOT NULL,
    fetched  INTEGER,
    boot     BLOB,
    peer     TEXT,
    token    TEXT,
    handed   INTEGER
) STRICT;
CREATE TABLE pins (
    id       TEXT PRIMARY KEY,
    hash     BLOB NOT NULL,
    scopes   TEXT NOT NULL,
    images   TEXT NOT NULL,
    expires  INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    created  INTEGER NOT NULL
) STRICT;
";

/// What version 3 adds: machines, rules, jobs, power systems, and who did what. Lists and reports lie as JSON.
pub(super) const SCHEMA_3: &str = "
ALTER TABLE tokens ADD COLUMN job INTEGER;
ALTER TABLE runs ADD COLUMN job INTEGER;
CREATE INDEX runs_by_job ON runs (job) WHERE job IS NOT NULL;
CREATE TABLE machines (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    name           TEXT NOT NULL UNIQUE,
    state          TEXT NOT NULL,
    uuid           TEXT,
    serial         TEXT,
    source         TEXT NOT NULL DEFAULT '{}',
    disks          TEXT NOT NULL DEFAULT '[]',
    hardware       TEXT,
    -- For lists, so that they read no reports: model, memory, candidates among the disks and their bytes.
    model          TEXT NOT NULL DEFAULT '',
    memory         INTEGER NOT NULL DEFAULT 0,
    disk_count     INTEGER NOT NULL DEFAULT 0,
    disk_bytes     INTEGER NOT NULL DEFAULT 0,
    tags           TEXT NOT NULL DEFAULT '[]',
    rack           TEXT,
    protected      INTEGER NOT NULL DEFAULT 0,
    approve        INTEGER NOT NULL DEFAULT 0,
    network_first  INTEGER NOT NULL DEFAULT 0,
    health         TEXT,
    health_bad     INTEGER NOT NULL DEFAULT 0,
    note           TEXT NOT NULL DEFAULT '',
    runs_image     TEXT,
    runs_since     INTEGER,
    runs_run       TEXT,
    peer           TEXT,
    first_seen     INTEGER NOT NULL,
    seen           INTEGER,
    fetched        INTEGER
) STRICT;
CREATE INDEX machines_by_uuid ON machines (uuid) WHERE uuid IS NOT NULL;
CREATE INDEX machines_by_state ON machines (state);
CREATE TABLE machine_macs (
    mac      TEXT NOT NULL,
    machine  INTEGER NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
    PRIMARY KEY (mac, machine)
) STRICT, WITHOUT ROWID;
CREATE INDEX macs_by_machine ON machine_macs (machine);
CREATE TABLE machine_history (
    id       INTEGER PRIMARY KEY,
    machine  INTEGER NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL,
    who      TEXT NOT NULL,
    what     TEXT NOT NULL,
    detail   TEXT NOT NULL
) STRICT;
CREATE INDEX history_by_machine ON machine_history (machine, id);
CREATE TABLE rules (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    rule     TEXT NOT NULL,
    created  INTEGER NOT NULL,
    by       TEXT NOT NULL
) STRICT;
CREATE TABLE rules_fired (
    rule     INTEGER NOT NULL REFERENCES rules (id) ON DELETE CASCADE,
    machine  INTEGER NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL,
    PRIMARY KEY (rule, machine)
) STRICT, WITHOUT ROWID;
CREATE TABLE jobs (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    parent    INTEGER REFERENCES jobs (id),
    after     INTEGER REFERENCES jobs (id),
    kind      TEXT NOT NULL,
    machine   INTEGER REFERENCES machines (id) ON DELETE SET NULL,
    name      TEXT,
    rack      TEXT,
    image     TEXT,
    version   TEXT,
    options   TEXT NOT NULL,
    disks     TEXT NOT NULL DEFAULT '[]',
    state     TEXT NOT NULL,
    step      TEXT NOT NULL DEFAULT '',
    done      INTEGER NOT NULL DEFAULT 0,
    total     INTEGER NOT NULL DEFAULT 0,
    try_now   INTEGER NOT NULL DEFAULT 0,
    tries     INTEGER NOT NULL,
    cause     TEXT,
    message   TEXT NOT NULL DEFAULT '',
    next      TEXT NOT NULL DEFAULT '',
    seen      TEXT NOT NULL DEFAULT 'nothing',
    -- When the state was entered, not before when it is looked at again, and when it has lasted too long.
    since     INTEGER NOT NULL,
    wake      INTEGER NOT NULL DEFAULT 0,
    until     INTEGER,
    powered   INTEGER NOT NULL DEFAULT 0,
    ours      INTEGER NOT NULL DEFAULT 0,
    boot      BLOB,
    peer      TEXT,
    approved  BLOB,
    token     TEXT,
    run       TEXT,
    lease     INTEGER,
    left_at   INTEGER,
    follows   TEXT,
    by        TEXT NOT NULL,
    created   INTEGER NOT NULL,
    started   INTEGER,
    ended     INTEGER
) STRICT;
CREATE INDEX jobs_open ON jobs (state, wake) WHERE ended IS NULL;
CREATE UNIQUE INDEX jobs_active ON jobs (machine)
    WHERE state IN ('power', 'boot', 'running', 'leaving');
CREATE INDEX jobs_by_machine ON jobs (machine, id);
CREATE INDEX jobs_open_of ON jobs (machine, id) WHERE ended IS NULL;
CREATE INDEX jobs_by_parent ON jobs (parent) WHERE parent IS NOT NULL;
CREATE TABLE job_events (
    id      INTEGER PRIMARY KEY,
    job     INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    at      INTEGER NOT NULL,
    state   TEXT NOT NULL,
    what    TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_job ON job_events (job, id);
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    who     TEXT NOT NULL,
    peer    TEXT NOT NULL,
    what    TEXT NOT NULL,
    object  TEXT NOT NULL,
    result  TEXT NOT NULL
) STRICT;
CREATE TABLE power_settings (
    machine_id  INTEGER PRIMARY KEY REFERENCES machines (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL,
    address     TEXT NOT NULL DEFAULT '',
    user        TEXT NOT NULL DEFAULT '',
    secret      BLOB,
    options     TEXT NOT NULL DEFAULT '{}',
    probed      TEXT,
    pin         TEXT
) STRICT;
CREATE TABLE power_attempts (
    id          INTEGER PRIMARY KEY,
    machine_id  INTEGER NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
    job_id      INTEGER,
    at          INTEGER NOT NULL,
    what        TEXT NOT NULL,
    how         TEXT NOT NULL,
    result      TEXT NOT NULL,
    detail      TEXT NOT NULL,
    seconds     REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX attempts_by_machine ON power_attempts (machine_id, id);
";

/// What version 4 adds: who clones are, what else becomes of them, and their calls. Orders and calls lie as JSON.
pub(super) const SCHEMA_4: &str = "
CREATE TABLE identities (
    machine  INTEGER UNIQUE REFERENCES machines (id) ON DELETE CASCADE,
    tag      TEXT UNIQUE,
    toml     TEXT NOT NULL,
    by       TEXT NOT NULL,
    at       INTEGER NOT NULL,
    CHECK ((machine IS NULL) <> (tag IS NULL))
) STRICT;
ALTER TABLE jobs ADD COLUMN adapt TEXT;
ALTER TABLE jobs ADD COLUMN booted TEXT;
-- Whether its image would boot on its machine was asked, or is not to be.
ALTER TABLE jobs ADD COLUMN checked INTEGER NOT NULL DEFAULT 1;
CREATE INDEX jobs_unchecked ON jobs (id) WHERE checked = 0;
ALTER TABLE machines ADD COLUMN booted TEXT;
-- What runs on it was to be a machine of its own, and is a plain copy.
ALTER TABLE machines ADD COLUMN runs_without INTEGER NOT NULL DEFAULT 0;
-- By what a clone says that it is itself: two machines that say the same are one too many.
CREATE TABLE boot_marks (
    mark     TEXT NOT NULL,
    machine  INTEGER NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
    PRIMARY KEY (mark, machine)
) STRICT, WITHOUT ROWID;
CREATE INDEX boot_marks_of ON boot_marks (machine);
";
