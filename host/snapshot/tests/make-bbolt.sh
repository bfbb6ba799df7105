#!/usr/bin/env bash
# Makes, with bbolt itself (tools/bbolt-files), the database files in tests/data that no etcd on this machine writes: pages
# of other sizes, lists of free pages, buckets within buckets; beside each what bbolt says of it. Needs Go, and zstd.
#
#   tests/make-bbolt.sh
set -euo pipefail

here=$(realpath "$(dirname "$0")")
data=$here/data
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$here/../../../tools/bbolt-files" && go build -o "$work/bbolt-files" .)

# make NAME COMMAND ARGUMENT...: the command's file, packed, and what it prints.
make() {
    local name=$1
    shift
    "$work/bbolt-files" "$@" "$work/$name.db" >"$data/$name.facts.json"
    zstd -q -f -19 --long=27 -c "$work/$name.db" >"$data/$name.db.zst"
    printf '%s: %s bytes, %s packed\n' "$name" "$(stat -c %s "$work/$name.db")" "$(stat -c %s "$data/$name.db.zst")"
    rm "$work/$name.db"
}

# golden NAME: where a golden snapshot lies, unpacked.
golden() {
    zstd -q -d -f "$data/$1.db.zst" -o "$work/$1.golden"
    printf '%s' "$work/$1.golden"
}

# A size for each version, so that each version's server is given one to start on.
make pages-8192 repage "$(golden etcd-3.4-compacted)" 8192
make pages-16384 repage "$(golden etcd-3.5-compacted)" 16384
make pages-65536 repage "$(golden etcd-3.6-compacted)" 65536
make pages-1024 repage "$(golden etcd-3.7-compacted)" 1024
make copied-pages-8192 copied "$(golden etcd-3.6-history)" 8192
# Fewer than a page's own count can tell, and more.
make free-few free 300
make free-many free 66000
make nested nested "$(golden etcd-3.6-history)" 4096
make nested-16384 nested "$(golden etcd-3.7-history)" 16384
