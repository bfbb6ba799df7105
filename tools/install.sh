#!/usr/bin/env bash
# Sets up what building and testing Holdfast needs and the machine does not have yet.
#
#   tools/install.sh NAME...
#
#   wasm-target   Rust's target for plugins, wasm32-wasip2
#   protoc        the protobuf compiler, which the etcd client's build asks for
#   etcd          etcd and etcdctl of any version from 3.4 on: enough for the quickstart
#   etcd-3.4      etcd and etcdctl 3.4, out of Debian's packages (3.4 cannot be built as a Go module)
#   etcd-3.5, etcd-3.6, etcd-3.7    etcd, etcdctl and etcdutl of that version, built from a pinned Go module
#   s3            an S3 server, versitygw
#   c++           a C++ compiler, which libFuzzer is built with
#   webdav        a WebDAV server, golang.org/x/net/webdav
#   dns           a DNS server whose names lead elsewhere each time, golang.org/x/net/dns/dnsmessage
#   toxiproxy     a proxy that slows, cuts and resets connections
#   age, zstd     the stock tools that a backup can be opened with
#   minisign      the stock tool that plugins can be signed with
#   wasi-c        what plugins in C are compiled with: clang, its linker, and the C library for WebAssembly
#   go            a Go that compiles plugins in Go
#   alertmanager  Prometheus Alertmanager
#   smtp          what the SMTP server of the tests is written with: aiosmtpd, for the Python that is there
#   promtool      Prometheus' own check of metrics and alert rules
#
# For each it looks in this order: what an earlier run set up, PATH, the system's package manager, a pinned Go module.
# Nothing is started, no service is installed, and nothing outside the tools folder is written except by the
# package manager. The folder is $HOLDFAST_TOOLS, or target/tools. Asked again, it only looks.
#
# What is not on PATH afterwards lies in <tools>/bin: put that folder in front of PATH.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${HOLDFAST_TOOLS:-$(dirname "$here")/target/tools}
go_minimum=26 # minor version, as in tools/*/go.mod

say() { printf 'tools: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    for hint in "$@"; do printf 'hint: %s\n' "$hint" >&2; done
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -e '/^set /d' -e 's/^# \{0,1\}//'; }

# ---- the system's packages -------------------------------------------------------------------------------------

package_manager() {
    local manager
    for manager in apt-get dnf apk brew; do
        if have "$manager"; then
            echo "$manager"
            return
        fi
    done
}

# Can packages be installed: by root, by sudo without a password, or by sudo with somebody there to type it?
has_rights() { [ "$(id -u)" = 0 ] || { have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# install_package APT DNF APK BREW: installs the one for this system ("-" where there is none; several names in one word,
# with spaces between).
install_package() {
    local manager names
    manager=$(package_manager)
    # Homebrew refuses to run as root and needs no rights.
    [ "$manager" = brew ] || has_rights || return 1
    case $manager in
        apt-get) names=$1 ;;
        dnf) names=$2 ;;
        apk) names=$3 ;;
        brew) names=$4 ;;
        *) return 1 ;;
    esac
    [ "$names" != - ] || return 1
    say "installing the package $names"
    # shellcheck disable=SC2086 # a list of package names
    case $manager in
        apt-get)
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $names >&2 && return
            # The lists may be missing, as on a fresh machine, or old.
            as_root apt-get update >&2 &&
                as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $names >&2
            ;;
        dnf) as_root dnf install -y $names >&2 ;;
        apk) as_root apk add $names >&2 ;;
        brew) brew install $names >&2 ;;
    esac
}

# Options that make apt work on lists and a cache of our own: what needs no rights, and no lists on the machine.
apt_own=(-o Debug::NoLocking=1)
apt_lists() {
    if apt-cache "${apt_own[@]}" show "$1" >/dev/null 2>&1; then return; fi
    local own=$tools/apt
    mkdir -p "$own/lists/partial" "$own/cache/archives/partial"
    apt_own=(-o Debug::NoLocking=1 -o "Dir::State::lists=$own/lists" -o "Dir::Cache=$own/cache"
        -o "APT::Sandbox::User=$(id -un)")
    apt-get "${apt_own[@]}" update >&2
    apt-cache "${apt_own[@]}" show "$1" >/dev/null 2>&1
}

