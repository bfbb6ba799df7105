#!/usr/bin/env bash
# Holdfast from nothing to a proved restore, on this machine alone.
#
#   examples/quickstart.sh [--config FILE] [--directory DIR] [--objects COUNT]
#
# Sets up what is missing, builds Holdfast and its plugins, starts a throwaway etcd of three members on loopback, fills it
# with Kubernetes-shaped objects, and then does the main job on it: backs it up, proves the backup, restores it to a fresh
# data directory, boots etcd on that and compares every key. It ends the processes that it started. Run it again, and it
# begins anew.
#
#   --config FILE     use the etcd that this configuration names instead of a throwaway one: it is only read from
#   --directory DIR   where the files go (default: target/quickstart)
#   --objects COUNT   how many objects the throwaway etcd holds (default: 3000)
#
# HOLDFAST_BIN and HOLDFAST_PLUGINS name a ready binary and a folder of ready plugins: then nothing is built.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${HOLDFAST_TOOLS:-$repository/target/tools}
target=${CARGO_TARGET_DIR:-$repository/target}
directory=$repository/target/quickstart
config=
objects=3000
members=3
wait_seconds=60
processes=()
step=0

usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed -e '/^set /d' -e 's/^# \{0,1\}//'; }

die() {
    printf 'error: %s\n' "$1" >&2
    shift
    for hint in "$@"; do printf 'hint: %s\n' "$hint" >&2; done
    exit 2
}

announce() {
    step=$((step + 1))
    printf '\n[%d] %s\n' "$step" "$*"
}

while [ $# -gt 0 ]; do
    case $1 in
        --config | --directory | --objects)
            [ $# -ge 2 ] || die "\`$1\` needs a value"
            case $1 in
                --config) config=$2 ;;
                --directory) directory=$2 ;;
                --objects) objects=$2 ;;
            esac
            shift 2
            ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) die "there is no option \`$1\`" "$0 --help lists them" ;;
    esac
done

# ---- processes -------------------------------------------------------------------------------------------------

