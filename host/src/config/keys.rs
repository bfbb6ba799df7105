//! Every key of the configuration: name, type, default and meaning.
//!
//! This table is what the parser walks by, where it takes the defaults from, and what
//! `holdfast generate config-reference` prints, so none of them can say something else than the others.

mod plugin_store;
mod s3;

/// A table of the file.
#[derive(Debug)]
pub(super) struct Table {
    /// What it is for, printed above it in the reference.
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
    /// Keys people try that are not there, and what to say then.
    pub(super) mistaken: &'static [(&'static str, &'static str)],
}

/// A key of a table.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
    /// Printed above it in the reference.
    pub(super) doc: &'static str,
}

/// What a value must look like.
#[derive(Debug)]
pub(super) enum Kind {
    /// A string that is not empty.
    Text,
    /// Strings that are not empty.
    Texts,
    /// One of these, or several.
    OneOrMore,
    /// A path; a relative one starts at the folder of the file.
    Path,
    /// Several of them.
    Paths,
    /// `"30s"`; more than nothing.
    Duration,
    /// `"64MiB"`; more than nothing.
    Size,
    /// A whole number within these bounds, both included.
    Integer(i64, i64),
    /// `true` or `false`.
    Flag,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// One table.
    Table(&'static Table),
    /// A table for each name the user chooses: `[store.NAME]`.
    Named(&'static Table),
    /// An array of tables.
    Tables(&'static Table),
    /// A table with content of someone else's.
    Json,
}

/// Must the key be there, and what if it is not? The texts are TOML values.
#[derive(Debug, Clone, Copy)]
pub(super) enum Presence {
    /// It must; an example.
    Required(&'static str),
    /// It may be missing on a machine that makes no backups, and `check` says when it may not; an example.
    Usual(&'static str),
    /// This holds if it is not there.
    Default(&'static str),
    /// Nothing holds if it is not there; an example.
    Optional(&'static str),
    /// Like optional, but in place of another key, never beside it.
    Instead(&'static str),
    /// Like optional. The reference has the table in another place and not here again.
    Again(&'static str),
}

use Kind::{Choice, Duration, Flag, Integer, Json, Named, OneOrMore, Path, Paths, Size, Tables, Text, Texts};
use Presence::{Again, Default, Instead, Optional, Required, Usual};

const fn key(name: &'static str, kind: Kind, presence: Presence, doc: &'static str) -> Key {
    Key { name, kind, presence, doc }
}

const fn table(doc: &'static str, keys: &'static [Key]) -> Table {
    Table { doc, keys, mistaken: &[] }
}

/// Names of the user's choosing in the reference, in the order in which [`Kind::Named`] tables come.
pub(super) const EXAMPLE_NAMES: [(&str, &str); 5] = [
    ("store", "local"),
    ("chain", "sanity"),
    ("secret", "token"),
    ("plugin", "required-keys"),
    ("notify", "oncall"),
];

/// The names in the reference of stores that are not of the first kind: a store has one kind.
pub(super) const EXAMPLE_OTHER_STORES: [(&str, &str); 2] = [("s3", "bucket"), ("plugin", "nas")];

/// The name in the reference of a notifier that is no plugin.
pub(super) const EXAMPLE_OTHER_NOTIFIER: &str = "mail";

/// A key that may be missing on some machines, by its table and name; and its example.
pub(super) fn usual(path: &str, name: &str) -> Option<(&'static Key, &'static str)> {
    let table = match path {
        "" => &ROOT,
        _ => ROOT.keys.iter().find(|key| key.name == path).and_then(|key| match key.kind {
            Kind::Table(table) => Some(table),
            _ => None,
        })?,
    };
    table.keys.iter().find_map(|key| match key.presence {
        Usual(example) if key.name == name => Some((key, example)),
        _ => None,
    })
}

/// What a preflight check may do.
const ACTIONS: Kind = Choice(&["ignore", "warn", "stop"]);

pub(super) static ROOT: Table = table(
    "",
    &[
        key("cluster", Kind::Table(&CLUSTER), Required("{}"), ""),
        key("preflight", Kind::Table(&PREFLIGHT), Default("{}"), ""),
        key("backup", Kind::Table(&BACKUP), Usual("{}"), ""),
        key("verify", Tables(&VERIFY), Default("[]"), ""),
        key("retention", Kind::Table(&RETENTION), Optional("{}"), ""),
        key("decrypt", Kind::Table(&DECRYPT), Default("{}"), ""),
        key("signing", Kind::Table(&SIGNING), Optional("{}"), ""),
        key("trust", Kind::Table(&TRUST), Default("{}"), ""),
        key("store", Named(&STORE), Required("{}"), ""),
        key("chain", Named(&CHAIN), Default("{}"), ""),
        key("boot", Kind::Table(&BOOT), Default("{}"), ""),
        key("secret", Named(&SECRET), Default("{}"), ""),
        key("metrics", Kind::Table(&METRICS), Default("{}"), ""),
        key("plugins", Kind::Table(&PLUGINS), Default("{}"), ""),
        key("plugin", Named(&PLUGIN), Default("{}"), ""),
        key("notify", Named(&NOTIFY), Default("{}"), ""),
    ],
);

static CLUSTER: Table = Table {
    doc: "The etcd cluster to back up.",
    keys: &[
        key("name", Text, Required("\"prod-eu\""), "Names the cluster in backups, logs and metrics."),
        key(
            "endpoints",
            Texts,
            Usual("[\"https://10.0.0.1:2379\", \"https://10.0.0.2:2379\", \"https://10.0.0.3:2379\"]"),
            "The client URLs of all members. A healthy follower is asked first, another when one fails. A machine that only verifies,\nlists or restores does without.",
        ),
        key(
            "username",
            Text,
            Optional("\"root\""),
            "For a cluster with authentication on. A snapshot needs the root role.",
        ),
        key(
            "password_file",
            Path,
            Optional("\"/etc/holdfast/etcd-password\""),
            "The file that holds the password, readable by this user only.",
        ),
        key(
            "password_env",
            Text,
            Instead("\"ETCD_PASSWORD\""),
            "The environment variable that holds the password.",
        ),
        key(
            "dial_timeout",
            Duration,
            Default("\"5s\""),
            "How long a connection may take, the TLS handshake included.",
        ),
        key(
            "request_timeout",
            Duration,
            Default("\"10s\""),
            "How long a request may take. The snapshot has `backup.stall_timeout`.",
        ),
        key("tls", Kind::Table(&TLS), Optional("{}"), ""),
    ],
    mistaken: &[
        ("password", "the configuration holds no secrets: name a `password_file` or a `password_env`"),
        ("endpoint", "did you mean `endpoints`? It is an array: `endpoints = [\"https://…:2379\"]`"),
        ("ca", "it belongs in `tls`: `tls = { ca = \"…\" }`"),
        ("cert", "it belongs in `tls`: `tls = { cert = \"…\", key = \"…\" }`"),
        ("key", "it belongs in `tls`: `tls = { cert = \"…\", key = \"…\" }`"),
    ],
};

static TLS: Table = Table {
    doc: "TLS to the members. The files are read at each connection, so renewed certificates are picked up.\n\
          May be written as `tls = { ca = \"…\" }` in [cluster].",
    keys: &[
        key(
            "ca",
            Path,
            Optional("\"/etc/kubernetes/pki/etcd/ca.crt\""),
            "The authorities that sign the members' certificates; those of the system if not set.",
        ),
        key(
            "cert",
            Path,
            Optional("\"/etc/kubernetes/pki/etcd/healthcheck-client.crt\""),
            "Our certificate, for members that ask for one.",
        ),
        key("key", Path, Optional("\"/etc/kubernetes/pki/etcd/healthcheck-client.key\""), "Its private key."),
        key(
            "server_name",
            Text,
            Optional("\"etcd.example.org\""),
            "The name in the members' certificates, when it is not the host of the endpoint.",
        ),
    ],
    mistaken: &[
        ("cacert", "did you mean `ca`?"),
        (
            "insecure",
            "certificates are always checked; give the authority as `ca`, another name as `server_name`",
        ),
        (
            "insecure_skip_verify",
            "certificates are always checked; give the authority as `ca`, another name as `server_name`",
        ),
    ],
};

static PREFLIGHT: Table = table(
    "What is looked at before each backup, and what a finding does: \"ignore\", \"warn\" or \"stop\" the run.",
    &[
        key("unhealthy_member", ACTIONS, Default("\"warn\""), "A member does not answer, or not well."),
        key(
            "no_quorum",
            ACTIONS,
            Default("\"warn\""),
            "The cluster has no leader, or fewer than half of its members are up.",
        ),
        key("alarm", ACTIONS, Default("\"warn\""), "An alarm stands: no space, or corruption."),
        key(
            "learner",
            ACTIONS,
            Default("\"ignore\""),
            "A member is a learner. It is never asked for the snapshot while another is up.",
        ),
        key("lag", ACTIONS, Default("\"warn\""), "A member is behind the leader by more than `max_lag`."),
        key(
            "quota",
            ACTIONS,
            Default("\"warn\""),
            "The database fills more than `quota_percent` of its quota.",
        ),
        key("disk_space", ACTIONS, Default("\"stop\""), "The scratch folder has no room for the snapshot."),
        key(
            "certificate",
            ACTIONS,
            Default("\"warn\""),
            "A certificate, ours or a member's, ends within `certificate_days`.",
        ),
        key(
            "version_skew",
            ACTIONS,
            Default("\"warn\""),
            "The members run different minor versions of etcd.",
        ),
        key("max_lag", Integer(0, i64::MAX), Default("1000"), "Entries of the raft log."),
        key("quota_percent", Integer(1, 100), Default("80"), ""),
        key("certificate_days", Integer(0, 3650), Default("21"), ""),
        key(
            "free_space_percent",
            Integer(100, 1000),
            Default("110"),
            "Room wanted in the scratch folder, of the size of the database: it grows while it is fetched.",
        ),
    ],
);

static BACKUP: Table = Table {
    doc: "How a backup is made.",
    keys: &[
        key(
            "stores",
            Texts,
            Usual("[\"local\"]"),
            "Where backups are kept: names of [store.NAME] tables. All of them get each backup. A machine that makes none does\nwithout, and may have `scratch` alone.",
        ),
        key(
            "require",
            OneOrMore,
            Default("\"all\""),
            "Which stores must have it, or the run has failed: \"all\", \"any\", or names such as [\"local\"]. What the others\nmissed the next run brings them, or `holdfast sync`.",
        ),
        key(
            "schedule",
            Text,
            Optional("\"0 * * * *\""),
            "When `holdfast agent` makes one: a cron pattern, in UTC.",
        ),
        key("verify", Texts, Default("[]"), "How each new backup is proved: names of [chain.NAME] tables."),
        key(
            "scratch",
            Path,
            Default("\"/var/lib/holdfast/scratch\""),
            "Where the snapshot lies while it is worked on. It needs room for the whole database; what is left there by a\nkilled run is removed by the next. What `holdfast list` remembers of buckets lies in `catalog` within.",
        ),
        key(
            "rate_limit",
            Size,
            Optional("\"100MiB\""),
            "The most bytes a second taken from a member. No limit if not set.",
        ),
        key(
            "stall_timeout",
            Duration,
            Default("\"60s\""),
            "A member that sends nothing for so long is given up, and another asked.",
        ),
        key(
            "allow_missing_hash",
            Flag,
            Default("false"),
            "Take a snapshot behind which etcd sends no sha256. Without it a cut stream cannot be told.",
        ),
        key("pack", Kind::Table(&PACK), Default("{}"), ""),
    ],
    mistaken: &[
        ("store", "did you mean `stores`? It is an array: `stores = [\"local\"]`"),
        ("cron", "did you mean `schedule`?"),
        ("retention", "it is a table of its own: `[retention]`"),
        ("recipients", "it belongs in `pack`: `pack = { recipients = [\"age1…\"] }`"),
    ],
};

static VERIFY: Table = Table {
    doc: "When `holdfast agent` proves backups that lie in a store, as `holdfast verify` does: beside the backups, never two at once. A\n\
          machine that has the identities and not the cluster can do it alone: without [backup], and without `endpoints`. There may be several\n\
          of these tables.",
    keys: &[
        key("schedule", Text, Required("\"0 3 * * *\""), "A cron pattern, in UTC."),
        key(
            "pick",
            Choice(&["latest", "oldest", "random", "all"]),
            Default("\"latest\""),
            "Which backup: the newest, the oldest, any, or each in turn, oldest first.",
        ),
        key(
            "store",
            Text,
            Optional("\"local\""),
            "The store whose copy is proved: a [store.NAME]. If not set, the first that has it, and the next when that copy is damaged.",
        ),
        key(
            "chain",
            OneOrMore,
            Optional("\"sanity\""),
            "How: names of [chain.NAME] tables. If not set, those of `backup.verify`, or the default chain.",
        ),
        key(
            "timeout",
            Duration,
            Default("\"2h\""),
            "How long it may take in all; then it is given up, and told.",
        ),
    ],
    mistaken: &[
        ("stores", "did you mean `store`? Each table is about one; write another `[[verify]]` for the next"),
        ("chains", "did you mean `chain`? It takes several as well: `chain = [\"a\", \"b\"]`"),
        ("cron", "did you mean `schedule`?"),
        ("id", "did you mean `pick`? `holdfast verify ID` proves one by its id"),
    ],
};

static PACK: Table = Table {
    doc: "How a backup is stored: zstd, then age. `age -d | zstd -d` gives back what etcd sent.\n\
          May be written as `pack = { zstd = 3 }` in [backup].",
    keys: &[
        key(
            "zstd",
            Integer(1, 19),
            Default("3"),
            "The level of compression, 1 (fast) to 19 (small). 3 is tuned for snapshots: no larger than zstd's own, and faster.",
        ),
        key(
            "threads",
            Integer(0, 256),
            Default("0"),
            "Threads that compress; 0 takes one for each processor.",
        ),
        key(
            "recipients",
            Texts,
            Default("[]"),
            "Who can read the backups: age recipients (`age1…`, from `age-keygen`). Backups are not encrypted if there are none,\nneither here nor in a file.",
        ),
        key(
            "recipients_files",
            Paths,
            Default("[]"),
            "Files with more recipients, one a line; `#` begins a comment. They are read at each backup.",
        ),
        key(
            "passphrase_file",
            Path,
            Instead("\"/etc/holdfast/passphrase\""),
            "A file with a passphrase, in place of recipients: whoever has it reads the backups, so this machine does too. Take a\nlong random one: `head -c 32 /dev/urandom | base64`.",
        ),
        key(
            "passphrase_env",
            Text,
            Instead("\"HOLDFAST_PASSPHRASE\""),
            "The environment variable that holds it.",
        ),
    ],
    mistaken: &[
        ("recipient", "did you mean `recipients`? It is an array: `recipients = [\"age1…\"]`"),
        ("level", "did you mean `zstd`?"),
        ("passphrase", "the configuration holds no secrets: name a `passphrase_file` or a `passphrase_env`"),
        ("identity", "what decrypts belongs in [decrypt]: `identity_files = [\"…\"]`"),
    ],
};

static RETENTION: Table = Table {
    doc: "Which backups stay; without this table all do. A backup stays when any of the rules that count keeps it, and goes when\n\
          a cap is exceeded. The newest proved backup, pinned and locked ones never go; while the newest backup is not proved,\n\
          nothing does. `holdfast agent` prunes after each backup that was proved, `holdfast prune --dry-run` says what would\n\
          go and why. A store may have rules of its own: `[store.NAME.retention]`, in place of these.",
    keys: &[
        key("last", COUNT, Optional("24"), "Keep the newest so many."),
        key(
            "hourly",
            COUNT,
            Optional("48"),
            "Keep one of each of the newest so many hours that have backups.",
        ),
        key("daily", COUNT, Optional("30"), "The same for days,"),
        key("weekly", COUNT, Optional("12"), "weeks (from Monday),"),
        key("monthly", COUNT, Optional("12"), "months,"),
        key("yearly", COUNT, Optional("5"), "and years."),
        key(
            "timezone",
            Text,
            Default("\"UTC\""),
            "Where hours, days, weeks, months and years begin: a name such as \"Europe/Berlin\".",
        ),
        key("max_age", Duration, Optional("\"400d\""), "What is older goes, whatever counts it."),
        key(
            "max_size",
            Size,
            Optional("\"200GiB\""),
            "The oldest go until the store holds no more than this.",
        ),
        key(
            "orphan_grace",
            Duration,
            Default("\"24h\""),
            "How old an object must be that no backup names before it is taken for abandoned. Longer than any upload.",
        ),
    ],
    mistaken: &[
        ("keep", "did you mean `last`?"),
        ("keep_last", "did you mean `last`?"),
        ("days", "did you mean `daily`, or `max_age`?"),
    ],
};

/// How many a retention rule keeps.
const COUNT: Kind = Integer(1, 1_000_000);

static DECRYPT: Table = Table {
    doc: "How backups are read again. A machine that only writes them needs none of this.",
    keys: &[
        key(
            "identity_files",
            Paths,
            Default("[]"),
            "Files with age identities (secret keys, from `age-keygen`), readable by this user only.",
        ),
        key(
            "passphrase_files",
            Paths,
            Default("[]"),
            "Files with passphrases, one each, besides the one in [backup.pack].",
        ),
        key(
            "passphrase_env",
            Text,
            Optional("\"HOLDFAST_PASSPHRASE\""),
            "An environment variable that holds one.",
        ),
    ],
    mistaken: &[
        ("passphrase", "the configuration holds no secrets: name `passphrase_files` or a `passphrase_env`"),
        ("passphrase_file", "did you mean `passphrase_files`? It is an array: `passphrase_files = [\"…\"]`"),
        ("identity", "did you mean `identity_files`? It is an array: `identity_files = [\"…\"]`"),
    ],
};

static SIGNING: Table = Table {
    doc: "What signs each backup's manifest: a secret key of minisign, from `holdfast key signing FILE` or `minisign -G`.\n\
          `minisign -V` verifies it. Without this table backups are not signed.",
    keys: &[
        key(
            "key_file",
            Path,
            Optional("\"/etc/holdfast/signing.key\""),
            "The file with the key, readable by this user only.",
        ),
        key(
            "key_env",
            Text,
            Instead("\"HOLDFAST_SIGNING_KEY\""),
            "The environment variable that holds what is in that file.",
        ),
        key(
            "password_file",
            Path,
            Optional("\"/etc/holdfast/signing-password\""),
            "The file that holds the key's password, when it has one.",
        ),
        key(
            "password_env",
            Text,
            Instead("\"HOLDFAST_SIGNING_PASSWORD\""),
            "The environment variable that holds it.",
        ),
    ],
    mistaken: &[
        ("key", "the configuration holds no secrets: name a `key_file` or a `key_env`"),
        ("password", "the configuration holds no secrets: name a `password_file` or a `password_env`"),
        ("trusted_keys", "public keys stand in [trust]: `keys = [\"RW…\"]`"),
    ],
};

static TRUST: Table = Table {
    doc: "Whose backups count. With keys here, a backup whose manifest none of them has signed is refused by every command, and\n\
          is never taken for the latest; and a store that lost its newest backup since this machine last saw it is told.",
    keys: &[
        key(
            "keys",
            Texts,
            Default("[]"),
            "Public keys of minisign (`RW…`). With none, any backup counts, signed or not.",
        ),
        key(
            "clusters",
            Texts,
            Default("[]"),
            "Names of clusters whose backups count besides those of `cluster.name`: its names of earlier.",
        ),
    ],
    mistaken: &[
        ("trusted_keys", "did you mean `keys`?"),
        ("key", "did you mean `keys`? It is an array: `keys = [\"RW…\"]`"),
    ],
};

static STORE: Table = Table {
    doc: "A place that keeps backups. The name is yours; the kind of store is the table within.",
    keys: &[
        key("directory", Kind::Table(&STORE_DIRECTORY), Optional("{}"), ""),
        key("s3", Kind::Table(&s3::STORE_S3), Optional("{}"), ""),
        key("plugin", Kind::Table(&plugin_store::STORE_PLUGIN), Optional("{}"), ""),
        key(
            "timeout",
            Duration,
            Default("\"2h\""),
            "How long it may take for one upload; any other answer may take five minutes. A store that hangs does not hold up\nthe others, and gets what it missed with the next run.",
        ),
        key("retention", Kind::Table(&RETENTION), Again("{}"), ""),
    ],
    mistaken: &[("path", "it belongs to the kind of store: `[store.NAME.directory]`")],
};

static STORE_DIRECTORY: Table = table(
    "A folder, local or mounted.",
    &[key(
        "path",
        Path,
        Required("\"/var/lib/holdfast/backups\""),
        "It is made when it is not there; the folder above it must be there.",
    )],
);

static CHAIN: Table = table(
    "A chain of steps that proves a backup. The name is yours. Each step is a table with one of\n\
     `integrity = {}`        the structure of the file, its records and hashes\n\
     `agreement = {}`        the members' own hashes, taken right after the snapshot\n\
     `continuity = {}`       does it follow on from the backup before?\n\
     `restore = {}`          a data directory is written from it and read back; with `boot = true` an etcd is started on it, asked for\n\
     its keys and their hash, and thrown away at the chain's end (see [boot])\n\
     `plugin = \"NAME\"`       a verifier looks into the keys, a script works with the restored etcd, which the scripts of a chain share\n\
     unless one says `fresh = true`; `config = { … }` is passed to it, and `allow = { … }` says what it may\n\
     reach: `http = [\"https://host:port\", \"https://*.example.org\"]`, `secrets = [\"NAME\"]` of [secret.NAME], `state = [\"NAME\"]`, and\n\
     `http_addresses = [\"10.0.0.0/8\"]` for hosts whose names lead to addresses that are not public; nothing if not set;\n\
     and, if you like, `on_error = \"warn\"`: then its failure does not fail the chain; or `on_error = \"stop\"`: then the steps after one\n\
     that did not pass are skipped. A skipped step has not passed.",
    &[
        key(
            "steps",
            Tables(&STEP),
            Required(
                "[\n  { integrity = {} },\n  { agreement = {} },\n  \
                 { plugin = \"required-keys\", config = { rules = [{ prefix = \"/registry/\", least = 1 }] } },\n]",
            ),
            "They run in this order, or side by side.",
        ),
        key(
            "order",
            Choice(&["in-turn", "side-by-side"]),
            Default("\"in-turn\""),
            "One step after the other, or all at the same time: then none waits for another, and one that hangs holds up none.",
        ),
        key(
            "timeout",
            Duration,
            Default("\"10m\""),
            "How long the whole chain may take. What is not done by then is given up, and has not passed.",
        ),
    ],
);

static STEP: Table = table(
    "",
    &[
        key("integrity", Kind::Table(&NOTHING), Optional("{}"), ""),
        key("agreement", Kind::Table(&NOTHING), Optional("{}"), ""),
        key("continuity", Kind::Table(&NOTHING), Optional("{}"), ""),
        key("restore", Kind::Table(&RESTORE), Optional("{}"), ""),
        key("plugin", Text, Optional("\"required-keys\""), ""),
        key("fresh", Flag, Default("false"), ""),
        key("config", Json, Optional("{}"), ""),
        key("allow", Kind::Table(&ALLOW), Default("{}"), ""),
        key("on_error", Choice(&["fail", "warn", "stop"]), Default("\"fail\""), ""),
    ],
);

static NOTHING: Table = table("", &[]);

static RESTORE: Table = table("", &[key("boot", Flag, Default("false"), "")]);

static BOOT: Table = Table {
    doc: "The etcd that is started on restored backups, by steps with `restore = { boot = true }` and for scripts. It runs in the scratch\n\
          folder, listens on no port, sees no environment, and is gone afterwards. Users and standing alarms are left out of it.",
    keys: &[
        key(
            "program",
            Text,
            Default("\"etcd\""),
            "The program: a path, or a name that is looked for on PATH. Without it such steps are inconclusive.",
        ),
        key("timeout", Duration, Default("\"2m\""), "How long it may take until it answers."),
    ],
    mistaken: &[("path", "did you mean `program`?"), ("etcd", "did you mean `program`?")],
};

/// What one use of a plugin may reach.
static ALLOW: Table = Table {
    doc: "What this use of the plugin may reach. May be written as `allow = { http = [\"…\"] }`.",
    keys: &[
        key(
            "http",
            Texts,
            Default("[]"),
            "Where its requests may go: \"https://host:port\", \"https://*.example.org\".",
        ),
        key(
            "http_addresses",
            Texts,
            Default("[]"),
            "Addresses that are not public, to which those hosts' names may lead: \"10.0.0.0/8\".",
        ),
        key("secrets", Texts, Default("[]"), "Names of [secret.NAME] tables."),
        key("state", Texts, Default("[]"), "Names of what it keeps from call to call."),
    ],
    mistaken: &[
        (
            "network",
            "no plugin has sockets; `http` is for requests to hosts: `http = [\"https://a.example\"]`",
        ),
        ("files", "no plugin reads files; `state` is for what it keeps itself"),
        ("env", "no plugin sees the environment; `secrets` names what is in a [secret.NAME]"),
    ],
};

static NOTIFY: Table = Table {
    doc: "Who is told what happens. The name is yours; the way is a plugin, or email. `holdfast notify test NAME` tries it out.",
    keys: &[
        key("plugin", Text, Optional("\"slack\""), "The notifier plugin that tells it."),
        key(
            "config",
            Json,
            Optional("{ url_secret = \"slack_url\" }"),
            "What is passed to the plugin; its README explains it.",
        ),
        key(
            "when",
            Texts,
            Default("[\"error\", \"warning\"]"),
            "What is told: kinds of events (\"backup.failed\"), several (\"verify.*\", \"*.failed\", \"*\"), or all of a severity (\"error\",\n\"warning\", \"info\"). `holdfast notify kinds` lists them.",
        ),
        key(
            "resolved",
            Flag,
            Default("true"),
            "Whether it is told when a problem is over that it was told of.",
        ),
        key(
            "remind",
            Duration,
            Default("\"6h\""),
            "A problem that stands is told again after so long, and not before.",
        ),
        key(
            "give_up_after",
            Duration,
            Default("\"24h\""),
            "What cannot be delivered is tried again and again for so long.",
        ),
        key("per_hour", Integer(1, 1000), Default("60"), "The most events in an hour. The others wait."),
        key("allow", Kind::Table(&ALLOW), Default("{}"), ""),
        key("email", Kind::Table(&EMAIL), Optional("{}"), ""),
    ],
    mistaken: &[
        ("events", "did you mean `when`?"),
        ("on", "did you mean `when`?"),
        (
            "url",
            "it belongs to the plugin: `config = { … }`, or, when nobody else may know it, `[secret.NAME]`",
        ),
        ("timeout", "how long a plugin may take is set in `[plugin.NAME]`"),
    ],
};

static EMAIL: Table = Table {
    doc: "Telling by email.",
    keys: &[
        key(
            "server",
            Text,
            Required("\"mail.example.org\""),
            "The SMTP server. Its certificate must be for this name.",
        ),
        key(
            "port",
            Integer(1, 65535),
            Optional("587"),
            "587 if not set; 465 for \"implicit\", 25 for \"none\".",
        ),
        key(
            "tls",
            Choice(&["starttls", "implicit", "none"]),
            Default("\"starttls\""),
            "Encrypted after STARTTLS, which the server must offer; from the first byte; or not at all.",
        ),
        key(
            "ca",
            Path,
            Optional("\"/etc/holdfast/internal-ca.crt\""),
            "The authorities that sign its certificate; those of the system if not set.",
        ),
        key("username", Text, Optional("\"holdfast\""), "Whom to log in as; not at all if not set."),
        key(
            "password_file",
            Path,
            Optional("\"/etc/holdfast/mail-password\""),
            "The file that holds the password, readable by this user only.",
        ),
        key(
            "password_env",
            Text,
            Instead("\"MAIL_PASSWORD\""),
            "The environment variable that holds the password.",
        ),
        key("from", Text, Required("\"Holdfast <holdfast@example.org>\""), "Who writes."),
        key("to", OneOrMore, Required("\"oncall@example.org\""), "Who reads: one address, or several."),
        key("timeout", Duration, Default("\"30s\""), "How long the server may take for each answer."),
    ],
    mistaken: &[
        ("password", "the configuration holds no secrets: name a `password_file` or a `password_env`"),
        ("host", "did you mean `server`?"),
        ("starttls", "write `tls = \"starttls\"`"),
    ],
};

static SECRET: Table = Table {
    doc: "A secret that plugins may be granted by name: `allow = { secrets = [\"token\"] }`. It is read when it is needed.",
    keys: &[
        key(
            "file",
            Path,
            Optional("\"/etc/holdfast/token\""),
            "The file that holds it, readable by this user only.",
        ),
        key("env", Text, Instead("\"TOKEN\""), "The environment variable that holds it."),
    ],
    mistaken: &[("value", "the configuration holds no secrets: name a `file` or an `env`")],
};

static METRICS: Table = Table {
    doc: "What `holdfast agent` tells of itself: GET /metrics for Prometheus, /healthz and /readyz for what supervises it.",
    keys: &[key(
        "listen",
        Text,
        Optional("\"127.0.0.1:9719\""),
        "Where: an IP address and a port. Nothing is opened if not set. There is no TLS and no password; what is told holds no\nsecret, but names of stores, chains and plugins.",
    )],
    mistaken: &[
        ("port", "give address and port together: `listen = \"127.0.0.1:9719\"`"),
        ("address", "did you mean `listen`?"),
        ("enabled", "metrics are served when there is a `listen`"),
    ],
};

static PLUGINS: Table = table(
    "Where plugins lie. A file that is added, changed or removed is taken up at once.",
    &[
        key("directory", Path, Default("\"/etc/holdfast/plugins\""), "One file for each plugin, NAME.wasm."),
        key(
            "cache",
            Path,
            Default("\"/var/cache/holdfast\""),
            "Where their native code is kept. It must belong to this user only.",
        ),
        key(
            "trust",
            Choice(&["open", "pinned", "signed"]),
            Default("\"open\""),
            "Which files are loaded: any (\"open\"), those with a `sha256` in [plugin.NAME] (\"pinned\"), or those with a signature\nby one of `trusted_keys` in NAME.wasm.minisig (\"signed\").",
        ),
        key(
            "trusted_keys",
            Texts,
            Default("[]"),
            "Whose signatures count: public keys of minisign (`RW…`, from `holdfast plugin keygen` or `minisign -G`).",
        ),
        key(
            "state",
            Path,
            Default("\"/var/lib/holdfast/plugin-state\""),
            "Where plugins keep what they are granted to keep. It is made when it is needed.",
        ),
        key(
            "http_ca",
            Path,
            Optional("\"/etc/holdfast/internal-ca.crt\""),
            "Authorities for plugins' HTTPS requests, beside those of the system.",
        ),
        key(
            "http_proxy",
            Text,
            Optional("\"http://proxy.example.org:3128\""),
            "The proxy for plugins' HTTP requests. Which addresses names lead to is then its business.",
        ),
        key(
            "no_proxy",
            Texts,
            Default("[]"),
            "Hosts that they reach without it: \"a.example.org\", or \".example.org\" for all below.",
        ),
        key("limits", Kind::Table(&LIMITS), Default("{}"), ""),
    ],
);

/// What the limits mean, once for both tables: names, kinds, examples.
macro_rules! limits {
    ($presence:ident: $($before:expr,)*) => {
        &[
            $($before,)*
            key("memory", Size, $presence("\"64MiB\""), "The most memory it may use."),
            key("timeout", Duration, $presence("\"30s\""), "How long one call may take."),
            key(
                "cpu",
                Duration,
                Optional("\"30s\""),
                "How long it may compute in one call; as long as the call may take, if not set.",
            ),
            key("host_calls", Integer(1, i64::MAX), $presence("10000000"), "How often it may ask the agent for something."),
            key(
                "handles",
                Integer(16, 65_536),
                $presence("1024"),
                "How many things of the agent's it may hold at once: scans, streams, requests.",
            ),
            key("log", Size, $presence("\"256KiB\""), "What it may write to the log, to stdout and to stderr. The rest is dropped."),
            key("report", Size, $presence("\"1MiB\""), "How large its report may be. A larger one is refused."),
            key("findings", Integer(1, 100_000), $presence("1000"), "How many findings of it are kept. The rest is counted."),
            key("http_requests", Integer(1, 1_000_000), $presence("100"), "How many HTTP requests it may make, where HTTP is granted."),
            key("http_sent", Size, $presence("\"1MiB\""), "What all their bodies may have together."),
            key("http_received", Size, $presence("\"8MiB\""), "What the bodies of all answers may have together."),
            key(
                "http_timeout",
                Duration,
                $presence("\"30s\""),
                "How long it waits for the head of an answer, and for each further part.",
            ),
        ]
    };
}

static LIMITS: Table =
    table("What one call of a plugin may use, where its own table says nothing.", limits!(Default:));

static PLUGIN: Table = table(
    "Limits of one plugin, by its name, and its pin. What is not set here is as in [plugins.limits].",
    limits!(Optional: key(
        "sha256",
        Text,
        Optional("\"0000000000000000000000000000000000000000000000000000000000000000\""),
        "Only a file with this digest is loaded (`sha256sum NAME.wasm`).",
    ),),
);
