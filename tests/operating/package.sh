#!/bin/sh
# The Debian package in a scratch root: the system that this runs on, with everything that is changed
# kept in memory and gone at the end (an overlay in mount and network namespaces of its own).
# Usage, as root: unshare -m -n sh package.sh NEW.deb OLDER.deb DUMPS
# DUMPS is a folder of NNNN.sql: databases of each version of the schema, filled.
set -eu
new=$1 older=$2 dumps=$3
work=$(mktemp -d)
trap 'umount -R "$work/root" 2>/dev/null || umount -l "$work/root"; umount -l "$work"; rmdir "$work"' EXIT
mount -t tmpfs -o size=2g scratch "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" scratch "$work/root"
root=$work/root
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmp "$root/tmp"
mount -t tmpfs run "$root/run"
ip link set lo up
cp "$new" "$root/tmp/new.deb"
cp "$older" "$root/tmp/older.deb"
cp -r "$dumps" "$root/tmp/dumps"

in_root() { chroot "$root" "$@"; }
say() { printf '%s\n' "== $*"; }
die() { printf 'FAILED: %s\n' "$*"; exit 1; }
mode() { in_root stat -c '%U:%G %a' "$1"; }
is() { [ "$1" = "$2" ] || die "$3: $1, not $2"; }

# What a service manager would do by the unit; it says "ready" when it is.
start() {
    in_root su -s /bin/sh cmr-mail -c '/usr/bin/cmr-mail --config /etc/cmr-mail/cmr-mail.toml serve' >"$work/out" 2>"$work/log" &
    for _ in $(seq 600); do
        if grep -q '^ready' "$work/out"; then
            daemon=$(in_root cat /var/lib/cmr-mail/lock | grep -o '[0-9][0-9]*' | head -n 1)
            return
        fi
        sleep 0.1
    done
    cat "$work/log"
    die "the daemon is not ready"
}
stop() {
    kill -TERM "$daemon"
    wait
}

say "install"
in_root dpkg -i /tmp/older.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; die "dpkg"; }
grep -q 'cmr-mail init' "$work/dpkg" || die "it does not say what comes next"
is "$(mode /etc/cmr-mail)" "root:cmr-mail 750" /etc/cmr-mail
is "$(mode /var/lib/cmr-mail)" "cmr-mail:cmr-mail 700" /var/lib/cmr-mail
in_root getent passwd cmr-mail | grep -q ':/var/lib/cmr-mail:/usr/sbin/nologin$' || die "the user"
[ "$(find "$root/usr/share/man/man1" -name 'cmr-mail*.1.gz' | wc -l)" -gt 30 ] || die "manual pages"
for file in bash-completion/completions/cmr-mail zsh/vendor-completions/_cmr-mail \
    fish/vendor_completions.d/cmr-mail.fish doc/cmr-mail/changelog.Debian.gz doc/cmr-mail/copyright; do
    [ -s "$root/usr/share/$file" ] || die "$file"
done
find "$root/lib/systemd/system" "$root/usr/lib/systemd/system" -name cmr-mail.service | grep -q . || die "the unit"
in_root cmr-mail init --hostname mx.home.test --address cmr@home.test --operator 'Olga <olga@home.test>' \
    --data-dir /var/lib/cmr-mail /etc/cmr-mail/cmr-mail.toml >/dev/null
is "$(mode /etc/cmr-mail/cmr-mail.toml)" "root:cmr-mail 640" cmr-mail.toml
is "$(mode /var/lib/cmr-mail/cmr-mail.db)" "cmr-mail:cmr-mail 600" cmr-mail.db
config="--config /etc/cmr-mail/cmr-mail.toml"

say "a full pool"
in_root sh -c 'for n in $(seq 5000); do
    printf "From ann@a.test Sun Nov 22 12:00:00 2026\nFrom: ann%s@a.test\nSubject: Stone %s\nMessage-ID: <%s@a.test>\n\n" $n $n $n
    printf "Stone number %s of the wall by the river is %s spans wide, as was measured in the year %s.\n\n" $n $((n % 97)) $((n % 211))
done >/tmp/stones.mbox; chmod 644 /tmp/stones.mbox'
in_root su -s /bin/sh cmr-mail -c "cmr-mail $config import --publish /tmp/stones.mbox --json" >"$work/import"
grep -q '"failed": *0' "$work/import" || { cat "$work/import"; die "import"; }
start
filled=$(in_root cmr-mail $config status --json | grep -o '"messages": *[0-9]*' | head -n 1)
stop
# As the previous schema has it: with the triggers that this one has dropped.
in_root python3 -c 'import re, sqlite3
older = open("/tmp/dumps/0001.sql").read()
db = sqlite3.connect("/var/lib/cmr-mail/cmr-mail.db")
have = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
for trigger in re.findall(r"CREATE TRIGGER .*?\nEND;", older, re.DOTALL):
    if trigger.split()[2] not in have:
        db.execute(trigger)
