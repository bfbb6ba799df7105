#!/bin/sh
# Writes the bindings of C and Go that projects come with, from the contract: plugins/templates/generated.
#
#   plugins/templates/bindings.sh
#
# Needs wit-bindgen 0.63: cargo install wit-bindgen-cli --version 0.63.0 --no-default-features --features c,go
set -eu

here=$(cd "$(dirname "$0")" && pwd)
wit=$here/../../wit
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# bindings KIND WORLD PACKAGE...: the world KIND, or a project's own that joins it with HTTP, and what it uses.
bindings() {
    kind=$1 world=$2
    shift 2
    contract=$scratch/$kind
    mkdir -p "$contract/deps"
    if [ "$world" = plugin ]; then
        sed "s/{{kind}}/$kind/g" "$here/wasi/plugin.wit" >"$contract/plugin.wit"
        for package in http io clocks; do
            mkdir "$contract/deps/$package"
            cp "$here/wasi/$package.wit" "$contract/deps/$package/"
        done
    else
        cp "$wit/$kind-0.1.0/$kind.wit" "$contract/"
    fi
    for package in "$@"; do
        mkdir "$contract/deps/${package%-*}"
        cp "$wit/$package/"*.wit "$contract/deps/${package%-*}/"
    done
    into=$here/generated/$kind
    rm -rf "$into"
    mkdir -p "$into"
    wit-bindgen c "$contract" --world "$world" --out-dir "$into/c"
    # The component's type is put in by `holdfast plugin component`, and the module has a go.mod of its own.
    rm "$into"/c/*_component_type.o
    wit-bindgen go "$contract" --world "$world" --out-dir "$into/go"
    rm "$into/go/go.mod"
}

# shared KIND INTO PACKAGE...: Go's packages that several worlds have, which differ in nothing but the comment that names the world.
shared() {
    from=$here/generated/$1/go into=$here/generated/$2/go
    shift 2
    mkdir -p "$into"
    for package in "$@"; do
        rm -rf "${into:?}/$package"
        mv "$from/$package" "$into/"
    done
}

bindings verifier verifier snapshot-0.1.0 host-0.1.0
bindings notifier plugin notifier-0.1.0 host-0.1.1
bindings store plugin store-0.1.0 host-0.1.1
bindings script script host-0.1.0
for kind in store notifier; do
    shared "$kind" http holdfast_host_log holdfast_host_secrets holdfast_host_state wasi_clocks_monotonic_clock \
        wasi_http_outgoing_handler wasi_http_types wasi_io_error wasi_io_poll wasi_io_streams
done
shared script log holdfast_host_log
shared verifier log holdfast_host_log
