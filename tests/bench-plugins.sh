#!/usr/bin/env bash
# Measures what plugins cost: against a native scan, and against the way to a verdict without them, in one run.
#
#   tests/bench-plugins.sh [--keys N] [--megabytes MB] [--files MANY-KEYS,LARGE] [--runs N] [--version 3.6] [--directory DIR]
#
#   --keys N           keys of the snapshot that a verifier reads whole (default: 1000000)
#   --megabytes MB     size of the snapshot that is judged (default: 3500)
#   --files FILE,FILE  snapshots that are there already, instead: that of many keys, and the large one
#   --runs N           runs of each, in turns (default: 5)
#   --version VERSION  which etcd: 3.5, 3.6 or 3.7 (default: 3.6)
#   --directory DIR    where all is written, on the disk to be measured (default: target/bench-plugins)
#
# Times are medians. HOLDFAST_BIN, FILL_BIN, HOLDFAST_PLUGINS and RUNTIME_SUITE (the runtime's test program `suite`) name what is
# built already; else release builds are made. The snapshots are in the page cache. Linux only.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${HOLDFAST_TOOLS:-$repository/target/tools}
target=${CARGO_TARGET_DIR:-$repository/target}
directory=$repository/target/bench-plugins
keys=1000000
megabytes=3500
files=
runs=5
version=3.6
servers=()

usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -e '/^set /d' -e 's/^# \{0,1\}//'; }
die() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --keys | --megabytes | --files | --runs | --version | --directory)
            [ $# -ge 2 ] || die "\`$1\` needs a value"
            declare "${1#--}=$2"
            shift 2
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die "there is no option \`$1\`; $0 --help lists them" ;;
    esac
done

on_exit() {
    local code=$?
    trap - EXIT
    for server in ${servers[@]+"${servers[@]}"}; do kill "$server" 2>/dev/null || true; done
    rm -rf "${work:?}"
    exit "$code"
}

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
median() { sort -n "$1" | awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'; }
# field NAME: the number of a field in the JSON on standard input.
field() { sed -n "s/^.*\"$1\": *\\([0-9.]*\\).*\$/\\1/p" | head -n 1; }

# start_etcd DATA-DIRECTORY [FLAG...]: sets $address, and $server to its process.
start_etcd() {
    local data=$1 peer=http://127.0.0.1:$((30000 + RANDOM % 2000))
    shift
    address=http://127.0.0.1:$((20000 + RANDOM % 10000))
    "$etcd" --name m0 --data-dir "$data" --listen-client-urls "$address" --advertise-client-urls "$address" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "m0=$peer" \
        --quota-backend-bytes 8589934592 --log-level error "$@" >"$work/etcd.log" 2>&1 </dev/null &
    server=$!
    servers+=("$server")
    local deadline=$((SECONDS + 300))
    until "$etcdctl" --endpoints "$address" get / >/dev/null 2>&1; do
        kill -0 "$server" 2>/dev/null || die "etcd ended: $(tail -n 3 "$work/etcd.log")"
        [ $SECONDS -lt $deadline ] || die "etcd did not come up: $(tail -n 3 "$work/etcd.log")"
        sleep 0.02
    done
}

stop_etcd() {
    kill "$server"
    wait "$server" 2>/dev/null || true
    servers=()
}

# make_snapshot FILE FILL-OPTION...
make_snapshot() {
    local file=$1
    shift
    start_etcd "$work/filled" --unsafe-no-fsync --snapshot-count 1000
    "$fill" --endpoints "$address" "$@" >&2
    "$etcdctl" --endpoints "$address" --command-timeout 600s snapshot save "$file" >/dev/null 2>&1
    stop_etcd
    rm -rf "$work/filled"
}

# A verifier that reads every byte of every key and value, written as an author would: with the SDK, in a project of its own.
make_scan_plugin() {
    (cd "$work" && "$holdfast" plugin new scan --summary 'Reads every key and value' >/dev/null 2>&1)
    cat >"$work/scan/src/lib.rs" <<'RUST'
use holdfast_plugin::{Context, Error, Query, Report, SnapshotView, Verifier, export_verifier};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
pub struct Config {}

pub struct Scan;

impl Verifier for Scan {
    const NAME: &'static str = "scan";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Reads every key and value";
    type Config = Config;

    fn verify(snapshot: &SnapshotView<'_>, _: &Context, _: Config) -> Result<Report, Error> {
        let (mut sum, mut count) = (0_u64, 0_u64);
        let mut rows = snapshot.rows(&Query::all())?;
        while let Some(row) = rows.next_row()? {
            for bytes in [row.key, row.value] {
                sum = bytes.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
            }
            count += 1;
        }
        Ok(Report::passed(format!("{count} keys, sum {sum}")))
    }
}

export_verifier!(Scan);
RUST
    rm -f "$work"/scan/tests/*.rs
    (cd "$work/scan" && CARGO_TARGET_DIR=$work/scan-target cargo build --quiet --release --target wasm32-wasip2 >&2)
    scan=$work/scan.wasm
    cp "$work/scan-target/wasm32-wasip2/release/scan.wasm" "$scan"
}

# ---- what is measured ------------------------------------------------------------------------------------------

scan_against_native() {
    "$holdfast" plugin bench "$scan" --snapshot "$many" --runs "$runs" --output json >"$work/bench.json"
    local call native
    printf '\na verifier that reads every key and value of %s live keys\n' "$("$holdfast" keys "$many" --count)"
    call=$(sed -n '/"call_ms"/,/}/p' "$work/bench.json" | field median)
    native=$(sed -n '/"scan_ms"/,/}/p' "$work/bench.json" | field median)
    printf '  %-52s %10.1f ms\n' 'in the sandbox' "$call" 'natively' "$native"
    printf '  %-52s %10.2f   (aim: at most 1.3)\n' 'ratio' "$(field ratio <"$work/bench.json")"
}

# to_verdict LABEL COMMAND...: adds its milliseconds to the label's.
to_verdict() {
    local label=$1 start
    shift
    start=$(now_ms)
    "$@" >"$work/out" 2>"$work/err" || die "\`$*\` failed: $(cat "$work/err")"
    echo $(($(now_ms) - start)) >>"$work/results.$label"
}

# Without plugins: restore, start, ask, and count what came.
by_etcd() {
    rm -rf "$work/restored"
    "$etcdutl" snapshot restore "$large" --data-dir "$work/restored" --name m0 --initial-cluster m0=http://127.0.0.1:2380 \
        --initial-advertise-peer-urls http://127.0.0.1:2380
    start_etcd "$work/restored"
    "$etcdctl" --endpoints "$address" --command-timeout 600s get "$prefix" --prefix --count-only --write-out fields |
        grep -q "\"Count\" : $expected"
}

verdict_against_etcd() {
    local prefix expected disk
    prefix=$("$holdfast" keys "$large" --limit 1 2>/dev/null)
    prefix=${prefix%/*}/
    expected=$("$holdfast" keys "$large" "$prefix" --count)
    cat >"$work/rules.toml" <<TOML
rules = [{ prefix = "$prefix", least = $expected }]
TOML
    mkdir -p "$work/scratch"
    cat >"$work/holdfast.toml" <<TOML
[cluster]
name = "bench"
endpoints = ["http://127.0.0.1:2379"]
[backup]
stores = ["local"]
verify = ["sanity"]
scratch = "$work/scratch"
[store.local.directory]
path = "$work/store"
[plugins]
directory = "$plugins"
cache = "$work/cache"
[chain.sanity]
steps = [{ integrity = {} }, { plugin = "required-keys", config = { rules = [{ prefix = "$prefix", least = $expected }] } }]
TOML
    local known=("$holdfast" --config "$work/holdfast.toml" plugin run "$plugins/required-keys.wasm" --snapshot "$large" --integrity-known --plugin-config "$work/rules.toml")
    local whole=("$holdfast" --config "$work/holdfast.toml" verify "$large" --chain sanity)
    # Once uncounted: compiled, and the file is in the page cache.
    "${known[@]}" >/dev/null 2>&1 || die "the verifier does not pass: $("${known[@]}" 2>&1)"
    "${whole[@]}" >/dev/null 2>&1 || die "the chain does not pass: $("${whole[@]}" 2>&1)"
    for ((turn = 1; turn <= runs; turn++)); do
        to_verdict known "${known[@]}"
        to_verdict whole "${whole[@]}"
        to_verdict etcd by_etcd
        stop_etcd
        disk=$(du -sm "$work/restored" | cut -f 1)
        rm -rf "$work/restored"
        sync
    done
    printf '\nfrom nothing to a verdict on %s bytes: are there %s keys below `%s`?\n' "$(stat -c %s "$large")" "$expected" "$prefix"
    printf '  %-52s %10.2f s\n' \
        'holdfast plugin run (integrity known)' "$(median "$work/results.known" | awk '{ print $1 / 1000 }')" \
        'holdfast verify (integrity, then the plugin)' "$(median "$work/results.whole" | awk '{ print $1 / 1000 }')" \
        'etcdutl restore, etcd, etcdctl' "$(median "$work/results.etcd" | awk '{ print $1 / 1000 }')"
    awk -v known="$(median "$work/results.known")" -v whole="$(median "$work/results.whole")" -v etcd="$(median "$work/results.etcd")" 'BEGIN {
        printf "  %-52s %10.1f   (aim: at least 15)\n", "times faster, integrity known", etcd / known
        printf "  %-52s %10.1f   (aim: at least 4)\n", "times faster, with the full check", etcd / whole }'
    printf '  %-52s %10s MiB (ours: none)\n' 'disk that the way over etcd took' "$disk"
}

# What a call, a load and a reload cost. The agent's own part is measured by the runtime's tests, on the plugin host that it runs.
calls_and_loads() {
    printf '\na plugin in the agent\n'
    (cd "$repository/host/runtime" && "$suite" figures --ignored --nocapture 2>&1 | grep -E '^  |panicked|FAILED' || true)
    printf '  %-52s\n' '(aims: call under 0.1 ms; cached start at most 5 ms; rename to live at most 500 ms; no call lost, nothing leaked)'
}

# ---- the way ---------------------------------------------------------------------------------------------------

"$repository/tools/install.sh" protoc wasm-target "etcd-$version"
etcd=$tools/etcd-$version/etcd
etcdctl=$tools/etcd-$version/etcdctl
etcdutl=$tools/etcd-$version/etcdutl
holdfast=${HOLDFAST_BIN:-$target/release/holdfast}
fill=${FILL_BIN:-$target/release/fill}
plugins=${HOLDFAST_PLUGINS:-$target/plugins}
suite=${RUNTIME_SUITE:-}
cd "$repository"
if [ -z "${HOLDFAST_BIN:-}" ]; then cargo build --release --package holdfast --locked; fi
if [ -z "${FILL_BIN:-}${files}" ]; then cargo build --release --package holdfast-tests --bin fill --locked; fi
if [ -z "${HOLDFAST_PLUGINS:-}" ]; then CARGO_TARGET_DIR=$target plugins/build.sh "$plugins" >/dev/null; fi
if [ -z "$suite" ]; then
    suite=$(cargo test --release --package holdfast-runtime --test suite --no-run --locked --message-format json |
        sed -n 's/^.*"executable":"\([^"]*suite-[^"]*\)".*$/\1/p' | tail -n 1)
fi

mkdir -p "$directory"
work=$(mktemp -d "$directory/run.XXXXXX")
export work
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
printf '%s; etcd %s; %s cores; %s; %s runs of each\n' "$("$holdfast" --version)" \
    "$("$etcd" --version | sed -n 's/^etcd Version: //p')" "$(nproc)" "$(uname -sr)" "$runs"
make_scan_plugin

many=${files%%,*} large=${files##*,}
if [ -z "$files" ]; then
    many=$work/many.db
    make_snapshot "$many" --keys "$keys"
fi
cat "$many" >/dev/null
scan_against_native
if [ -z "$files" ]; then
    rm -f "$many"
    large=$work/large.db
    make_snapshot "$large" --megabytes "$megabytes"
fi
cat "$large" >/dev/null
verdict_against_etcd
calls_and_loads
