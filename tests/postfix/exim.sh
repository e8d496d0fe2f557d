#!/bin/sh
# Exim beside Postfix: Debian's packages of the two exclude each other, so this one is only unpacked.
#
#   exim.sh fetch DIR             downloads and unpacks it into DIR, unless it is there
#   exim.sh run DIR ARGUMENTS…    runs it; its user exists in its own view of the system alone
set -eu
dir=$2
case $1 in
fetch)
    [ ! -x "$dir/root/usr/sbin/exim4" ] || exit 0
    mkdir -p "$dir/packages"
    cd "$dir/packages"
    packages="exim4-daemon-light exim4-base libidn12 libgnutls-dane0 libunbound8 libevent-2.1-7"
    # shellcheck disable=SC2086
    apt-get -qq download $packages || { apt-get -qq update && apt-get -qq download $packages; }
    for package in *.deb; do dpkg -x "$package" ../unpacked; done
    # Run by root alone: as a setuid program it would not find its libraries.
    chmod 755 ../unpacked/usr/sbin/exim4
    mv ../unpacked ../root
    ;;
run)
    shift 2
    if ! [ -e "$dir/passwd" ]; then
        { cat /etc/passwd; echo "Debian-exim:x:9998:9998::/nonexistent:/usr/sbin/nologin"; } >"$dir/passwd.$$"
        { cat /etc/group; echo "Debian-exim:x:9998:"; } >"$dir/group.$$"
        mv "$dir/group.$$" "$dir/group"
        mv "$dir/passwd.$$" "$dir/passwd"
    fi
    # shellcheck disable=SC2016
    exec unshare --mount sh -c '
        mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group || exit 69
        libraries=$(dirname "$(find "$0/root" -name "libidn.so.12" | head -1)")
        LD_LIBRARY_PATH=$libraries exec "$0/root/usr/sbin/exim4" "$@"' "$dir" "$@"
    ;;
esac