# The version of a Debian package that would be installed, without epoch and revision: 3.4.23.
apt_version() {
    apt-cache "${apt_own[@]}" show "$1" 2>/dev/null |
        sed -n 's/^Version: \([0-9]*:\)\{0,1\}\([0-9.]*\).*/\2/p' | head -n 1
}

# apt_extract DIRECTORY PACKAGE...: lays the packages' files out there and installs nothing.
apt_extract() {
    local into=$1 scratch
    shift
    have dpkg || return 1
    scratch=$(mktemp -d)
    chmod 755 "$scratch"
    if (cd "$scratch" && apt-get "${apt_own[@]}" download "$@" >&2) &&
        for package in "$scratch"/*.deb; do dpkg -x "$package" "$into"; done; then
        rm -rf "$scratch"
    else
        rm -rf "$scratch"
        return 1
    fi
}

# ---- Go -------------------------------------------------------------------------------------------------------

go_minor() { "$1" version 2>/dev/null | sed -n 's/^go version go1\.\([0-9]*\).*/\1/p'; }

# Prints the path of a Go that can build tools/*. An older one fetches the newer as the module it is published as.
find_go() {
    local go minor own=$tools/go/bin/go
    if [ -x "$own" ]; then
        echo "$own"
        return
    fi
    if ! have go && [ -x /usr/local/go/bin/go ]; then PATH=$PATH:/usr/local/go/bin; fi
    if ! have go; then
        install_package golang-go golang go go || die "Go is not installed, and it is needed for $1" \
            "install Go 1.$go_minimum or later (apt-get install golang, dnf install golang, brew install go), then run this again"
    fi
    go=$(command -v go)
    minor=$(go_minor "$go")
    if [ "${minor:-0}" -ge "$go_minimum" ]; then
        echo "$go"
        return
    fi
    say "Go 1.${minor:-?} is too old: fetching Go 1.$go_minimum"
    local os arch module directory
    os=$("$go" env GOOS)
    arch=$("$go" env GOARCH)
    module=golang.org/toolchain@v0.0.1-go1.$go_minimum.0.$os-$arch
    directory=$(cd "$tools" && "$go" mod download -json "$module" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
    [ -d "$directory" ] || die "Go 1.$go_minimum could not be fetched" "install Go 1.$go_minimum or later, then run this again"
    cp -R "$directory" "$tools/go.new"
    chmod -R u+w "$tools/go.new"
    # A module's files come without their executable bits.
    chmod +x "$tools"/go.new/bin/* "$tools"/go.new/pkg/tool/*/* 2>/dev/null || true
    rm -rf "$tools/go"
    mv "$tools/go.new" "$tools/go"
    echo "$own"
}

# build_module MODULE-DIRECTORY OUTPUT-DIRECTORY PROGRAM=PACKAGE...: all of them or none.
build_module() {
    local module=$1 into=$2 go program
    shift 2
    go=$(find_go "$module")
    say "building ${*%%=*} from the module tools/$module"
    rm -rf "$into.new"
    mkdir -p "$into.new"
    for program in "$@"; do
        (cd "$here/$module" && GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false" CGO_ENABLED=0 \
            "$go" build -trimpath -ldflags '-s -w' -o "$into.new/${program%%=*}" "${program#*=}") ||
            die "\`${program%%=*}\` could not be built from tools/$module" \
                "look at Go's message above: most often the module proxy cannot be reached"
    done
    rm -rf "$into"
    mv "$into.new" "$into"
}

# ---- what can be asked for ------------------------------------------------------------------------------------

# Links programs into <tools>/bin.
link_into_bin() {
    mkdir -p "$tools/bin"
    local program
    for program in "$@"; do ln -sf "$program" "$tools/bin/$(basename "$program")"; done
}

set_up_wasm_target() {
    local sysroot
    have rustc || die "\`rustc\` is not installed" "install Rust with rustup: https://rustup.rs"
    sysroot=$(cd "$here" && rustc --print sysroot)
    [ -d "$sysroot/lib/rustlib/wasm32-wasip2" ] && return
    have rustup || die "Rust's target \`wasm32-wasip2\` is missing, and without rustup it cannot be added" \
        "install Rust with rustup (https://rustup.rs), or your distribution's package of that target"
    say "adding Rust's target wasm32-wasip2"
    (cd "$here" && rustup target add wasm32-wasip2 >&2)
}

# Does it find the definitions that come with it? On some systems they are a package of their own.
protoc_works() {
    local scratch works=1
    scratch=$(mktemp -d)
    printf 'syntax = "proto3";\nimport "google/protobuf/descriptor.proto";\n' >"$scratch/probe.proto"
    if PATH=$PATH:$tools/bin protoc -I "$scratch" --descriptor_set_out=/dev/null "$scratch/probe.proto" 2>/dev/null; then works=0; fi
    rm -rf "$scratch"
    return "$works"
}

set_up_protoc() {
    if protoc_works; then return; fi
    install_package "protobuf-compiler libprotobuf-dev" "protobuf-compiler protobuf-devel" "protoc protobuf-dev" protobuf &&
        protoc_works && return
    # Without the rights to install: Debian's files, laid out here, with the libraries they need.
    if [ "$(package_manager)" = apt-get ] && apt_lists protobuf-compiler; then
        local libraries
        libraries=$(apt-cache "${apt_own[@]}" depends protobuf-compiler libprotobuf-dev |
            sed -n 's/^.*Depends: \(libproto[a-z]*[0-9].*\)$/\1/p' | sort -u)
        local own=$tools/protoc
        mkdir -p "$own" "$tools/bin"
        # shellcheck disable=SC2086 # a list of package names
        if apt_extract "$own" protobuf-compiler libprotobuf-dev $libraries; then
            cat >"$tools/bin/protoc" <<'WRAPPER'
#!/bin/sh
own=$(cd "$(dirname "$0")/../protoc" && pwd)
LD_LIBRARY_PATH=$(echo "$own"/usr/lib/*-linux-*) exec "$own/usr/bin/protoc" "$@"
WRAPPER
            chmod +x "$tools/bin/protoc"
            protoc_works && return
        fi
    fi
    die "\`protoc\`, with the definitions below google/protobuf, is not installed" \
        "install it (apt-get install protobuf-compiler libprotobuf-dev, dnf install protobuf-compiler protobuf-devel, brew install protobuf), then run this again"
}

# Is this an etcd of 3.4 or later, with its etcdctl? Both only say their version here.
etcd_serves() {
    local version
    [ -x "$1" ] && [ -x "$2" ] || return 1
    version=$("$1" --version 2>/dev/null | sed -n 's/^etcd Version: \([0-9]*\)\.\([0-9]*\)\..*/\1 \2/p')
    # shellcheck disable=SC2086 # two numbers
    set -- ${version:-0 0}
    [ "$1" -gt 3 ] || { [ "$1" -eq 3 ] && [ "$2" -ge 4 ]; }
}

set_up_any_etcd() {
    local own=$tools/etcd directory
    etcd_serves "$own/etcd" "$own/etcdctl" && return
    rm -rf "$own"
    mkdir -p "$tools"
    if have etcd && have etcdctl && etcd_serves "$(command -v etcd)" "$(command -v etcdctl)"; then
        mkdir -p "$own"
        ln -s "$(command -v etcd)" "$(command -v etcdctl)" "$own/"
        return
    fi
    for directory in "$tools"/etcd-3.7 "$tools"/etcd-3.6 "$tools"/etcd-3.5 "$tools"/etcd-3.4; do
        if etcd_serves "$directory/etcd" "$directory/etcdctl"; then
            ln -s "$(basename "$directory")" "$own"
            return
        fi
    done
    case $(package_manager) in
        # Installing Debian's package would start a service: its files are all that is wanted.
        apt-get) if apt_lists etcd-server; then extract_debian_etcd "$own" || true; fi ;;
        dnf) install_package - etcd - - || true ;;
        apk) { install_package - - etcd - && install_package - - etcd-ctl -; } || true ;;
        brew) install_package - - - etcd || true ;;
    esac
    etcd_serves "$own/etcd" "$own/etcdctl" && return
    if have etcd && have etcdctl && etcd_serves "$(command -v etcd)" "$(command -v etcdctl)"; then
        mkdir -p "$own"
        ln -s "$(command -v etcd)" "$(command -v etcdctl)" "$own/"
        return
    fi
    set_up_built_etcd 3.6
    ln -sfn etcd-3.6 "$own"
}

# extract_debian_etcd DIRECTORY
extract_debian_etcd() {
    local scratch
    say "taking etcd out of the packages etcd-server and etcd-client"
    mkdir -p "$tools"
    scratch=$(mktemp -d "$tools/extract.XXXXXX")
    if apt_extract "$scratch" etcd-server etcd-client; then
        rm -rf "$1"
        mkdir -p "$1"
        mv "$scratch/usr/bin/etcd" "$scratch/usr/bin/etcdctl" "$1/"
        if [ -e "$scratch/usr/bin/etcdutl" ]; then mv "$scratch/usr/bin/etcdutl" "$1/"; fi
        rm -rf "$scratch"
    else
        rm -rf "$scratch"
        return 1
    fi
}

set_up_etcd_3_4() {
    local own=$tools/etcd-3.4 version
    [ -x "$own/etcd" ] && [ -x "$own/etcdctl" ] && return
    if [ "$(package_manager)" != apt-get ] || ! have dpkg; then
        die "etcd 3.4 comes from Debian's packages only, and this system has no apt-get" \
            "put \`etcd\` and \`etcdctl\` 3.4 into $own to have it tested"
    fi
    apt_lists etcd-server || die "the package \`etcd-server\` is in no list of this system"
    version=$(apt_version etcd-server)
    case $version in
        3.4.*) ;;
        *) die "this system's \`etcd-server\` is ${version:-not known}, not 3.4" \
            "put \`etcd\` and \`etcdctl\` 3.4 into $own to have it tested" ;;
    esac
    extract_debian_etcd "$own" || die "the packages \`etcd-server\` and \`etcd-client\` could not be downloaded"
}

