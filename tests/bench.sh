#!/usr/bin/env bash
# Measures `holdfast backup` beside etcd's own tools, on the same etcd and the same data, in one run.
#
#   tests/bench.sh [--sizes MB,MB] [--runs N] [--members N] [--version 3.6] [--directory DIR]
#
#   --sizes MB,MB      database sizes (default: 50,700)
#   --runs N           runs of each, taken in turns (default: 5)
#   --members N        members of the etcd (default: 1)
#   --version VERSION  which etcd: 3.5, 3.6 or 3.7 (default: 3.6)
#   --directory DIR    where data and backups go, on the disk to be measured (default: target/bench)
#
# What is compared:
#   holdfast   `holdfast backup`, the release build, to a directory: zstd 3, encrypted to a recipient, integrity and agreement
#              on, sha256 of what lies in the store read back
#   etcdctl    `etcdctl snapshot save`, then `zstd -3 -T2`: no encryption, no check, no read-back
#
# Wall is the median over the runs; CPU is user + system; etcd's own CPU during a run stands beside it. Peak memory: "heap" is the
# most anonymous memory (RssAnon), "peak" the most altogether with mapped files (VmHWM). The idle agent is measured last.
# HOLDFAST_BIN names a ready binary; otherwise the release build is made. Linux only: it reads /proc.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${HOLDFAST_TOOLS:-$repository/target/tools}
target=${CARGO_TARGET_DIR:-$repository/target}
directory=$repository/target/bench
sizes=50,700
runs=5
members=1
version=3.6
processes=()
heap=0 peak=0

usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -e '/^set /d' -e 's/^# \{0,1\}//'; }
die() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}
note() { printf '%s\n' "$*" >&2; }

while [ $# -gt 0 ]; do
    case $1 in
        --sizes | --runs | --members | --version | --directory)
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

end_processes() {
    local process
    for process in ${processes[@]+"${processes[@]}"}; do
        if kill "$process" 2>/dev/null; then wait "$process" 2>/dev/null || true; fi
    done
    processes=()
}
on_exit() {
    local code=$?
    trap - EXIT
    end_processes
    rm -rf "${work:?}"
    exit "$code"
}

