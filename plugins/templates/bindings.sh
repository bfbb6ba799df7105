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

bindings verifier verifier snapshot-0.1.0 host-0.1.0
bindings notifier plugin notifier-0.1.0 host-0.1.1