# set_up_built_etcd MINOR-VERSION
set_up_built_etcd() {
    local own=$tools/etcd-$1
    [ -x "$own/etcd" ] && [ -x "$own/etcdctl" ] && [ -x "$own/etcdutl" ] && return
    build_module "etcd-$1" "$own" etcd=go.etcd.io/etcd/server/v3 etcdctl=go.etcd.io/etcd/etcdctl/v3 \
        etcdutl=go.etcd.io/etcd/etcdutl/v3
}

set_up_s3() {
    if have versitygw || [ -x "$tools/versitygw/versitygw" ]; then return; fi
    build_module versitygw "$tools/versitygw" versitygw=github.com/versity/versitygw/cmd/versitygw
    link_into_bin "$tools/versitygw/versitygw"
}

set_up_webdav() {
    if have webdav-server || [ -x "$tools/webdav/webdav-server" ]; then return; fi
    build_module webdav "$tools/webdav" webdav-server=.
    link_into_bin "$tools/webdav/webdav-server"
}

set_up_dns() {
    if have dns-server || [ -x "$tools/dns/dns-server" ]; then return; fi
    build_module dns "$tools/dns" dns-server=.
    link_into_bin "$tools/dns/dns-server"
}

set_up_toxiproxy() {
    if have toxiproxy-server || [ -x "$tools/toxiproxy/toxiproxy-server" ]; then return; fi
    build_module toxiproxy "$tools/toxiproxy" toxiproxy-server=github.com/Shopify/toxiproxy/v2/cmd/server
    link_into_bin "$tools/toxiproxy/toxiproxy-server"
}