# What either left behind. The scratch directory knows that the store was not empty, and would take it for an unmounted one.
clear_away() { rm -rf "$work/store" "$work/scratch" "$work"/save/*; }

# A port on loopback that nobody listens on. Put into $port.
next_port=$((20000 + RANDOM % 10000))
find_port() {
    while (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do next_port=$((next_port + 1)); done
    port=$next_port
    next_port=$((next_port + 1))
}

# ---- etcd ------------------------------------------------------------------------------------------------------

start_etcd() {
    local data=$1 index initial='' clients=() peers=()
    for ((index = 0; index < members; index++)); do
        find_port
        clients+=("http://127.0.0.1:$port")
        find_port
        peers+=("http://127.0.0.1:$port")
        initial+=,m$index=${peers[index]}
    done
    for ((index = 0; index < members; index++)); do
        "$etcd" --name "m$index" --data-dir "$data/m$index" --listen-client-urls "${clients[index]}" \
            --advertise-client-urls "${clients[index]}" --listen-peer-urls "${peers[index]}" \
            --initial-advertise-peer-urls "${peers[index]}" --initial-cluster "${initial#,}" \
            --quota-backend-bytes 8589934592 --snapshot-count 1000 --log-level error >"$data.m$index.log" 2>&1 </dev/null &
        processes+=($!)
    done
    endpoints=$(IFS=,; echo "${clients[*]}")
    endpoint=${clients[0]}
    local deadline=$((SECONDS + 60))
    until "$etcdctl" --endpoints "$endpoints" get / >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || die "etcd did not come up; its log is $data.m0.log"
        sleep 0.2
    done
}

# fill MEGABYTES: objects as a busy Kubernetes cluster keeps them, with history and free pages, up to that size.
fill() { "$filler" --endpoints "$endpoint" --megabytes "$1" >&2; }

# ---- measuring -------------------------------------------------------------------------------------------------

ticks=$(getconf CLK_TCK)
# CPU that etcd has used so far, in milliseconds.
etcd_cpu() {
    local process fields sum=0
    for process in "${processes[@]}"; do
        fields=$(sed 's/^.*) //' "/proc/$process/stat")
        # shellcheck disable=SC2086 # fields 14 and 15 of the file, 12 and 13 behind the name
        set -- $fields
        sum=$((sum + (${12} + ${13}) * 1000 / ticks))
    done
    echo "$sum"
}

# Samples a process until it ends: the most RssAnon and VmHWM, in kB, into $heap and $peak. No program is started for a
# sample, so that sampling takes no time from what is measured.
exec {never}<> <(:)
watch_memory() {
    local key value rest
    while [ -r "/proc/$1/status" ]; do
        while read -r key value rest; do
            case $key in
                VmHWM:) [ "$value" -le "$peak" ] || peak=$value ;;
                RssAnon:) [ "$value" -le "$heap" ] || heap=$value ;;
                State:) [ "$value" != Z ] || return 0 ;;
            esac
        done 2>/dev/null <"/proc/$1/status" || true
        read -r -t 0.02 -u "$never" rest || true
    done
}

# measure LABEL COMMAND...: adds a line "wall_ms cpu_ms etcd_cpu_ms heap_kb peak_kb" to the label's results.
# A command is a function whose last program is started in the background by it; see below.
measure() {
    local label=$1 before after start wall times_file=$work/times
    shift
    heap=0 peak=0
    before=$(etcd_cpu)
    start=${EPOCHREALTIME/./}
    "$@" "$times_file"
    wall=$(((${EPOCHREALTIME/./} - start) / 1000))
    after=$(etcd_cpu)
    printf '%s %s %s %s %s\n' "$wall" "$(cpu_of "$times_file")" $((after - before)) "$heap" "$peak" \
        >>"$work/$size.$label"
}

# run_watched TIMES-FILE COMMAND...: runs it, samples its memory, and adds its CPU times to the file.
run_watched() {
    local times_file=$1 process
    shift
    (
        # The times of this shell's children, on the second line, are those of the one program. Not in a pipe: there it
        # would be another shell's.
        "$@" </dev/null >"$work/out" 2>"$work/err" &
        echo $! >"$work/pid"
        wait $! || { cat "$work/err" >&2; exit 1; }
        times >"$times_file.both"
        tail -n 1 "$times_file.both" >>"$times_file"
    ) &
    process=$!
    until [ -s "$work/pid" ]; do :; done
    watch_memory "$(<"$work/pid")"
    wait "$process" || die "\`$*\` failed"
    rm -f "$work/pid"
}

# Lines like "0m1.234s 0m0.567s", in milliseconds altogether.
cpu_of() { tr 'ms' '  ' <"$1" | awk '{ sum += ($1 + $3) * 60000 + ($2 + $4) * 1000 } END { printf "%d", sum }'; }

run_holdfast() {
    : >"$1"
    run_watched "$1" "$holdfast" --config "$work/holdfast.toml" --quiet backup
}

run_etcdctl() {
    : >"$1"
    run_watched "$1" "$etcdctl" --endpoints "$endpoint" snapshot save "$work/save/snapshot.db"
    run_watched "$1" zstd -q -f -3 -T2 "$work/save/snapshot.db" -o "$work/save/snapshot.db.zst"
}

# median FILE FIELD
median() { cut -d ' ' -f "$2" "$1" | sort -n | awk '{ value[NR] = $1 } END { print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'; }
# most FILE FIELD
most() { cut -d ' ' -f "$2" "$1" | sort -n | tail -n 1; }

report() {
    local label file
    printf '\n%s MB database (%s runs of each, in turns; medians)\n' "$1" "$runs"
    printf '  %-34s %9s %9s %9s %9s %9s\n' '' 'wall s' 'CPU s' 'etcd s' 'heap MiB' 'peak MiB'
    for label in holdfast etcdctl; do
        file=$work/$1.$label
        case $label in
            holdfast) printf '  %-34s' 'holdfast backup (age, checked)' ;;
            etcdctl) printf '  %-34s' 'etcdctl snapshot save; zstd -3 -T2' ;;
        esac
        awk -v wall="$(median "$file" 1)" -v cpu="$(median "$file" 2)" -v etcd="$(median "$file" 3)" \
            -v heap="$(most "$file" 4)" -v peak="$(most "$file" 5)" \
            'BEGIN { printf " %9.2f %9.2f %9.2f %9.1f %9.1f\n", wall / 1000, cpu / 1000, etcd / 1000, heap / 1024, peak / 1024 }'
    done
    awk -v ours="$(median "$work/$1.holdfast" 1)" -v theirs="$(median "$work/$1.etcdctl" 1)" \
        'BEGIN { printf "  ratio of the walls: %.2f (aim: at most 0.85)\n", ours / theirs }'
    printf '  stored: %s bytes by holdfast, %s by zstd -3\n' "$(stat -c %s "$work"/store/data/*.db.zst.age)" \
        "$(stat -c %s "$work/save/snapshot.db.zst")"
}

# Sourced by tests/bench-s3.sh: what is above, and nothing below.
[ "${BASH_SOURCE[0]}" = "$0" ] || return 0

# ---- the way ---------------------------------------------------------------------------------------------------

"$repository/tools/install.sh" protoc zstd age "etcd-$version"
export PATH=$PATH:$tools/bin
etcd=$tools/etcd-$version/etcd
etcdctl=$tools/etcd-$version/etcdctl
holdfast=${HOLDFAST_BIN:-$target/release/holdfast}
filler=$target/debug/fill
if [ -z "${HOLDFAST_BIN:-}" ]; then (cd "$repository" && cargo build --release --package holdfast --locked); fi
(cd "$repository" && cargo build --package holdfast-tests --bin fill --locked)

mkdir -p "$directory"
work=$(mktemp -d "$directory/run.XXXXXX")
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
age-keygen -o "$work/age.key" 2>/dev/null
printf '%s; etcd %s, %s member(s); %s cores; %s\n' "$("$holdfast" --version)" \
    "$("$etcd" --version | sed -n 's/^etcd Version: //p')" "$members" "$(nproc)" "$(uname -sr)"

for size in ${sizes//,/ }; do
    note "filling an etcd with $size MB"
    start_etcd "$work/etcd-$size"
    fill "$size"
    cat >"$work/holdfast.toml" <<CONFIG
[cluster]
name = "bench"
endpoints = ["${endpoints//,/\", \"}"]
request_timeout = "60s"

[backup]
schedule = "0 0 29 2 *"
stores = ["local"]
verify = ["sanity"]
scratch = "$work/scratch"
pack = { zstd = 3, recipients = ["$(age-keygen -y "$work/age.key")"] }

[store.local.directory]
path = "$work/store"

[chain.sanity]
steps = [{ integrity = {} }, { agreement = {}, on_error = "warn" }]
CONFIG
    mkdir -p "$work/save"
    # One of each that does not count: the file cache and etcd's own memory are then warm for both.
    clear_away
    run_holdfast "$work/times"
    run_etcdctl "$work/times"
    for ((run = 1; run <= runs; run++)); do
        note "run $run of $runs at $size MB"
        # The same beginning for both: nothing of theirs on disk, and as much memory just freed by the other.
        for peer in holdfast etcdctl; do
            clear_away
            sync
            measure "$peer" "run_$peer"
        done
    done
    # The last run of the one was cleared away by the other's: once more, to tell the sizes stored.
    rm -rf "$work/store" "$work/scratch"
    run_holdfast "$work/times"
    report "$size"
    end_processes
    rm -rf "$work/etcd-$size" "$work/save"
done

# The agent between two runs: started, its schedule read, nothing to do.
"$holdfast" --config "$work/holdfast.toml" agent </dev/null >"$work/agent.log" 2>&1 &
processes+=($!)
deadline=$((SECONDS + 30))
until grep -q 'the agent has started' "$work/agent.log"; do
    [ $SECONDS -lt $deadline ] || die "the agent did not start: $(cat "$work/agent.log")"
    sleep 0.1
done
sleep 2
awk '/^VmRSS:/ { printf "\nidle agent: %.1f MiB RSS (aim: under 40)\n", $2 / 1024 }' "/proc/${processes[0]}/status"
