BEGIN;
PRAGMA application_id = 1129140845;
PRAGMA user_version = 2;
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE total (
    what  TEXT NOT NULL PRIMARY KEY,
    items INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
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
CREATE TABLE raw_mail (
    id           INTEGER PRIMARY KEY,
    raw          BLOB NOT NULL,
    received     INTEGER NOT NULL,
    via          TEXT NOT NULL,
    forget_after INTEGER NOT NULL
) STRICT;
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
CREATE TABLE text (
    seq       INTEGER PRIMARY KEY REFERENCES message (seq) ON DELETE CASCADE,
    signature BLOB CHECK (signature IS NULL OR length(signature) = 32),
    header    BLOB NOT NULL,
    body      BLOB NOT NULL
) STRICT;
CREATE TABLE hop (
    seq      INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    position INTEGER NOT NULL CHECK (position >= 0),
    hop_key  BLOB NOT NULL CHECK (length(hop_key) = 32),
    tail     BLOB NOT NULL CHECK (length(tail) = 32),
    time     TEXT NOT NULL,
    address  BLOB NOT NULL,
    PRIMARY KEY (seq, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE holder (
    seq     INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    address BLOB NOT NULL,
    since   INTEGER NOT NULL,
    PRIMARY KEY (seq, address)
) STRICT, WITHOUT ROWID;
CREATE TABLE removed (
    hash    BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
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
CREATE TABLE attempt (
    id         INTEGER PRIMARY KEY,
    delivery   INTEGER NOT NULL REFERENCES delivery (id) ON DELETE CASCADE,
    at         INTEGER NOT NULL,
    ended      TEXT NOT NULL CHECK (ended IN ('sent', 'again', 'failed')),
    said       TEXT NOT NULL,
    transcript TEXT
) STRICT;
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
CREATE TABLE aside_share (
    source TEXT NOT NULL PRIMARY KEY,
    bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE block (
    kind    TEXT NOT NULL CHECK (kind IN ('author', 'peer', 'host')),
    value   BLOB NOT NULL,
    reason  TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;
CREATE TABLE bounce (
    address    BLOB NOT NULL PRIMARY KEY,
    failures   INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    status     TEXT NOT NULL,
    suppressed INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE reputation (
    id     INTEGER PRIMARY KEY,
    peer   INTEGER NOT NULL REFERENCES peer (id) ON DELETE CASCADE,
    at     INTEGER NOT NULL,
    cause  TEXT NOT NULL CHECK (cause IN ('gain', 'duplicate', 'junk', 'good', 'bad')),
    number INTEGER NOT NULL,
    change REAL NOT NULL,
    value  REAL NOT NULL
) STRICT;
CREATE TABLE addressed (
    seq    INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    person INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    handed INTEGER NOT NULL DEFAULT 0 CHECK (handed IN (0, 1)),
    PRIMARY KEY (seq, person)
) STRICT, WITHOUT ROWID;
CREATE TABLE vote (
    seq INTEGER NOT NULL REFERENCES message (seq) ON DELETE CASCADE,
    who BLOB NOT NULL CHECK (length(who) = 32),
    PRIMARY KEY (seq, who)
) STRICT, WITHOUT ROWID;
CREATE TABLE mail_seen (
    hash BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tally (
    kind TEXT NOT NULL,
    who  BLOB NOT NULL CHECK (length(who) = 32),
    at   INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (kind, who, at, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE import_file (
    id       INTEGER PRIMARY KEY,
    name     BLOB NOT NULL UNIQUE,
    size     INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    options  TEXT NOT NULL,
    done     INTEGER NOT NULL,
    complete INTEGER NOT NULL CHECK (complete IN (0, 1))
) STRICT;
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
CREATE TABLE imap_folder (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     TEXT NOT NULL,
    server      TEXT NOT NULL,
    folder      TEXT NOT NULL,
    uidvalidity INTEGER NOT NULL,
    next_uid    INTEGER NOT NULL,
    UNIQUE (account, folder)
) STRICT;
CREATE TABLE imap_mail (
    folder INTEGER NOT NULL REFERENCES imap_folder (id) ON DELETE CASCADE,
    uid    INTEGER NOT NULL,
    state  TEXT NOT NULL CHECK (state IN ('left', 'after', 'again')),
    due    INTEGER NOT NULL,
    PRIMARY KEY (folder, uid)
) STRICT, WITHOUT ROWID;
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
INSERT INTO "meta" VALUES ('last_t', 1700000005000000);
INSERT INTO "meta" VALUES ('salt', x'c5f1effc3337852989e163a14c0f3819aa561e4ae10ece66f2baa0cf92c40ac9');
INSERT INTO "total" VALUES ('aside', 1, 259);
INSERT INTO "total" VALUES ('delivery', 1, 260);
INSERT INTO "total" VALUES ('hop', 4, 1116);
INSERT INTO "total" VALUES ('raw_mail', 1, 2);
INSERT INTO "total" VALUES ('text', 3, 234);
INSERT INTO "person" VALUES (1, 'a@b', 'a', 't', 'c', 5, NULL, NULL);
INSERT INTO "raw_mail" VALUES (1, x'00ff', 1, 'smtp', 9);
INSERT INTO "message" VALUES (1, x'1509c5761da82f21', x'1509c5761da82f210237180be3cd9314ff7eb12e0a7e7f33cb80bb1fa49f065f', x'6d61696c746f3a617574686f7231406578616d706c652e6f7267', 1699963201100000, x'6d61696c746f3a617574686f7231406578616d706c652e6f7267', x'6d61696c746f3a617574686f7231406578616d706c652e6f7267', 'cmr', 'local', 'routed', NULL, 1700000000000000, 'test', '"unknown"', 0, 0, 1, 1, 0, NULL, 71, NULL);
INSERT INTO "message" VALUES (2, x'2acabe3575ef5540', x'2acabe3575ef55408357c7dcae1c045883511428ff1de8a6c772f0470e6b1d28', x'6d61696c746f3a617574686f7232406578616d706c652e6f7267', 1699963202200000, x'6d61696c746f3a617574686f7232406578616d706c652e6f7267', x'6d61696c746f3a617574686f7232406578616d706c652e6f7267', 'cmr', 'local', 'unrouted', NULL, 1700000000000000, 'test', '"unknown"', 0, 0, NULL, NULL, 0, NULL, 71, NULL);
INSERT INTO "message" VALUES (3, x'48f0cdaa6566eddf', x'48f0cdaa6566eddf6fb348847d4c2584e48b4cb9b02efa60d0bf4fb4c8888fc3', x'6d61696c746f3a71406578616d706c652e6f7267', 1699963208000000, x'6d61696c746f3a71406578616d706c652e6f7267', x'6d61696c746f3a70406578616d706c652e6f7267', 'cmr', 'local', 'unrouted', NULL, 1700000000000000, 'test', '"unknown"', 0, 0, NULL, NULL, 0, NULL, 92, NULL);
INSERT INTO "text" VALUES (1, NULL, x'323032332f31312f31342031323a30303a30312e31206d61696c746f3a617574686f7231406578616d706c652e6f72670d0a', x'7468652074657874206f66206d6573736167652031');
INSERT INTO "text" VALUES (2, NULL, x'323032332f31312f31342031323a30303a30322e32206d61696c746f3a617574686f7232406578616d706c652e6f72670d0a', x'7468652074657874206f66206d6573736167652032');
INSERT INTO "text" VALUES (3, NULL, x'323032332f31312f31342031323a30303a30392e35206d61696c746f3a70406578616d706c652e6f72670d0a323032332f31312f31342031323a30303a3038206d61696c746f3a71406578616d706c652e6f72670d0a', x'000d0a27c3bf');
INSERT INTO "hop" VALUES (1, 0, x'1509c5761da82f210237180be3cd9314ff7eb12e0a7e7f33cb80bb1fa49f065f', x'4c34f1b437f79783007f1b28ec84a7860e0f7f6080c911de4cd8c4247bfbe28d', '2023/11/14 12:00:01.1', x'6d61696c746f3a617574686f7231406578616d706c652e6f7267');
INSERT INTO "hop" VALUES (2, 0, x'2acabe3575ef55408357c7dcae1c045883511428ff1de8a6c772f0470e6b1d28', x'bf0ace8ff3c4fc524c4abb3149f12745bd537bc8e51e017a46337810b97784fc', '2023/11/14 12:00:02.2', x'6d61696c746f3a617574686f7232406578616d706c652e6f7267');
INSERT INTO "hop" VALUES (3, 0, x'72810ad5301eed580e75836a63db7974b5a71f0e2be8708eae6a740f6e7ab7ee', x'63ec5fd47e55bbb33dde62a9f9ebd1a1ed4bacfcd674fd1160fa1b7dedf7cb07', '2023/11/14 12:00:09.5', x'6d61696c746f3a70406578616d706c652e6f7267');
INSERT INTO "hop" VALUES (3, 1, x'48f0cdaa6566eddf6fb348847d4c2584e48b4cb9b02efa60d0bf4fb4c8888fc3', x'c21d006af1f215ef7f57f3e1f5c9c350388fe7281f1cc564680c884e529f4224', '2023/11/14 12:00:08', x'6d61696c746f3a71406578616d706c652e6f7267');
INSERT INTO "holder" VALUES (1, x'61', 3);
INSERT INTO "removed" VALUES (x'0000000000000000000000000000000000000000000000000000000000000000', 1);
INSERT INTO "peer" VALUES (1, x'62', 1, NULL, 0, 0, -0.25, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO "key" VALUES (1, 1, 'current', 'hmac', 0, 'hkdf', x'6b', x'67', 'dh', 1, NULL);
INSERT INTO "exchange" VALUES (1, 1, 'dh', 'asked', 'sent', x'68', 'hkdf', NULL, NULL, 1, 0, NULL, 1, 2);
INSERT INTO "thread" VALUES (1, 1, 1, NULL, '[]', 'Re: it''s', NULL, '[]', 1, 1, 2);
INSERT INTO "delivery" VALUES (1, 'answer', 1, 1, x'63', 'mailto', 'b', '2023/11/14 00:00:00.5', '<1@b>', NULL, 'why', 'ready', 0, 1, NULL, NULL, 1, NULL, NULL);
INSERT INTO "attempt" VALUES (1, 1, 1, 'again', '451 later', '> QUIT');
INSERT INTO "decision" VALUES (1, 1, 'routed', '{}');
INSERT INTO "match" VALUES (1, 2, 0, 1.5, 2.5, 3.0);
INSERT INTO "aside" VALUES (1, 'r', 'p', x'64', '/c', 1, NULL, NULL, 1, 'smtp', 2, 'smtp');
INSERT INTO "aside_share" VALUES ('smtp', 259);
INSERT INTO "block" VALUES ('host', x'65', 'r', 1);
INSERT INTO "bounce" VALUES (x'66', 1, 2, '5.1.1', NULL);
INSERT INTO "reputation" VALUES (1, 1, 1, 'gain', 1, 0.5, 0.5);
INSERT INTO "addressed" VALUES (1, 1, 1);
INSERT INTO "vote" VALUES (1, x'0000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO "mail_seen" VALUES (x'0000000000000000000000000000000000000000000000000000000000000000', 1);
INSERT INTO "tally" VALUES ('post', x'0000000000000000000000000000000000000000000000000000000000000000', 1, 1);
INSERT INTO "import_file" VALUES (1, x'2f6dff', 9, 1, 'new', 9, 1);
INSERT INTO "import_mail" VALUES (1, 0, 0, 'post', 1, -5, 9, NULL);
INSERT INTO "imap_folder" VALUES (1, 'a', 'u@h:993', 'INBOX', 7, 5);
INSERT INTO "imap_mail" VALUES (1, 4, 'after', 1);
INSERT INTO "imap_account" VALUES ('a', 'INBOX', 1, 1, 2, 1, 0, 0, 900, NULL, NULL, 1, 0);
CREATE INDEX raw_mail_forget ON raw_mail (forget_after);
CREATE INDEX message_public_id ON message (public_id);
CREATE INDEX message_author ON message (author);
CREATE INDEX message_alias ON message (origin_address) WHERE origin_address <> author;
CREATE INDEX message_unrouted ON message (attempts, seq) WHERE state = 'unrouted';
CREATE INDEX message_held ON message (held_until) WHERE state = 'held';
CREATE INDEX message_forget ON message (forget_after) WHERE state = 'evicted';
CREATE INDEX message_raw ON message (raw) WHERE raw IS NOT NULL;
CREATE INDEX message_person ON message (person) WHERE person IS NOT NULL;
CREATE UNIQUE INDEX hop_id ON hop (hop_key, tail);
CREATE INDEX peer_standing ON peer (credited_at DESC, last_seen DESC)
    WHERE pinned = 1 OR listed = 1 OR authenticated_at IS NOT NULL;
CREATE INDEX peer_heard ON peer (last_seen DESC);
CREATE INDEX peer_askable ON peer (askable_until) WHERE askable_until IS NOT NULL;
CREATE INDEX key_peer ON key (peer);
CREATE UNIQUE INDEX key_current ON key (peer) WHERE state = 'current';
CREATE UNIQUE INDEX key_previous ON key (peer) WHERE state = 'previous';
CREATE INDEX exchange_peer ON exchange (peer);
CREATE INDEX exchange_key ON exchange (key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX thread_seq ON thread (seq) WHERE seq IS NOT NULL;
CREATE INDEX thread_person ON thread (person);
CREATE INDEX thread_until ON thread (until);
CREATE UNIQUE INDEX delivery_once ON delivery (seq, to_address, kind) WHERE seq IS NOT NULL;
CREATE INDEX delivery_ready ON delivery (transport = 'mailto', destination, next_try, id) WHERE state = 'ready';
CREATE INDEX delivery_due ON delivery (transport = 'mailto', next_try) WHERE state = 'ready';
CREATE INDEX delivery_leased ON delivery (destination, lease_until) WHERE state = 'leased';
CREATE INDEX delivery_finished ON delivery (finished) WHERE finished IS NOT NULL;
CREATE INDEX delivery_thread ON delivery (thread) WHERE thread IS NOT NULL;
CREATE INDEX delivery_waits ON delivery (thread)
  WHERE kind = 'answer' AND seq IS NULL AND state = 'ready' AND attempts = 0 AND next_try > created;
CREATE INDEX attempt_delivery ON attempt (delivery, id);
CREATE INDEX match_other ON match (other);
CREATE INDEX aside_source ON aside (source, id);
CREATE INDEX aside_forget ON aside (forget_after);
CREATE INDEX aside_length ON aside (length(raw));
CREATE INDEX aside_share_bytes ON aside_share (bytes);
CREATE INDEX reputation_peer ON reputation (peer, id);
CREATE INDEX addressed_person ON addressed (person);
CREATE INDEX mail_seen_age ON mail_seen (seen);
CREATE INDEX tally_age ON tally (at);
CREATE INDEX import_mail_seq ON import_mail (seq) WHERE seq IS NOT NULL;
CREATE INDEX imap_mail_state ON imap_mail (folder, state, due);
CREATE TRIGGER text_gone AFTER DELETE ON text BEGIN
    UPDATE total SET items = items - 1, bytes = bytes - length(OLD.header) - length(OLD.body) WHERE what = 'text';
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
CREATE TRIGGER hop_gone AFTER DELETE ON hop BEGIN
    UPDATE total SET items = items - 1, bytes = bytes - 256 - length(OLD.address) WHERE what = 'hop';
END;
COMMIT;