set_up_age() {
    if have age && have age-keygen; then return; fi
    [ -x "$tools/bin/age" ] && [ -x "$tools/bin/age-keygen" ] && return
    if install_package age age age age && have age; then return; fi
    build_module age "$tools/age" age=filippo.io/age/cmd/age age-keygen=filippo.io/age/cmd/age-keygen
    link_into_bin "$tools/age/age" "$tools/age/age-keygen"
}

# A tool whose package has its own name everywhere.
set_up_stock() {
    local name=$1
    if have "$name" || [ -x "$tools/bin/$name" ]; then return; fi
    if install_package "$name" "$name" "$name" "$name" && have "$name"; then return; fi
    if [ "$(package_manager)" = apt-get ] && apt_lists "$name" && apt_extract "$tools/$name" "$name"; then
        link_into_bin "$tools/$name/usr/bin/$name"
        return
    fi
    die "\`$name\` is not installed" "install it with the system's package manager, then run this again"
}

# Debian's package cannot be laid out here: its program looks for its templates where the package installs them.
set_up_alertmanager() {
    if have prometheus-alertmanager || have alertmanager || [ -x "$tools/alertmanager/alertmanager" ]; then return; fi
    build_module alertmanager "$tools/alertmanager" alertmanager=github.com/prometheus/alertmanager/cmd/alertmanager
    link_into_bin "$tools/alertmanager/alertmanager"
}