assert {"text_added", "raw_mail_added", "hop_added"} <= {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
db.execute("PRAGMA user_version = 1")
db.commit()
db.execute("PRAGMA wal_checkpoint(TRUNCATE)")'
in_root chown -R cmr-mail:cmr-mail /var/lib/cmr-mail

say "upgrade, from the previous schema"
in_root dpkg -i /tmp/new.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; die "dpkg"; }
grep -q 'cmr-mail init' "$work/dpkg" && die "it is configured already"
is "$(mode /etc/cmr-mail/cmr-mail.toml)" "root:cmr-mail 640" cmr-mail.toml
start
is "$(in_root cmr-mail $config status --json | grep -o '"messages": *[0-9]*' | head -n 1)" "$filled" "after the upgrade"
is "$(in_root python3 -c 'import sqlite3
print(*sqlite3.connect("/var/lib/cmr-mail/cmr-mail.db").execute("PRAGMA user_version").fetchone())')" \
    "$(sed -n 's/^known=//p' deploy/debian/preinst)" "the schema after the upgrade"
echo "$filled"
in_root su -s /bin/sh cmr-mail -c "cmr-mail $config verify"
in_root cmr-mail $config search 'the stone that is 13 spans wide' >/dev/null
stop

# Databases of each version of the schema that ever was, filled with a row of every table.
for dump in "$root"/tmp/dumps/*.sql; do
    say "upgrade from the schema of $(basename "$dump")"
    mv "$root/var/lib/cmr-mail" "$root/var/lib/kept"
    in_root install -d -o cmr-mail -g cmr-mail -m 0700 /var/lib/cmr-mail
    in_root python3 -c 'import sqlite3, sys
sqlite3.connect("/var/lib/cmr-mail/cmr-mail.db").executescript(open(sys.argv[1]).read())' "/tmp/dumps/$(basename "$dump")"
    in_root chown cmr-mail:cmr-mail /var/lib/cmr-mail/cmr-mail.db
    in_root chmod 600 /var/lib/cmr-mail/cmr-mail.db
    start
    in_root su -s /bin/sh cmr-mail -c "cmr-mail $config verify"
    stop
    rm -rf "$root/var/lib/cmr-mail"
    mv "$root/var/lib/kept" "$root/var/lib/cmr-mail"
done

say "going back is refused when the older version could not read the database"
in_root python3 -c 'import sqlite3
db = sqlite3.connect("/var/lib/cmr-mail/cmr-mail.db")
(known,) = db.execute("PRAGMA user_version").fetchone()
db.execute(f"PRAGMA user_version = {known + 1}")
db.execute("PRAGMA wal_checkpoint(TRUNCATE)")'
in_root dpkg -i /tmp/older.deb >"$work/dpkg" 2>&1 && die "the older package is installed"
grep 'was written by a newer version' "$work/dpkg" || { cat "$work/dpkg"; die "no reason"; }
in_root dpkg-query -W -f '${Status} ${Version}\n' cmr-mail
in_root cmr-mail $config serve >"$work/out" 2>&1 && die "the program serves a newer database"
grep 'newer' "$work/out" || { cat "$work/out"; die "no reason"; }
in_root python3 -c 'import sqlite3
db = sqlite3.connect("/var/lib/cmr-mail/cmr-mail.db")
(known,) = db.execute("PRAGMA user_version").fetchone()
db.execute(f"PRAGMA user_version = {known - 1}")
db.execute("PRAGMA wal_checkpoint(TRUNCATE)")'
in_root chown -R cmr-mail:cmr-mail /var/lib/cmr-mail
in_root dpkg -i /tmp/older.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg"; die "the same schema"; }

say "remove, and purge"
in_root dpkg -r cmr-mail >/dev/null 2>&1
[ ! -e "$root/usr/bin/cmr-mail" ] || die "the program is still there"
[ -e "$root/var/lib/cmr-mail/cmr-mail.db" ] && [ -e "$root/etc/cmr-mail/cmr-mail.toml" ] || die "data went with a remove"
in_root dpkg -P cmr-mail >/dev/null 2>&1
left=$(find "$root/etc" "$root/usr" "$root/lib" "$root/var/lib" "$root/var/cache" -name '*cmr-mail*' -newer "$root/tmp/new.deb" 2>/dev/null || true)
[ -z "$left" ] || die "left behind: $left"
[ ! -e "$root/var/lib/cmr-mail" ] && [ ! -e "$root/etc/cmr-mail" ] || die "data or configuration left behind"
say "all is well"
