#!/usr/bin/env bash
# Measures what Holdfast does with a snapshot file beside etcd's own tool and the system's, on the same file, in one run.
#
#   tests/bench-engine.sh [--sizes MB,MB] [--runs N] [--version 3.6] [--directory DIR] [--files FILE,FILE]
#
#   --sizes MB,MB      sizes of the snapshots that are made (default: 50,700,3500)
#   --files FILE,FILE  snapshots that are there already, instead
#   --runs N           runs of each, in turns (default: 5)
#   --version VERSION  which etcd: 3.5, 3.6 or 3.7 (default: 3.6)
#   --directory DIR    where all is written, on the disk to be measured (default: target/bench-engine)
#
# Wall and CPU (user + system) are medians, in seconds. "heap" is the most anonymous memory (RssAnon), "peak" the most altogether with
# mapped files (VmHWM), in MiB. The snapshot is in the page cache. HOLDFAST_BIN and FILL_BIN name ready binaries; else the
# release builds are made. Linux only: it reads /proc.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${HOLDFAST_TOOLS:-$repository/target/tools}
target=${CARGO_TARGET_DIR:-$repository/target}
directory=$repository/target/bench-engine
sizes=50,700,3500
files=
runs=5
version=3.6
server=

usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -e '/^set /d' -e 's/^# \{0,1\}//'; }
die() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --sizes | --files | --runs | --version | --directory)
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
[ -r /proc/self/status ] || die "this needs /proc, as on Linux"

on_exit() {
    local code=$?
    trap - EXIT
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "${work:?}"
    exit "$code"
}

# make_snapshot MEGABYTES FILE
make_snapshot() {
    local address=http://127.0.0.1:$((20000 + RANDOM % 10000)) peer=http://127.0.0.1:$((30000 + RANDOM % 2000))
    "$etcd" --name m0 --data-dir "$work/etcd" --listen-client-urls "$address" --advertise-client-urls "$address" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "m0=$peer" --unsafe-no-fsync \
        --quota-backend-bytes 8589934592 --snapshot-count 1000 --log-level error >"$work/etcd.log" 2>&1 </dev/null &
    server=$!
    local deadline=$((SECONDS + 60))
    until "$etcdctl" --endpoints "$address" get / >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || die "etcd did not come up: $(tail -n 3 "$work/etcd.log")"
        sleep 0.2
    done
    "$fill" --endpoints "$address" --megabytes "$1" >&2
    "$etcdctl" --endpoints "$address" --command-timeout 600s snapshot save "$2" >/dev/null 2>&1
    kill "$server"
    wait "$server" || true
    server=
    rm -rf "$work/etcd"
}

exec {never}<> <(:)
# measure LABEL COMMAND...: adds "wall_ms cpu_ms heap_kb peak_kb" to the label's results.
measure() {
    local label=$1 start wall process heap=0 peak=0 key value rest
    shift
    start=${EPOCHREALTIME/./}
    (
        "$@" </dev/null >"$work/out" 2>"$work/err" &
        echo $! >"$work/pid.new" && mv "$work/pid.new" "$work/pid"
        wait $! || { cat "$work/err" >&2; exit 1; }
        # Not in a pipe: there it would be another shell's. The second line is that of the children, of the one program.
        times >"$work/times"
    ) &
    process=$!
    until [ -e "$work/pid" ]; do :; done
    # No program is started for a sample, so that sampling takes no time from what is measured.
    while [ -r "/proc/$(<"$work/pid")/status" ]; do
        while read -r key value rest; do
            case $key in
                VmHWM:) [ "$value" -le "$peak" ] || peak=$value ;;
                RssAnon:) [ "$value" -le "$heap" ] || heap=$value ;;
                State:) [ "$value" != Z ] || break 2 ;;
            esac
        done 2>/dev/null <"/proc/$(<"$work/pid")/status" || true
        read -r -t 0.01 -u "$never" rest || true
    done
    wait "$process" || die "\`$*\` failed"
    wall=$(((${EPOCHREALTIME/./} - start) / 1000))
    rm -f "$work/pid"
    printf '%s %s %s %s\n' "$wall" "$(tail -n 1 "$work/times" | tr 'ms' '  ' |
        awk '{ printf "%d", ($1 + $3) * 60000 + ($2 + $4) * 1000 }')" "$heap" "$peak" >>"$work/results.$label"
}

copy_and_sync() { cp "$file" "$work/copy" && sync "$work/copy"; }
export -f copy_and_sync

# One of each that COMMANDS names, on $file.
run() {
    case $1 in
        quick) measure "$1" "$holdfast" inspect --quick --output json "$file" ;;
        status) measure "$1" "$etcdutl" snapshot status "$file" ;;
        full) measure "$1" "$holdfast" inspect --output json "$file" ;;
        sha256) measure "$1" openssl dgst -sha256 "$file" ;;
        restore) measure "$1" "$holdfast" restore "$file" --data-dir "$work/restored" --bump-revision none ;;
        compact) measure "$1" "$holdfast" restore "$file" --data-dir "$work/restored" --bump-revision none --compact ;;
        etcdutl) measure "$1" "$etcdutl" snapshot restore "$file" --data-dir "$work/restored" ;;
        copy) measure "$1" bash -c copy_and_sync ;;
        get) measure "$1" "$holdfast" get "$file" "$key" ;;
        keys) measure "$1" "$holdfast" keys "$file" "${key%/*}/" ;;
        past) measure "$1" "$holdfast" keys "$file" --count --revision $((revision - 1)) ;;
        diff) measure "$1" "$holdfast" diff "$file" "$file" ;;
    esac
    rm -rf "$work/restored" "$work/copy"
    sync
}