# The folder that Python looks for modules in, for tests: <tools>/smtp.
set_up_smtp() {
    have python3 || install_package python3 python3 python3 python3 || die "Python 3 is not installed"
    local own=$tools/smtp
    if PYTHONPATH=$own python3 -c 'import aiosmtpd.smtp' 2>/dev/null; then return; fi
    rm -rf "$own"
    mkdir -p "$own"
    # Debian's files are pure Python: any Python 3 that is there takes them.
    if [ "$(package_manager)" = apt-get ] && apt_lists python3-aiosmtpd &&
        apt_extract "$own/debian" python3-aiosmtpd python3-attr python3-public; then
        mv "$own"/debian/usr/lib/python3/dist-packages/* "$own/"
        rm -rf "$own/debian"
    else
        python3 -m pip install --quiet --target "$own" 'aiosmtpd==1.4.6' >&2 || true
    fi
    PYTHONPATH=$own python3 -c 'import aiosmtpd.smtp' 2>/dev/null && return
    die "\`aiosmtpd\` is not to be had for this Python" \
        "install it (apt-get install python3-aiosmtpd, dnf install python3-aiosmtpd, pip install aiosmtpd), then run this again"
}

# Installing Debian's package would start a service: one file of it is all that is wanted.
set_up_promtool() {
    if have promtool || [ -x "$tools/bin/promtool" ]; then return; fi
    if [ "$(package_manager)" = apt-get ] && apt_lists prometheus && apt_extract "$tools/prometheus" prometheus; then
        link_into_bin "$tools/prometheus/usr/bin/promtool"
        return
    fi
    die "\`promtool\` is not installed" "install Prometheus with the system's package manager, then run this again"
}

set_up_cxx() {
    if have c++; then return; fi
    if install_package g++ gcc-c++ g++ - && have c++; then return; fi
    die "there is no C++ compiler" "install one (apt-get install g++, dnf install gcc-c++), then run this again"
}

# Does clang make a WebAssembly module that has the C library in it?
wasi_c_works() {
    printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' |
        clang --target=wasm32-wasi -x c - -o /dev/null 2>/dev/null
}

set_up_wasi_c() {
    if wasi_c_works; then return; fi
    install_package "clang lld wasi-libc libclang-rt-dev-wasm32" "clang lld wasi-libc-devel wasi-libc-static" "clang lld wasi-sdk" \
        "llvm lld wasi-libc wasi-runtimes" && wasi_c_works && return
    die "clang does not compile for WebAssembly here" \
        "install it with its linker and the C library (apt-get install clang lld wasi-libc libclang-rt-dev-wasm32), then run this again"
}

set_up_go() {
    local go
    go=$(find_go "plugins in Go")
    if [ "$(command -v go)" != "$go" ]; then link_into_bin "$go"; fi
}

main() {
    if [ $# = 0 ]; then
        usage >&2
        exit 2
    fi
    local name
    mkdir -p "$tools"
    tools=$(cd "$tools" && pwd)
    for name in "$@"; do
        case $name in
            -h | --help)
                usage
                exit 0
                ;;
            wasm-target) set_up_wasm_target ;;
            protoc) set_up_protoc ;;
            etcd) set_up_any_etcd ;;
            etcd-3.4) set_up_etcd_3_4 ;;
            etcd-3.5 | etcd-3.6 | etcd-3.7) set_up_built_etcd "${name#etcd-}" ;;
            s3) set_up_s3 ;;
            c++) set_up_cxx ;;
            webdav) set_up_webdav ;;
            dns) set_up_dns ;;
            toxiproxy) set_up_toxiproxy ;;
            age) set_up_age ;;
            wasi-c) set_up_wasi_c ;;
            go) set_up_go ;;
            alertmanager) set_up_alertmanager ;;
            smtp) set_up_smtp ;;
            zstd | minisign) set_up_stock "$name" ;;
            promtool) set_up_promtool ;;
            *) die "there is no tool called \`$name\`" "tools/install.sh --help lists them" ;;
        esac
    done
}

main "$@"
