#!/bin/sh
# Builds the plugins of this repository and puts them into a plugin directory under the names that the agent expects.
#
#   plugins/build.sh DEST
#
# Honours CARGO_TARGET_DIR, and CARGO for another cargo.
set -eu

if [ $# -ne 1 ] || [ "${1#-}" != "$1" ]; then
    echo "usage: plugins/build.sh DEST" >&2
    exit 2
fi

plugins="required-keys kubernetes query drift smoke webhook slack pagerduty alertmanager webdav"
case $1 in /*) destination=$1 ;; *) destination=$PWD/$1 ;; esac
repository=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac

packages=
for plugin in $plugins; do packages="$packages -p $plugin"; done
# One argument a word is meant here.
# shellcheck disable=SC2086
(cd "$repository" && CARGO_TARGET_DIR=$target "${CARGO:-cargo}" build --profile plugin --target wasm32-wasip2 $packages)

mkdir -p "$destination"
for plugin in $plugins; do
    # Cargo names the file after the crate, with underscores. The agent may be watching the directory, so the file is
    # written beside its place (a dot-file, which the agent leaves alone) and renamed.
    built=$target/wasm32-wasip2/plugin/$(echo "$plugin" | tr - _).wasm
    cp "$built" "$destination/.$plugin.wasm.tmp"
    # An agent refuses plugins that others may write.
    chmod 0644 "$destination/.$plugin.wasm.tmp"
    mv "$destination/.$plugin.wasm.tmp" "$destination/$plugin.wasm"
    echo "$destination/$plugin.wasm"
done
