#!/usr/bin/env bash
# Everything that must hold: format, lints, unit tests, plugins, the whole system on real etcd, documentation.
#
#   tests/run.sh [STEP...]      without a step: all of them, in this order
#
#   format    rustfmt, and shellcheck where it is installed
#   lints     clippy on everything, for the host and for WebAssembly; warnings are errors
#   build     the binary and the plugins
#   test      every test: those of the crates, and the whole system: etcd 3.4 to 3.7, faults, crashes, the quickstart
#   fuzz      hostile input for the snapshot engine: each fuzz target for some seconds (host/snapshot/fuzz)
#   docs      rustdoc; warnings are errors
#   licenses  who may import what, licenses, sources: cargo-deny, where it is installed
#
# Sets up what is missing first (tools/install.sh). With CI=true nothing may be left out.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
tools=${HOLDFAST_TOOLS:-$repository/target/tools}
target=${CARGO_TARGET_DIR:-$repository/target}
export HOLDFAST_TOOLS=$tools
# Behind the system's own: only what is missing there is taken from the tools folder.
export PATH=$PATH:$tools/bin
# Nothing is built a second time here: what incremental builds keep would only fill the disk.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
# The tests wait more than they work.
test_threads=${HOLDFAST_TEST_THREADS:-6}
plugin_packages=(--package holdfast-plugin --package required-keys --package kubernetes --package query --package drift
    --package smoke --package webhook --package slack --package pagerduty --package alertmanager --package webdav)

usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -e '/^set /d' -e 's/^# \{0,1\}//'; }

all_steps=(format lints build test fuzz docs licenses)
case ${1:-} in
    -h | --help)
        usage
        exit 0
        ;;
esac
steps=("$@")
if [ $# = 0 ]; then steps=("${all_steps[@]}"); fi

skipped=$(mktemp)
trap 'rm -f "$skipped"' EXIT
export HOLDFAST_SKIPPED=$skipped

# leave_out WHAT REASON: said again at the end; not allowed in CI.
leave_out() {
    printf '%s: %s\n' "$1" "$2" >>"$skipped"
    [ "${CI:-}" != true ]
}

# limited COMMAND...: a test that hangs ends the step, and not the patience of whoever waits for the summary.
limited() {
    if command -v timeout >/dev/null; then timeout --kill-after=30 45m "$@"; else "$@"; fi
}

step_tools() {
    tools/install.sh wasm-target protoc zstd age minisign etcd etcd-3.5 etcd-3.6 etcd-3.7 s3 toxiproxy webdav dns wasi-c go alertmanager
    # Not every system has these; where they can be had they are not left out.
    tools/install.sh smtp || leave_out smtp "there is no SMTP server, and email is not tested"
    tools/install.sh etcd-3.4 || leave_out etcd-3.4 "it is not to be had on this system, and is not tested"
    tools/install.sh promtool || leave_out promtool "it is not to be had on this system: metrics and alerts are not checked by it"
}

step_format() {
    cargo fmt --all --check
    cargo fmt --manifest-path host/snapshot/fuzz/Cargo.toml --check
    if command -v shellcheck >/dev/null; then
        shellcheck tools/*.sh tests/*.sh examples/*.sh plugins/*.sh plugins/templates/*.sh host/snapshot/fuzz/*.sh .ci/run
    fi
}

step_lints() {
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo clippy "${plugin_packages[@]}" --target wasm32-wasip2 --locked -- -D warnings
}

# Always the whole workspace with its tests: with another selection cargo would unite other features, and build a
# second time what depends on them.
step_build() {
    cargo build --workspace --all-targets --locked
    plugins/build.sh "$target/plugins"
}

step_test() {
    HOLDFAST_BIN=$target/debug/holdfast HOLDFAST_PLUGINS=$target/plugins \
        limited cargo test --workspace --no-fail-fast --locked -- --test-threads "$test_threads"
}

# The same targets ran over their corpus in the step `test`, if it ran.
step_fuzz() {
    if tools/install.sh c++; then
        host/snapshot/fuzz/run.sh run 6
    else
        printf 'libFuzzer: there is no C++ compiler; the fuzz targets ran over their corpus and mutations only\n' >>"$skipped"
        cargo test --workspace --test fuzz --locked
    fi
}

step_docs() { RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked; }

step_licenses() {
    # Who imports wasmtime is also held by a test; the rest needs the tool, whose own build takes minutes.
    if command -v cargo-deny >/dev/null; then
        cargo deny --config .deny.toml --locked check bans licenses sources
    else
        printf 'licenses: cargo-deny is not installed\n' >>"$skipped"
    fi
}

# ---- the way ---------------------------------------------------------------------------------------------------

names=() results=() failures=0
run_step() {
    local name=$1 start=$SECONDS result=passed code=0
    printf '\n=== %s\n' "$name"
    # A shell of its own, so that `set -e` holds within the step.
    (
        set -e
        "step_$name"
    ) </dev/null || code=$?
    if [ "$code" != 0 ]; then
        result="FAILED (exit code $code)"
        failures=$((failures + 1))
    fi
    names+=("$name")
    results+=("$(printf '%4d s  %s' $((SECONDS - start)) "$result")")
    return "$code"
}

for name in "${steps[@]}"; do
    case " ${all_steps[*]} " in
        *" $name "*) ;;
        *)
            printf 'error: there is no step called %s\n' "$name" >&2
            usage >&2
            exit 2
            ;;
    esac
done

if run_step tools; then
    for name in "${steps[@]}"; do run_step "$name" || true; done
fi

printf '\n=== summary\n'
for index in "${!names[@]}"; do printf '%-10s %s\n' "${names[index]}" "${results[index]}"; done
if [ -s "$skipped" ]; then
    printf '\nleft out:\n'
    sed 's/^/  /' "$skipped"
fi
printf '\nsteps: %d passed, %d failed\n' $((${#names[@]} - failures)) "$failures"
[ "$failures" = 0 ]
