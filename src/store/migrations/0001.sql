-- Version 1: everything the rules about trust, scope, ids, time and bounds need.
--
-- Conventions. Times are microseconds since 1970-01-01 UTC. Addresses and message bytes are
-- BLOBs, because CMR allows any byte but CR LF in them. Every table is STRICT, so that a value
-- of the wrong type is an error at the insert and not a surprise at the select. A child row
-- names its parent with ON DELETE CASCADE, so that what is removed is removed everywhere.

-- Single values: the salt of all salted hashes, our last T, ...
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Row and byte counts, kept by triggers: bounds and `status` must not cost a table scan.
CREATE TABLE total (
    what  TEXT NOT NULL PRIMARY KEY,
    items INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO total (what) VALUES ('text'), ('raw_mail'), ('aside'), ('delivery'), ('hop');

-- A person who wrote to a posting address. NAME and TOKEN make the alias cmr+NAME.TOKEN@host,
-- which stands in public headers instead of the person's address.
CREATE TABLE person (
    id            INTEGER PRIMARY KEY,
    address       TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    token         TEXT NOT NULL UNIQUE,
    confirm_token TEXT NOT NULL UNIQUE,
    created       INTEGER NOT NULL,
    confirmed_at  INTEGER,
    stopped_at    INTEGER
) STRICT;

-- Mails as they came, for a few days. One mail may hold several messages.
CREATE TABLE raw_mail (
    id           INTEGER PRIMARY KEY,
    raw          BLOB NOT NULL,
    received     INTEGER NOT NULL,
    via          TEXT NOT NULL,
    forget_after INTEGER NOT NULL
) STRICT;
CREATE INDEX raw_mail_forget ON raw_mail (forget_after);

-- One row per message (and per version of a conflicting one). The row outlives its text: after
-- eviction it remembers the ids until forget_after. AUTOINCREMENT: a seq is never used again, so
-- that a number held in memory or in a log can't come to mean another message.
CREATE TABLE message (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    public_id      BLOB NOT NULL CHECK (length(public_id) = 8),
    origin_key     BLOB NOT NULL CHECK (length(origin_key) = 32),
    origin_address BLOB NOT NULL,
    origin_time    INTEGER NOT NULL,
    author         BLOB NOT NULL,
    neighbour      BLOB NOT NULL,
    kind           TEXT NOT NULL CHECK (kind IN ('cmr', 'post', 'learned')),
    scope          TEXT NOT NULL CHECK (scope IN ('public', 'local')),
    state          TEXT NOT NULL CHECK (state IN ('held', 'unrouted', 'routed', 'failed', 'evicted')),
    held_until     INTEGER,
    received       INTEGER NOT NULL,
    via            TEXT NOT NULL,
    authenticity   TEXT NOT NULL CHECK (json_valid(authenticity)),
    verified       INTEGER NOT NULL CHECK (verified IN (0, 1)),
    conflict       INTEGER NOT NULL DEFAULT 0 CHECK (conflict IN (0, 1)),
    person         INTEGER REFERENCES person (id) ON DELETE SET NULL,
    raw            INTEGER REFERENCES raw_mail (id) ON DELETE SET NULL,
    attempts       INTEGER NOT NULL DEFAULT 0,
    last_error     TEXT,
    bytes          INTEGER NOT NULL,
    forget_after   INTEGER,
    CHECK ((state = 'held') = (held_until IS NOT NULL)),
    CHECK ((state = 'evicted') = (forget_after IS NOT NULL))
) STRICT;
CREATE INDEX message_public_id ON message (public_id);
CREATE INDEX message_author ON message (author);
CREATE INDEX message_alias ON message (origin_address) WHERE origin_address <> author;
CREATE INDEX message_unrouted ON message (attempts, seq) WHERE state = 'unrouted';
CREATE INDEX message_held ON message (held_until) WHERE state = 'held';
CREATE INDEX message_forget ON message (forget_after) WHERE state = 'evicted';
CREATE INDEX message_raw ON message (raw) WHERE raw IS NOT NULL;
CREATE INDEX message_person ON message (person) WHERE person IS NOT NULL;

-- The bytes of a cached message: header lines with their CRLFs, and the body. Apart from the row
-- above, so that a change of state does not rewrite the text. signature NULL: unsigned.
CREATE TABLE text (
    seq       INTEGER PRIMARY KEY REFERENCES message (seq) ON DELETE CASCADE,
    signature BLOB CHECK (signature IS NULL OR length(signature) = 32),
    header    BLOB NOT NULL,
    body      BLOB NOT NULL
) STRICT;

-- Every header line of every message we know, position 0 first (the newest). hop_key names the
-- line, tail is the hash of all bytes below it. Equal key and equal tail: the same message.
-- Equal key, other tail: a conflict. The pair is unique, because an equal pair is a duplicate
-- and never stored.
CREATE TABLE hop (
    seq      INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    position INTEGER NOT NULL CHECK (position >= 0),
    hop_key  BLOB NOT NULL CHECK (length(hop_key) = 32),
    tail     BLOB NOT NULL CHECK (length(tail) = 32),
    time     TEXT NOT NULL,
    address  BLOB NOT NULL,
    PRIMARY KEY (seq, position)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX hop_id ON hop (hop_key, tail);

-- Who has a message beside the addresses in its stored header: senders of duplicates, and whom
-- we sent it to.
CREATE TABLE holder (
    seq     INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    address BLOB NOT NULL,
    since   INTEGER NOT NULL,
    PRIMARY KEY (seq, address)
) STRICT, WITHOUT ROWID;

-- Salted hashes of what was removed for good, so that it stays away without being remembered.
CREATE TABLE removed (
    hash    BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Addresses that we exchange messages with, or may.
CREATE TABLE peer (
    id               INTEGER PRIMARY KEY,
    address          BLOB NOT NULL UNIQUE,
    first_seen       INTEGER NOT NULL,
    last_seen        INTEGER,
    messages         INTEGER NOT NULL DEFAULT 0,
    bytes            INTEGER NOT NULL DEFAULT 0,
    reputation       REAL NOT NULL DEFAULT 0,
    reputation_at    INTEGER,
    pinned           INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    listed           INTEGER NOT NULL DEFAULT 0 CHECK (listed IN (0, 1)),
    authenticated_at INTEGER,
    returned_at      INTEGER,
    vouched_by       BLOB,
    vouched_at       INTEGER,
    credited_at      INTEGER,
    askable_until    INTEGER
) STRICT;

-- What a routing decision asks for each batch: whom we may send to, and who was heard last. Without
-- these a stranger could slow every decision down by sending from a hundred thousand addresses.
CREATE INDEX peer_standing ON peer (credited_at DESC, last_seen DESC)
    WHERE pinned = 1 OR listed = 1 OR authenticated_at IS NOT NULL;
CREATE INDEX peer_heard ON peer (last_seen DESC);
CREATE INDEX peer_askable ON peer (askable_until) WHERE askable_until IS NOT NULL;

-- Shared keys. ours: the address of ours that an exchanged key belongs to, since it comes out of both
-- addresses; none for a key that was set by hand. One current and one previous at most; several may be pending, when exchanges
-- cross. What was valid stays valid until a message verifies under the new one.
CREATE TABLE key (
    id            INTEGER PRIMARY KEY,
    peer          INTEGER NOT NULL REFERENCES peer (id) ON DELETE CASCADE,
    state         TEXT NOT NULL CHECK (state IN ('current', 'pending', 'previous')),
    scheme        TEXT NOT NULL CHECK (scheme IN ('hmac', 'sha256')),
    scheme_pinned INTEGER NOT NULL CHECK (scheme_pinned IN (0, 1)),
    derivation    TEXT NOT NULL CHECK (derivation IN ('hkdf', 'raw')),
    secret        BLOB NOT NULL,
    ours          BLOB,
    origin        TEXT NOT NULL CHECK (origin IN ('manual', 'rsa', 'dh', 'clear')),
    created       INTEGER NOT NULL,
    verified      INTEGER
) STRICT;
CREATE INDEX key_peer ON key (peer);
CREATE UNIQUE INDEX key_current ON key (peer) WHERE state = 'current';
CREATE UNIQUE INDEX key_previous ON key (peer) WHERE state = 'previous';

-- Key exchanges under way (A5). What a restart must not lose: our secret, what we sent, and the
-- address of ours that it is about.
CREATE TABLE exchange (
    id       INTEGER PRIMARY KEY,
    peer     INTEGER NOT NULL REFERENCES peer (id) ON DELETE CASCADE,
    kind     TEXT NOT NULL CHECK (kind IN ('rsa', 'dh', 'clear')),
    role     TEXT NOT NULL CHECK (role IN ('asked', 'answered')),
    state    TEXT NOT NULL,
    ours     BLOB NOT NULL,
    derivation TEXT NOT NULL CHECK (derivation IN ('hkdf', 'raw')),
    secret   BLOB,
    sent     BLOB,
    key      INTEGER REFERENCES key (id) ON DELETE SET NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try INTEGER,
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL
) STRICT;
CREATE INDEX exchange_peer ON exchange (peer);
CREATE INDEX exchange_key ON exchange (key) WHERE key IS NOT NULL;

-- A person's question, and the mail thread that its answers join. ignored: a JSON list of what
-- the answer says was left out.
CREATE TABLE thread (
    id            INTEGER PRIMARY KEY,
    person        INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    seq           INTEGER REFERENCES message (seq) ON DELETE CASCADE,
    message_id    TEXT,
    thread_refs   TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(thread_refs)),
    subject       TEXT NOT NULL,
    language      TEXT,
    ignored       TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(ignored)),
    authenticated INTEGER NOT NULL CHECK (authenticated IN (0, 1)),
    opened        INTEGER NOT NULL,
    until         INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX thread_seq ON thread (seq) WHERE seq IS NOT NULL;
CREATE INDEX thread_person ON thread (person);
CREATE INDEX thread_until ON thread (until);

-- The durable queue. stamp is our header line's time T, fixed when the row is made: a repeat is
-- byte for byte the same message, under the same Message-ID. detail: JSON for the composer (seqs
-- and numbers, never text: text is read by seq, so that a removal reaches it).
CREATE TABLE delivery (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    kind        TEXT NOT NULL CHECK (kind IN ('forward', 'key_exchange', 'answer', 'later_match', 'notice')),
    seq         INTEGER REFERENCES message (seq) ON DELETE CASCADE,
    thread      INTEGER REFERENCES thread (id) ON DELETE CASCADE,
    to_address  BLOB NOT NULL,
    transport   TEXT NOT NULL,
    destination TEXT NOT NULL,
    stamp       TEXT,
    message_id  TEXT NOT NULL UNIQUE,
    detail      TEXT CHECK (detail IS NULL OR json_valid(detail)),
    why         TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('ready', 'leased', 'sent', 'failed', 'held')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    next_try    INTEGER NOT NULL,
    lease_until INTEGER,
    last_error  TEXT,
    created     INTEGER NOT NULL,
    finished    INTEGER,
    bounced     INTEGER,
    CHECK ((state = 'leased') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('sent', 'failed')) = (finished IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX delivery_once ON delivery (seq, to_address, kind) WHERE seq IS NOT NULL;
-- What goes by mail, and what goes directly, are worked off side by side.
CREATE INDEX delivery_ready ON delivery (transport = 'mailto', destination, next_try, id) WHERE state = 'ready';
CREATE INDEX delivery_due ON delivery (transport = 'mailto', next_try) WHERE state = 'ready';
CREATE INDEX delivery_leased ON delivery (destination, lease_until) WHERE state = 'leased';
CREATE INDEX delivery_finished ON delivery (finished) WHERE finished IS NOT NULL;
CREATE INDEX delivery_thread ON delivery (thread) WHERE thread IS NOT NULL;
-- What waits for decisions: few at any time, and asked for after each decision.
CREATE INDEX delivery_waits ON delivery (thread)
  WHERE kind = 'answer' AND seq IS NULL AND state = 'ready' AND attempts = 0 AND next_try > created;

-- What each attempt at a delivery came to. transcript: of one that failed, what was said, without what
-- a login or the mail itself holds. Of each delivery the first and the last ones are kept.
CREATE TABLE attempt (
    id         INTEGER PRIMARY KEY,
    delivery   INTEGER NOT NULL REFERENCES delivery (id) ON DELETE CASCADE,
    at         INTEGER NOT NULL,
    ended      TEXT NOT NULL CHECK (ended IN ('sent', 'again', 'failed')),
    said       TEXT NOT NULL,
    transcript TEXT
) STRICT;
CREATE INDEX attempt_delivery ON attempt (delivery, id);

-- What the router decided, as JSON, without the matches: these have rows of their own, so that a
-- removed message disappears from the decisions of others too.
CREATE TABLE decision (
    seq     INTEGER PRIMARY KEY REFERENCES message (seq) ON DELETE CASCADE,
    decided INTEGER NOT NULL,
    verdict TEXT NOT NULL,
    detail  TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;
CREATE TABLE match (
    seq            INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    other          INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    rank           INTEGER NOT NULL,
    gain_bits      REAL NOT NULL,
    one_sided_bits REAL NOT NULL,
    distance_raw   REAL NOT NULL,
    PRIMARY KEY (seq, other)
) STRICT, WITHOUT ROWID;
CREATE INDEX match_other ON match (other);

-- What was not taken, kept for the operator to look at, within a byte limit. kept: where the mail
-- lies, if it stays there; then raw is empty. length: that of what was not taken.
CREATE TABLE aside (
    id           INTEGER PRIMARY KEY,
    reason       TEXT NOT NULL,
    place        TEXT NOT NULL,
    raw          BLOB NOT NULL,
    kept         TEXT,
    length       INTEGER NOT NULL,
    author       BLOB,
    public_id    BLOB CHECK (public_id IS NULL OR length(public_id) = 8),
    received     INTEGER NOT NULL,
    via          TEXT NOT NULL,
    forget_after INTEGER NOT NULL,
    source       TEXT NOT NULL
) STRICT;
CREATE INDEX aside_source ON aside (source, id);
CREATE INDEX aside_forget ON aside (forget_after);
-- Finds what is here already when a mail comes again.
CREATE INDEX aside_length ON aside (length(raw));

-- How many bytes of the asides came from where: the largest share gives way first, so that nobody
-- can push out what others sent.
CREATE TABLE aside_share (
    source TEXT NOT NULL PRIMARY KEY,
    bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX aside_share_bytes ON aside_share (bytes);

-- Whom the operator refuses.
CREATE TABLE block (
    kind    TEXT NOT NULL CHECK (kind IN ('author', 'peer', 'host')),
    value   BLOB NOT NULL,
    reason  TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

-- Addresses that our mail came back from. failures: mails in a row that say that nobody is there.
-- suppressed: since when nothing goes there.
CREATE TABLE bounce (
    address    BLOB NOT NULL PRIMARY KEY,
    failures   INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    status     TEXT NOT NULL,
    suppressed INTEGER
) STRICT, WITHOUT ROWID;

-- What moved the reputation of a peer, one row for each run of the same cause within a day: how
-- often, how much, and what it was afterwards. Bounded for each peer.
CREATE TABLE reputation (
    id     INTEGER PRIMARY KEY,
    peer   INTEGER NOT NULL REFERENCES peer (id) ON DELETE CASCADE,
    at     INTEGER NOT NULL,
    cause  TEXT NOT NULL CHECK (cause IN ('gain', 'duplicate', 'junk', 'good', 'bad')),
    number INTEGER NOT NULL,
    change REAL NOT NULL,
    value  REAL NOT NULL
) STRICT;
CREATE INDEX reputation_peer ON reputation (peer, id);

-- What was written to the alias of a person, by somebody who is known for sure. handed: it was
-- handed on to that person.
CREATE TABLE addressed (
    seq    INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    person INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    handed INTEGER NOT NULL DEFAULT 0 CHECK (handed IN (0, 1)),
    PRIMARY KEY (seq, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX addressed_person ON addressed (person);

-- Who has voted about a message, as a salted hash: one vote for each person, for as long as the
-- message is known.
CREATE TABLE vote (
    seq INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    who BLOB NOT NULL CHECK (length(who) = 32),
    PRIMARY KEY (seq, who)
) STRICT, WITHOUT ROWID;

-- Salted hashes of (author, Message-ID): a signed mail authorises once.
CREATE TABLE mail_seen (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX mail_seen_age ON mail_seen (seen);

-- One row per post or automatic mail, for the limits per author; who is a salted hash. number
-- counts those of one kind and who, and at rises with it: how many there were since a moment is a
-- difference and no count.
CREATE TABLE tally (
    kind TEXT NOT NULL,
    who  BLOB NOT NULL CHECK (length(who) = 32),
    at   INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (kind, who, at, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX tally_age ON tally (at);

-- Files that mail was imported from, so that another run looks at what is new in them. name: the
-- path, for a mail of a Maildir without what changes while it lies there. options: what was to be
-- taken. done: up to which byte it was read. complete: to its end.
CREATE TABLE import_file (
    id       INTEGER PRIMARY KEY,
    name     BLOB NOT NULL UNIQUE,
    size     INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    options  TEXT NOT NULL,
    done     INTEGER NOT NULL,
    complete INTEGER NOT NULL CHECK (complete IN (0, 1))
) STRICT;

-- What became of each mail in them, or of each CMR message in one. at: its byte in an mbox. thread:
-- a hash of the Message-ID that its thread began with.
CREATE TABLE import_mail (
    file   INTEGER NOT NULL REFERENCES import_file (id) ON DELETE CASCADE,
    at     INTEGER NOT NULL,
    part   INTEGER NOT NULL,
    fate   TEXT NOT NULL CHECK (fate IN ('message', 'post', 'duplicate', 'skipped', 'failed')),
    seq    INTEGER REFERENCES message (seq) ON DELETE SET NULL,
    thread INTEGER,
    bytes  INTEGER NOT NULL,
    reason TEXT,
    PRIMARY KEY (file, at, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX import_mail_seq ON import_mail (seq) WHERE seq IS NOT NULL;

-- Folders that are read by IMAP. All UIDs below next_uid are settled, but for the rows of imap_mail.
-- Another UIDVALIDITY, or another server, is another folder: a new row with a new id, so that what
-- is still under way for the old one finds no place to be noted.
CREATE TABLE imap_folder (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     TEXT NOT NULL,
    server      TEXT NOT NULL,
    folder      TEXT NOT NULL,
    uidvalidity INTEGER NOT NULL,
    next_uid    INTEGER NOT NULL,
    UNIQUE (account, folder)
) STRICT;

-- Mails of these folders. left: settled, though next_uid is not beyond it yet. after: stored, and
-- what is configured has still to happen to it in the folder. again: may be taken from due on.
CREATE TABLE imap_mail (
    folder INTEGER NOT NULL REFERENCES imap_folder (id) ON DELETE CASCADE,
    uid    INTEGER NOT NULL,
    state  TEXT NOT NULL CHECK (state IN ('left', 'after', 'again')),
    due    INTEGER NOT NULL,
    PRIMARY KEY (folder, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX imap_mail_state ON imap_mail (folder, state, due);

-- How the accounts are doing, for people. copied_at and copied: the last delivery of which a copy
-- stands in the account's folder of sent mail. lag in milliseconds.
CREATE TABLE imap_account (
    name        TEXT NOT NULL PRIMARY KEY,
    folder      TEXT NOT NULL,
    tried       INTEGER NOT NULL,
    looked      INTEGER,
    next_try    INTEGER NOT NULL,
    idle        INTEGER NOT NULL CHECK (idle IN (0, 1)),
    behind      INTEGER NOT NULL,
    too_large   INTEGER NOT NULL,
    lag         INTEGER,
    error       TEXT,
    error_since INTEGER,
    copied_at   INTEGER NOT NULL,
    copied      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER text_added AFTER INSERT ON text BEGIN
    UPDATE total SET items = items + 1, bytes = bytes + length(NEW.header) + length(NEW.body) WHERE what = 'text';
END;
CREATE TRIGGER text_gone AFTER DELETE ON text BEGIN
    UPDATE total SET items = items - 1, bytes = bytes - length(OLD.header) - length(OLD.body) WHERE what = 'text';
END;
CREATE TRIGGER raw_mail_added AFTER INSERT ON raw_mail BEGIN
    UPDATE total SET items = items + 1, bytes = bytes + length(NEW.raw) WHERE what = 'raw_mail';
END;
CREATE TRIGGER raw_mail_gone AFTER DELETE ON raw_mail BEGIN
    UPDATE total SET items = items - 1, bytes = bytes - length(OLD.raw) WHERE what = 'raw_mail';
END;
CREATE TRIGGER aside_added AFTER INSERT ON aside BEGIN
    INSERT INTO aside_share (source, bytes)
        VALUES (NEW.source, 256 + length(NEW.raw) + ifnull(length(NEW.kept), 0))
        ON CONFLICT (source) DO UPDATE SET bytes = bytes + excluded.bytes;
    UPDATE total SET items = items + 1, bytes = bytes + 256 + length(NEW.raw) + ifnull(length(NEW.kept), 0)
     WHERE what = 'aside';
END;
CREATE TRIGGER aside_gone AFTER DELETE ON aside BEGIN
    UPDATE aside_share SET bytes = bytes - 256 - length(OLD.raw) - ifnull(length(OLD.kept), 0)
     WHERE source = OLD.source;
    DELETE FROM aside_share WHERE source = OLD.source AND bytes <= 0
        AND NOT EXISTS (SELECT 1 FROM aside WHERE source = OLD.source);
    UPDATE total SET items = items - 1, bytes = bytes - 256 - length(OLD.raw) - ifnull(length(OLD.kept), 0)
     WHERE what = 'aside';
END;
CREATE TRIGGER delivery_added AFTER INSERT ON delivery BEGIN
    UPDATE total SET items = items + 1, bytes = bytes + 256 + length(NEW.to_address) + length(NEW.why) + ifnull(length(NEW.detail), 0)
     WHERE what = 'delivery';
END;
CREATE TRIGGER delivery_gone AFTER DELETE ON delivery BEGIN
    UPDATE total SET items = items - 1, bytes = bytes - 256 - length(OLD.to_address) - length(OLD.why) - ifnull(length(OLD.detail), 0)
     WHERE what = 'delivery';
END;
CREATE TRIGGER delivery_detail AFTER UPDATE OF detail ON delivery BEGIN
    UPDATE total SET bytes = bytes + ifnull(length(NEW.detail), 0) - ifnull(length(OLD.detail), 0) WHERE what = 'delivery';
END;
CREATE TRIGGER hop_added AFTER INSERT ON hop BEGIN
    UPDATE total SET items = items + 1, bytes = bytes + 256 + length(NEW.address) WHERE what = 'hop';
END;
CREATE TRIGGER hop_gone AFTER DELETE ON hop BEGIN
    UPDATE total SET items = items - 1, bytes = bytes - 256 - length(OLD.address) WHERE what = 'hop';
END;
