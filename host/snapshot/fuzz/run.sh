#!/usr/bin/env bash
# Runs the fuzz targets with libFuzzer, each in turn. Needs the pinned Rust, a C++ compiler and zstd; no nightly, no
# cargo-fuzz.
#
#   run.sh run [SECONDS [TARGET...]]   each target (or those named) for that long, 10 seconds if not said
#   run.sh pack                        keeps of what was found the inputs that reach something new, in corpus/*.tar.zst
#
# What it builds and finds lies in <target>/fuzz, where <target> is $CARGO_TARGET_DIR or the repository's `target`. An
# input that breaks a target is kept in <target>/fuzz/artifacts, and the exit code is 1.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=${CARGO_TARGET_DIR:-$here/../../../target}/fuzz
all_targets=(meta pages records wal plan whole restore)

usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -e '/^set /d' -e 's/^# \{0,1\}//'; }

# What cargo-fuzz gives rustc, without a sanitizer: the library's one unsafe line is a memory map, which no target uses.
instrumentation=(--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares)

build() {
    host=$(cd "$here" && rustc -vV | sed -n 's/^host: //p')
    # With a target named, build scripts and macros are built without the flags.
    RUSTFLAGS=${instrumentation[*]} CARGO_TARGET_DIR=$work/build cargo build --release --locked \
        --target "$host" --manifest-path "$here/Cargo.toml"
    binaries=$work/build/$host/release
}

# What a target begins with: its seeds and its corpus.
unpack() {
    mkdir -p "$work/corpus/$1" "$work/artifacts/$1"
    "$binaries/seeds" "$1" "$work/corpus/$1"
    if [ -e "$here/corpus/$1.tar.zst" ]; then zstd -qdc "$here/corpus/$1.tar.zst" | tar -C "$work/corpus/$1" -xf -; fi
}

# The longest input: files are larger than what goes into one.
longest() {
    case $1 in
        whole | restore) echo 65536 ;;
        pages | meta) echo 12288 ;;
        *) echo 3000 ;;
    esac
}

run() {
    local seconds=${1:-10} failed=0 target log
    shift || true
    local targets=("$@")
    [ $# -gt 0 ] || targets=("${all_targets[@]}")
    build
    for target in "${targets[@]}"; do
        unpack "$target"
        log=$work/$target.log
        # Time and memory are limits as well: an input of kilobytes that takes 256 MiB at once, or half a minute, is a fault.
        if "$binaries/$target" "$work/corpus/$target" -max_total_time="$seconds" -max_len="$(longest "$target")" \
            -timeout=30 -rss_limit_mb=1500 -malloc_limit_mb=256 -print_final_stats=1 \
            -artifact_prefix="$work/artifacts/$target/" >"$log" 2>&1; then
            sed -n "s/^Done \([0-9]*\) runs in \([0-9]*\) second.*/$target: \1 runs in \2 s/p" "$log"
        else
            failed=1
            printf '%s: FAILED\n' "$target"
            grep -a -A 30 -E 'panicked at|ERROR: libFuzzer' "$log" | head -n 60 || true
            ls -l "$work/artifacts/$target"
        fi
    done
    return "$failed"
}

pack() {
    local target kept
    build
    for target in "${all_targets[@]}"; do
        unpack "$target"
        kept=$(mktemp -d)
        "$binaries/$target" -merge=1 -max_len="$(longest "$target")" -timeout=30 "$kept" "$work/corpus/$target" \
            >"$work/$target.log" 2>&1
        # Names, times and owners do not change a pack.
        tar -C "$kept" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - . |
            zstd -q -19 --long -f -o "$here/corpus/$target.tar.zst"
        printf '%s: %d inputs, %d bytes packed\n' "$target" "$(find "$kept" -type f | wc -l)" \
            "$(wc -c <"$here/corpus/$target.tar.zst")"
        rm -rf "$kept"
    done
}

case ${1:-} in
    run)
        shift
        run "$@"
        ;;
    pack) pack ;;
    -h | --help) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
