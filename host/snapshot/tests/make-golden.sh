#!/usr/bin/env bash
# Makes the golden snapshots in tests/data with real etcd servers, and beside each what etcd's own tools said of it.
#
#   tests/make-golden.sh TOOLS    TOOLS holds etcd-3.4, etcd-3.5, etcd-3.6 and etcd-3.7, each with etcd, etcdctl and,
#                                 from 3.5 on, etcdutl
#
# The snapshots are kept in the repository, so that the tests need no server. Needs jq and zstd. Everything runs on
# 127.0.0.1 and in a temporary directory, and ends with the script.
set -euo pipefail

tools=$(realpath "${1:?usage: make-golden.sh TOOLS}")
data=$(realpath "$(dirname "$0")")/data
work=$(mktemp -d)
server=
port=${GOLDEN_PORT:-23790}

stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap 'stop; rm -rf "$work"' EXIT

# start VERSION DATA_DIR [FLAG...]
start() {
    bin=$tools/etcd-$1
    local dir=$2
    shift 2
    "$bin/etcd" --name golden --data-dir "$dir" --log-level error \
        --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
        --listen-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
        --initial-cluster "golden=http://127.0.0.1:$((port + 1))" "$@" >"$work/etcd.log" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        ctl endpoint health >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$work/etcd.log" >&2
    exit 1
}

user=()
ctl() { "$bin/etcdctl" --endpoints "http://127.0.0.1:$port" "${user[@]}" "$@"; }
quiet() { ctl "$@" >/dev/null; }
revision() { ctl endpoint status -w json | jq '.[0].Status.header.revision'; }

# hashkv ASKED REVISION: what the server answers, told as the hash at REVISION.
hashkv() {
    ctl endpoint hashkv --rev "$1" -w json 2>/dev/null |
        jq -c --argjson revision "$2" '.[0].HashKV | select(.hash) | {revision: $revision, hash, compact_revision: (.compact_revision // -1)}'
}

# pack FILE NAME
pack() { zstd -q -19 -c "$1" >"$data/$2.db.zst"; }

# save NAME: the snapshot, its status, its live keys, and HashKV at the newest and two older revisions.
save() {
    local name=$1 file=$work/$1.db last first status
    ctl snapshot save "$file" >/dev/null 2>&1
    last=$(revision)
    if [ -x "$bin/etcdutl" ]; then status=$("$bin/etcdutl" snapshot status "$file" -w json)
    else status=$(ctl snapshot status "$file" -w json); fi
    first=$(ctl endpoint hashkv --rev 0 -w json | jq '.[0].HashKV.compact_revision // -1')
    if [ "$first" -lt 2 ]; then first=$((last < 2 ? last : 2)); fi
    {
        for rev in "$first" $(((first + last) / 2)) "$last"; do
            hashkv "$rev" "$rev" || true # etcd 3.4 refuses the compact revision itself
        done
        hashkv 0 "$last"
    } | jq -s --argjson status "$status" --argjson revision "$last" \
        --argjson live "$(ctl get '' --prefix --keys-only -w json | jq '.count // 0')" \
        --arg etcd "$("$bin/etcd" --version | head -n 1 | cut -d' ' -f3)" \
        '{etcd: $etcd, etcdutl_status: $status, revision: $revision, live_keys: $live, hashkv: .}' >"$data/$name.facts.json"
    pack "$file" "$name"
    echo "$name: $(stat -c %s "$file") bytes, revision $last"
}

# bulk PREFIX COUNT: puts in transactions of 100.
bulk() {
    local from
    for from in $(seq 0 100 $(($2 - 1))); do
        {
            echo
            for n in $(seq "$from" $((from + 99))); do printf 'put %s%05d value-%d-%s\n' "$1" "$n" "$n" "$(printf '%060d' 0)"; done
            echo
            echo
        } | quiet txn
    done
}

# Overwrites, deletes and lives begun anew; transactions that mix them; leases.
workload() {
    local n lease
    for n in 1 2 3 4 5; do quiet put /app/config "v$n"; done
    for n in 1 2 3; do quiet put "/app/user/$n" "u$n"; done
    quiet del /app/user/2
    quiet put /app/user/2 again
    quiet del /app/user/3
    printf '\nput /app/a 1\nput /app/b 2\ndel /app/user/1\n\n\n' | quiet txn
    printf 'value("/app/a") = "1"\n\nput /app/a 2\ndel /app/b\n\nput /app/b 3\n\n' | quiet txn
    lease=$(ctl lease grant 100000 | cut -d' ' -f2)
    quiet put --lease "$lease" /app/leased/1 x
    quiet put --lease "$lease" /app/leased/2 y
    quiet put /app/leased/2 freed
    quiet put /app/empty ''
    lease=$(ctl lease grant 100000 | cut -d' ' -f2)
    quiet put --lease "$lease" /app/revoked z
    quiet lease revoke "$lease"
    head -c 20000 /dev/zero | tr '\0' 'x' | quiet put /app/large
    quiet del --prefix /app/user/
    quiet put /app/user/2 third
}

for version in 3.4 3.5 3.6 3.7; do
    start "$version" "$work/$version"
    save "etcd-$version-empty"
    workload
    save "etcd-$version-history"
    bulk /bulk/ 2000
    quiet del --prefix /bulk/00
    # Compacted at a deletion: the tombstone there is kept or not, by version.
    quiet compact "$(revision)" --physical
    save "etcd-$version-tombstone"
    workload
    at=$(($(revision) - 5))
    quiet compact "$at" --physical
    quiet put /bulk/01999 new
    quiet del /app/config
    save "etcd-$version-compacted"
    quiet member add later --learner --peer-urls "http://127.0.0.1:$((port + 2))"
    quiet role add reader
    quiet role grant-permission reader --prefix=true read /app/
    quiet user add root:secret
    quiet user grant-role root root
    quiet user add alice:secret
    quiet user grant-role alice reader
    quiet auth enable
    user=(--user root:secret)
    save "etcd-$version-auth"
    user=()
    stop
done

# A database out of a data directory: no hash, the metas differ, free pages behind the high water mark.
start 3.6 "$work/copied"
workload
bulk /bulk/ 500
stop
pack "$work/copied/member/snap/db" copied-db
"$bin/etcdutl" snapshot status "$work/copied/member/snap/db" -w json | jq '{etcdutl_status: .}' >"$data/copied-db.facts.json"

# A full database: the alarm stands.
start 3.5 "$work/full" --quota-backend-bytes 300000
bulk /bulk/ 3000 2>/dev/null || true
save alarm
stop

# Restored with a raised revision, started, written to.
start 3.6 "$work/source"
workload
ctl snapshot save "$work/source.db" >/dev/null 2>&1
stop
"$bin/etcdutl" snapshot restore "$work/source.db" --data-dir "$work/bumped" --name golden \
    --initial-cluster "golden=http://127.0.0.1:$((port + 1))" \
    --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
    --bump-revision 1000000 --mark-compacted >/dev/null 2>&1
start 3.6 "$work/bumped"
quiet put /app/after restore
sleep 2
save bumped
stop
