#!/usr/bin/env bash
# Measures `holdfast backup` to S3, and `holdfast restore` from it, beside etcd's own tools and `aws s3 cp`: on the same etcd, the
# same S3 server on loopback (versitygw) and the same data, in one run.
#
#   tests/bench-s3.sh [--sizes MB,MB] [--runs N] [--members N] [--version 3.6] [--directory DIR]
#
# The options are those of tests/bench.sh, whose functions are used.
#
# What is compared:
#   holdfast   `holdfast backup`, the release build: zstd 3, encrypted to a recipient, integrity and agreement on, every part with a
#              checksum, sha256 of what lies in the bucket read back
#   aws        `etcdctl snapshot save`, then `zstd -3 -T2`, then `aws s3 cp`: no encryption, no check, no read-back
# and back:
#   holdfast   `holdfast restore`: download, decrypt, unpack, check, write
#   aws        `aws s3 cp`, then `zstd -d`, then `etcdutl snapshot restore`
#
# Without `aws` on PATH it is installed from PyPI into the tools folder.
set -euo pipefail
# shellcheck source=tests/bench.sh
source "$(dirname "${BASH_SOURCE[0]}")/bench.sh"

bucket=bench
export AWS_ACCESS_KEY_ID=AKIAHOLDFASTBENCH AWS_SECRET_ACCESS_KEY=secret-of-the-benchmark AWS_REGION=us-east-1
export AWS_EC2_METADATA_DISABLED=true

set_up_aws() {
    command -v aws >/dev/null && return
    if [ ! -x "$tools/awscli/bin/aws" ]; then
        python3 -m venv "$tools/awscli" && "$tools/awscli/bin/pip" install --quiet awscli
    fi
    export PATH=$PATH:$tools/awscli/bin
}

start_s3() {
    find_port
    s3=http://127.0.0.1:$port
    mkdir -p "$work/s3/$bucket" "$work/metadata"
    versitygw --port "127.0.0.1:$port" --access "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" --quiet --keep-alive \
        posix --sidecar "$work/metadata" "$work/s3" >"$work/s3.log" 2>&1 </dev/null &
    s3_process=$!
    local deadline=$((SECONDS + 60))
    until aws --endpoint-url "$s3" s3 ls "s3://$bucket" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || die "the S3 server did not come up; its log is $work/s3.log"
        sleep 0.2
    done
}

run_tools() {
    run_etcdctl "$1"
    run_watched "$1" aws --endpoint-url "$s3" s3 cp --quiet "$work/save/snapshot.db.zst" "s3://$bucket/aws/snapshot.db.zst"
}

run_holdfast_restore() {
    : >"$1"
    run_watched "$1" "$holdfast" --config "$work/holdfast.toml" --quiet restore latest --data-dir "$work/back/holdfast"
}

run_tools_restore() {
    : >"$1"
    run_watched "$1" aws --endpoint-url "$s3" s3 cp --quiet "s3://$bucket/aws/snapshot.db.zst" "$work/back/snapshot.db.zst"
    run_watched "$1" zstd -q -f -d "$work/back/snapshot.db.zst" -o "$work/back/snapshot.db"
    run_watched "$1" "$etcdutl" snapshot restore "$work/back/snapshot.db" --data-dir "$work/back/etcd"
}

# row LABEL TEXT
row() {
    local file=$work/$size.$1
    printf '  %-52s' "$2"
    awk -v wall="$(median "$file" 1)" -v cpu="$(median "$file" 2)" -v heap="$(most "$file" 4)" -v peak="$(most "$file" 5)" \
        'BEGIN { printf " %9.2f %9.2f %9.1f %9.1f\n", wall / 1000, cpu / 1000, heap / 1024, peak / 1024 }'
}

# ratio OURS THEIRS AIM
ratio() {
    awk -v ours="$(median "$work/$size.$1" 1)" -v theirs="$(median "$work/$size.$2" 1)" -v aim="$3" \
        'BEGIN { printf "  ratio of the walls: %.2f (aim: at most %s)\n", ours / theirs, aim }'
}