median() { cut -d ' ' -f "$2" "$work/results.$1" | sort -n | awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'; }
most() { cut -d ' ' -f "$2" "$work/results.$1" | sort -n | tail -n 1; }

row() {
    awk -v label="$2" -v wall="$(median "$1" 1)" -v cpu="$(median "$1" 2)" -v heap="$(most "$1" 3)" -v peak="$(most "$1" 4)" \
        'BEGIN { printf "  %-44s %8.2f %8.2f %8.1f %8.1f\n", label, wall / 1000, cpu / 1000, heap / 1024, peak / 1024 }'
}

# ratio OURS THEIRS AIM: of the walls.
ratio() {
    awk -v ours="$(median "$1" 1)" -v theirs="$(median "$2" 1)" -v aim="$3" -v text="$1 / $2" \
        'BEGIN { printf "  %-44s %8.2f   (aim: at most %s)\n", text, ours / theirs, aim }'
}

# within COMMAND AIM: seconds.
within() {
    awk -v wall="$(median "$1" 1)" -v aim="$2" -v keys="$live" -v text="$1" \
        'BEGIN { printf "  %-44s %8.2f s (aim: at most %s s at a million live keys; here are %s)\n", text, wall / 1000, aim, keys }'
}

# Beside the map: what a check takes at most, and what the index takes of each live key while it is built; `get` makes none.
memory() {
    awk -v quick="$(most quick 3)" -v full="$(most full 3)" -v keys="$(most keys 3)" -v none="$(most get 3)" -v live="$live" 'BEGIN {
        printf "  %-44s %8.1f   (aim: under 64)\n", "heap of inspect, MiB", (quick > full ? quick : full) / 1024
        printf "  %-44s %8.1f   (aim: at most 64)\n", "heap of the index, bytes a live key", (keys - none) * 1024 / live }'
}

report() {
    printf '\n%s: %s bytes (%s runs of each, in turns)\n' "$1" "$(stat -c %s "$file")" "$runs"
    printf '  %-44s %8s %8s %8s %8s\n' '' 'wall s' 'CPU s' 'heap MiB' 'peak MiB'
    row quick 'holdfast inspect --quick'
    row status 'etcdutl snapshot status (no sha256)'
    row full 'holdfast inspect'
    row sha256 'openssl dgst -sha256'
    row restore 'holdfast restore, checked'
    row compact 'holdfast restore --compact, checked'
    row etcdutl 'etcdutl snapshot restore'
    row copy 'cp and sync'
    for command in get keys diff; do row "$command" "holdfast $command"; done
    row past 'holdfast keys --count, one revision back'
    ratio quick status 0.3
    ratio full sha256 1.25
    ratio full status 1
    ratio restore etcdutl 0.4
    ratio restore copy 1.5
    ratio compact etcdutl 0.6
    for command in get keys diff past; do within "$command" 1; done
    memory
}

# ---- the way ---------------------------------------------------------------------------------------------------

"$repository/tools/install.sh" protoc "etcd-$version"
etcd=$tools/etcd-$version/etcd
etcdctl=$tools/etcd-$version/etcdctl
etcdutl=$tools/etcd-$version/etcdutl
holdfast=${HOLDFAST_BIN:-$target/release/holdfast}
fill=${FILL_BIN:-$target/release/fill}
cd "$repository"
if [ -z "${HOLDFAST_BIN:-}" ]; then cargo build --release --package holdfast --locked; fi
if [ -z "${FILL_BIN:-}${files}" ]; then cargo build --release --package holdfast-tests --bin fill --locked; fi

mkdir -p "$directory"
work=$(mktemp -d "$directory/run.XXXXXX")
export work
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
printf '%s; etcd %s; %s cores; %s\n' "$("$holdfast" --version)" \
    "$("$etcd" --version | sed -n 's/^etcd Version: //p')" "$(nproc)" "$(uname -sr)"

for entry in ${files//,/ } $([ -n "$files" ] || echo "${sizes//,/ }"); do
    file=$entry
    if [ -z "$files" ]; then
        file=$work/snapshot-$entry.db
        make_snapshot "$entry" "$file"
    fi
    export file
    # Once uncounted: the file is then in the page cache.
    cat "$file" >/dev/null
    key=$("$holdfast" keys "$file" --limit 1)
    live=$("$holdfast" keys "$file" --count)
    revision=$("$holdfast" inspect --quick --output json "$file" | sed -n 's/^ *"revision": \([0-9]*\),*$/\1/p' | head -n 1)
    for ((turn = 1; turn <= runs; turn++)); do
        for command in quick status full sha256 restore compact etcdutl copy get keys diff past; do run "$command"; done
    done
    report "$(basename "$file")"
    rm -f "$work"/results.*
    if [ -z "$files" ]; then rm -f "$file"; fi
done