# Ends what this script started, and nothing else.
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
    if [ "$code" != 0 ]; then
        printf '\nThe quickstart did not get to its end (exit code %s). Its files are in %s.\n' "$code" "$directory" >&2
    fi
    exit "$code"
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A port on loopback that nobody listens on, below those that the system hands out by itself. Put into $port.
next_port=$((20000 + RANDOM % 10000))
find_port() {
    while (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do next_port=$((next_port + 1)); done
    port=$next_port
    next_port=$((next_port + 1))
}

# start_member NAME DATA-DIRECTORY CLIENT-URL PEER-URL INITIAL-CLUSTER
start_member() {
    # The state is `new` on a restored directory as well: that directory is a new cluster's.
    "$etcd" --name "$1" --data-dir "$2" --listen-client-urls "$3" --advertise-client-urls "$3" \
        --listen-peer-urls "$4" --initial-advertise-peer-urls "$4" --initial-cluster "$5" \
        --initial-cluster-state new --initial-cluster-token holdfast-quickstart --logger zap --log-outputs stderr \
        >"$directory/$1.log" 2>&1 </dev/null &
    processes+=($!)
}

# wait_until_healthy ENDPOINTS NAME: until every member answers.
wait_until_healthy() {
    local deadline=$((SECONDS + wait_seconds))
    until "$etcdctl" --endpoints "$1" --dial-timeout 2s --command-timeout 5s endpoint status >/dev/null 2>&1 &&
        { [ -n "$restored_with_authentication" ] || "$etcdctl" --endpoints "$1" get / >/dev/null 2>&1; }; do
        [ $SECONDS -lt $deadline ] || die "etcd did not come up in $wait_seconds seconds" "its log is $directory/$2.log"
        sleep 0.2
    done
}

# ---- content ---------------------------------------------------------------------------------------------------

# Prints puts of Kubernetes-shaped objects for etcdctl's transactions, in batches that end with a line "--": the
# envelope that the API server writes (k8s\0 and a protobuf message), with metadata of the objects' kind.
print_objects() {
    LC_ALL=C awk -v objects="$objects" '
        # A byte is one character, or four as \xHH: what etcdctl unquotes.
        function bytes(text) { gsub(/\\x[0-9a-f][0-9a-f]/, "x", text); return length(text) }
        function octet(number) { return sprintf("\\x%02x", number) }
        function varint(number) {
            return number < 128 ? octet(number) : octet(128 + number % 128) varint(int(number / 128))
        }
        function field(number, text) { return octet(number * 8 + 2) varint(bytes(text)) text }
        function put(folder, version, kind, namespace, name,    metadata, key) {
            metadata = field(1, name) field(3, namespace) \
                field(5, sprintf("0b3f4c6e-0000-4000-8000-%012x", ++count)) \
                field(11, field(1, "app") field(2, "demo-" count % 40))
            key = "/registry/" folder (namespace == "" ? "" : "/" namespace) "/" name
            printf "put %s \"k8s\\x00%s%s%s%s\"\n", key, field(1, field(1, version) field(2, kind)), \
                field(2, field(1, metadata)), field(3, ""), field(4, "")
            if (count % 100 == 0) print "--"
        }
        BEGIN {
            split("default kube-system kube-public team-a team-b team-c team-d team-e", namespaces, " ")
            for (number = 1; number in namespaces; number++)
                put("namespaces", "v1", "Namespace", "", namespaces[number])
            while (count < objects) {
                namespace = namespaces[count % 8 + 1]
                name = "demo-" int(count / 8)
                if (count % 5 == 0) put("deployments", "apps/v1", "Deployment", namespace, name)
                else if (count % 5 == 1) put("configmaps", "v1", "ConfigMap", namespace, name)
                else if (count % 5 == 2) put("secrets", "v1", "Secret", namespace, name)
                else put("pods", "v1", "Pod", namespace, name)
            }
            print "--"
        }'
}

# fill ENDPOINTS: one transaction for each batch.
fill() {
    local line batch=
    while IFS= read -r line; do
        if [ "$line" != -- ]; then
            batch+=$line$'\n'
        elif [ -n "$batch" ]; then
            # What to compare (nothing), what to do, what to do otherwise (nothing).
            printf '\n%s\n\n' "$batch" | "$etcdctl" --endpoints "$1" txn >/dev/null
            batch=
        fi
    done < <(print_objects)
}

# Every key with its value, version and revisions, without the header, which tells the cluster and not its content.
keyspace() { "$etcdctl" --endpoints "$1" get "" --prefix --write-out json | sed 's/^{"header":{[^}]*},//'; }
key_count() { "$etcdctl" --endpoints "$1" get "" --prefix --keys-only --write-out json | number count; }
revision() { "$etcdctl" --endpoints "$1" get / --write-out json | number revision; }
# The number of this name in JSON on standard input; the first one.
number() { tr -d ' \n' | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }

# ---- a configuration -------------------------------------------------------------------------------------------

# write_config FILE ENDPOINTS
write_config() {
    local recipients="# recipients = [\"age1...\"]         # none yet: make a key with age-keygen" decrypt=
    # Encryption is worth a key of its own; without age's own tool the quickstart goes without.
    if command -v age-keygen >/dev/null 2>&1; then
        age-keygen -o "$directory/age.key" 2>/dev/null
        recipients="recipients = [\"$(age-keygen -y "$directory/age.key")\"]"
        decrypt="[decrypt]
# Needed to verify and to restore, not to back up: a machine that only writes backups does without it.
identity_files = [\"$directory/age.key\"]
"
    fi
    cat >"$1" <<CONFIG
# Written by the quickstart. \`holdfast generate config-reference\` tells every key.

[cluster]
name = "quickstart"
endpoints = [${2//,/, }]
# For a cluster with TLS and a password:
# tls = { ca = "ca.crt", cert = "client.crt", key = "client.key" }
# username = "root"
# password_file = "etcd-password"

[backup]
# When \`holdfast agent\` backs up: cron, in UTC.
schedule = "*/5 * * * *"
# Where to: any of the [store.*] below.
stores = ["local"]
# What proves every new backup: any of the [chain.*] below.
verify = ["sanity"]
# Where a snapshot lies while it is checked and packed.
scratch = "$directory/scratch"

[backup.pack]
zstd = 3
# Who can read the backups. What is stored opens with \`age -d | zstd -d\` as well.
$recipients

$decrypt
[store.local.directory]
path = "$directory/backups"

[chain.sanity]
steps = [
    # Every page, record and revision of the snapshot makes sense.
    { integrity = {} },
    # The members' own hashes at that revision are the snapshot's.
    { agreement = {} },
    # Plugins, sandboxed: these keys must be there,
    { plugin = "required-keys", config = { rules = [
        { key = "/registry/namespaces/kube-system" },
        { prefix = "/registry/pods/", least = 10 },
    ] } },
    # and these namespaces, with objects that decode.
    { plugin = "kubernetes", config = { namespaces = ["default", "kube-system"] } },
]

[plugins]
directory = "$plugins"
cache = "$directory/cache"
CONFIG
}

# ---- the way ---------------------------------------------------------------------------------------------------

marker=$directory/.holdfast-quickstart
if [ -e "$directory" ] && [ ! -e "$marker" ] && [ -n "$(ls -A "$directory")" ]; then
    die "\`$directory\` is not empty and was not made by the quickstart" "name another place with --directory"
fi
if [ -n "$config" ]; then
    [ -r "$config" ] || die "the configuration \`$config\` cannot be read"
    config=$(cd "$(dirname "$config")" && pwd)/$(basename "$config")
fi
rm -rf "$directory"
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
marker=$directory/.holdfast-quickstart
touch "$marker"
restored_with_authentication=

announce "Setting up what is missing"
wanted=(etcd)
if [ -z "${HOLDFAST_BIN:-}" ]; then wanted+=(protoc); fi
if [ -z "${HOLDFAST_PLUGINS:-}" ]; then wanted+=(wasm-target); fi
"$repository/tools/install.sh" "${wanted[@]}"
export PATH=$PATH:$tools/bin
etcd=$tools/etcd/etcd
etcdctl=$tools/etcd/etcdctl
etcd_version=$("$etcd" --version | sed -n 's/^etcd Version: //p')
echo "etcd $etcd_version"

announce "Building Holdfast and its plugins"
holdfast=${HOLDFAST_BIN:-$target/debug/holdfast}
plugins=${HOLDFAST_PLUGINS:-$target/plugins}
if [ -z "${HOLDFAST_BIN:-}" ]; then
    echo "a first build takes some minutes"
    (cd "$repository" && cargo build --package holdfast)
fi
if [ -z "${HOLDFAST_PLUGINS:-}" ]; then "$repository/plugins/build.sh" "$plugins"; fi
"$holdfast" --version

if [ -z "$config" ]; then
    announce "Starting a throwaway etcd of $members members, and filling it with $objects objects"
    names=() clients=() peers=()
    for number in $(seq "$members"); do
        names+=("member-$number")
        find_port
        clients+=("http://127.0.0.1:$port")
        find_port
        peers+=("http://127.0.0.1:$port")
    done
    initial_cluster=
    for index in "${!names[@]}"; do initial_cluster+=,${names[index]}=${peers[index]}; done
    for index in "${!names[@]}"; do
        start_member "${names[index]}" "$directory/etcd/${names[index]}" "${clients[index]}" "${peers[index]}" \
            "${initial_cluster#,}"
    done
    endpoints=$(IFS=,; echo "${clients[*]}")
    wait_until_healthy "$endpoints" "${names[0]}"
    fill "$endpoints"
    keyspace "$endpoints" >"$directory/keys.before"
    echo "$(key_count "$endpoints") keys at revision $(revision "$endpoints"), at $endpoints"

    config=$directory/holdfast.toml
    write_config "$config" "\"${endpoints//,/\",\"}\""
    echo "wrote $config"
fi

announce "Checking the configuration"
"$holdfast" --config "$config" config check

announce "Backing up, and proving the backup"
"$holdfast" --config "$config" --output json backup >"$directory/backup.json" || {
    code=$?
    # 1: the backup is stored, and a proof says no. That is the user's to read, above.
    [ "$code" = 1 ] || exit "$code"
    die "the backup is stored, but it is not proved" "the steps above tell which check failed"
}
id=$(tr -d ' \n' <"$directory/backup.json" | sed -n 's/.*"id":"\([0-9TZ]*-[0-9]*\)".*/\1/p')
"$holdfast" --config "$config" show "$id" >"$directory/show.txt"
"$holdfast" --config "$config" --output json show "$id" >"$directory/show.json"
cat "$directory/show.txt"

announce "Listing the backups"
"$holdfast" --config "$config" list

announce "Restoring to a fresh data directory"
find_port
restored_client=http://127.0.0.1:$port
find_port
restored_peer=http://127.0.0.1:$port
# A real restore leaves `--bump-revision` out: Kubernetes' controllers need a raised one. Here revisions are compared.
"$holdfast" --config "$config" restore "$id" --data-dir "$directory/restored" --name restored --bump-revision none \
    --initial-cluster "restored=$restored_peer" --initial-advertise-peer-urls "$restored_peer" \
    --initial-cluster-token holdfast-quickstart

announce "Booting etcd on it, and asking it for its keys"
if tr -d ' \n' <"$directory/show.json" | grep -q '"auth_enabled":true'; then restored_with_authentication=yes; fi
start_member restored "$directory/restored" "$restored_client" "$restored_peer" "restored=$restored_peer"
wait_until_healthy "$restored_client" restored
compared="authentication is on in the backup: the restored etcd asks for a password, so its keys were not compared"
if [ -z "$restored_with_authentication" ]; then
    expected="$(number live_keys <"$directory/show.json") keys at revision ${id##*-}"
    found="$(key_count "$restored_client") keys at revision $(revision "$restored_client")"
    [ "$expected" = "$found" ] || die "the backup holds $expected, the restored etcd has $found"
    compared="the same keys at the same revisions: $found"
    if [ -e "$directory/keys.before" ]; then
        keyspace "$restored_client" >"$directory/keys.after"
        cmp "$directory/keys.before" "$directory/keys.after" ||
            die "the restored keys differ from those before the backup" "compare keys.before and keys.after in $directory"
        compared="the same keys with the same values at the same revisions: $found"
    fi
fi
echo "$compared"
end_processes

cat <<REPORT

What was proved
  backup         $id, read back from its store, sha256 compared
  steps passed   $(tr -d ' \n' <"$directory/show.json" | grep -o '"step":"[^"]*"' | cut -d '"' -f 4 | paste -sd ' ' - | sed 's/ /, /g')
  restored       etcd $etcd_version boots on it
  compared       $compared

Where the files are
  configuration  $config
  everything     $directory

What to do next
  look           $holdfast --config $config show latest
  your own etcd  write its endpoints and certificates into a copy of examples/holdfast.toml, then
                 examples/quickstart.sh --config FILE
  every hour     examples/systemd/holdfast.service and examples/kubernetes/daemonset.yaml run the agent
  in earnest     cargo build --release --package holdfast
REPORT