report_s3() {
    printf '\n%s MB database, S3 on loopback (%s runs of each, in turns; medians)\n' "$size" "$runs"
    printf '  %-52s %9s %9s %9s %9s\n' '' 'wall s' 'CPU s' 'heap MiB' 'peak MiB'
    row holdfast 'holdfast backup (age, checked, read back)'
    row tools 'etcdctl snapshot save; zstd -3 -T2; aws s3 cp'
    ratio holdfast tools 0.7
    row holdfast_restore 'holdfast restore (decrypted, checked)'
    row tools_restore 'aws s3 cp; zstd -d; etcdutl snapshot restore'
    ratio holdfast_restore tools_restore 0.5
}

write_config() {
    cat >"$work/holdfast.toml" <<CONFIG
[cluster]
name = "bench"
endpoints = ["${endpoints//,/\", \"}"]
request_timeout = "60s"

[backup]
stores = ["bucket"]
verify = ["sanity"]
scratch = "$work/scratch"
pack = { zstd = 3, recipients = ["$(age-keygen -y "$work/age.key")"] }

[decrypt]
identity_files = ["$work/age.key"]

[store.bucket.s3]
bucket = "$bucket"
prefix = "holdfast-$size"
endpoint = "$s3"

[chain.sanity]
steps = [{ integrity = {} }, { agreement = {}, on_error = "warn" }]
CONFIG
}

# ---- the way ---------------------------------------------------------------------------------------------------

"$repository/tools/install.sh" protoc zstd age s3 "etcd-$version"
export PATH=$PATH:$tools/bin
set_up_aws
etcd=$tools/etcd-$version/etcd
etcdctl=$tools/etcd-$version/etcdctl
etcdutl=$tools/etcd-$version/etcdutl
holdfast=${HOLDFAST_BIN:-$target/release/holdfast}
filler=$target/debug/fill
if [ -z "${HOLDFAST_BIN:-}" ]; then (cd "$repository" && cargo build --release --package holdfast --locked); fi
(cd "$repository" && cargo build --package holdfast-tests --bin fill --locked)

mkdir -p "$directory"
work=$(mktemp -d "$directory/run.XXXXXX")
s3_process=
end_all() {
    local code=$?
    trap - EXIT
    end_processes
    if [ -n "$s3_process" ]; then
        kill "$s3_process" 2>/dev/null || true
        wait "$s3_process" 2>/dev/null || true
    fi
    rm -rf "${work:?}"
    exit "$code"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
age-keygen -o "$work/age.key" 2>/dev/null
start_s3
printf '%s; etcd %s; %s; %s cores; %s\n' "$("$holdfast" --version)" \
    "$("$etcd" --version | sed -n 's/^etcd Version: //p')" "$(aws --version)" "$(nproc)" "$(uname -sr)"

for size in ${sizes//,/ }; do
    note "filling an etcd with $size MB"
    start_etcd "$work/etcd-$size"
    fill "$size"
    write_config
    mkdir -p "$work/save" "$work/back"
    # One of each that does not count: the file cache and etcd's own memory are then warm for both.
    run_holdfast "$work/times"
    run_tools "$work/times"
    for ((run = 1; run <= runs; run++)); do
        note "run $run of $runs at $size MB"
        for peer in holdfast tools; do
            # The same beginning for both: an empty bucket, and nothing of theirs on disk.
            aws --endpoint-url "$s3" s3 rm --quiet --recursive "s3://$bucket"
            clear_away
            sync
            measure "$peer" "run_$peer"
            rm -rf "$work"/back/*
            sync
            measure "${peer}_restore" "run_${peer}_restore"
        done
    done
    report_s3
    end_processes
    rm -rf "$work/etcd-$size" "$work/save" "$work/back"
done
