//! The keys of a store in S3.

use super::Kind::{Choice, Duration, Flag, Integer, Json, Path, Size, Text};
use super::Presence::{Default, Instead, Optional, Required};
use super::{Table, key};

pub(super) static STORE_S3: Table = Table {
    doc: "A bucket of Amazon S3, or of a server that speaks its protocol.",
    keys: &[
        key("bucket", Text, Required("\"etcd-backups\""), "It must be there; holdfast makes none."),
        key(
            "prefix",
            Text,
            Optional("\"prod-eu\""),
            "What the keys begin with. Bucket and prefix together belong to this repository alone.",
        ),
        key(
            "region",
            Text,
            Optional("\"eu-west-1\""),
            "Looked for in AWS_REGION, the profile and the instance if not set.",
        ),
        key(
            "endpoint",
            Text,
            Optional("\"https://s3.example.org\""),
            "The URL of a server that is not Amazon's.",
        ),
        key(
            "path_style",
            Flag,
            Optional("true"),
            "The bucket's name in the path of URLs, not in the host. As if true with an `endpoint`, else as if false.",
        ),
        key(
            "ca",
            Path,
            Optional("\"/etc/holdfast/pki/s3-ca.crt\""),
            "The authorities that sign the server's certificate; those of the system if not set.",
        ),
        key(
            "access_key_id_file",
            Path,
            Optional("\"/etc/holdfast/s3/access-key-id\""),
            "The file that holds the access key id. Files are read at each request, so a rotated key is picked up.\n\
             Without keys: the environment, a profile, a web identity, the container's or the instance's role.",
        ),
        key(
            "access_key_id_env",
            Text,
            Instead("\"S3_ACCESS_KEY_ID\""),
            "The environment variable that holds the access key id.",
        ),
        key(
            "secret_access_key_file",
            Path,
            Optional("\"/etc/holdfast/s3/secret-access-key\""),
            "The file that holds the secret access key, readable by this user only.",
        ),
        key(
            "secret_access_key_env",
            Text,
            Instead("\"S3_SECRET_ACCESS_KEY\""),
            "The environment variable that holds the secret access key.",
        ),
        key(
            "session_token_file",
            Path,
            Optional("\"/etc/holdfast/s3/session-token\""),
            "The file that holds the session token of temporary keys.",
        ),
        key(
            "session_token_env",
            Text,
            Instead("\"S3_SESSION_TOKEN\""),
            "The environment variable that holds the session token.",
        ),
        key(
            "profile",
            Text,
            Instead("\"backups\""),
            "The profile of ~/.aws/config that is used, in place of keys.",
        ),
        key(
            "encryption",
            Choice(&["s3", "kms"]),
            Optional("\"kms\""),
            "How the server encrypts: \"s3\" with keys of its own, \"kms\" with the account's. As the bucket says if not set.",
        ),
        key(
            "kms_key",
            Text,
            Optional("\"arn:aws:kms:eu-west-1:123456789012:key/0\""),
            "The key for \"kms\"; the account's default one if not set.",
        ),
        key(
            "customer_key_file",
            Path,
            Instead("\"/etc/holdfast/s3/customer-key\""),
            "The file that holds the key the server encrypts with and does not keep: 32 bytes in base64 (SSE-C).",
        ),
        key(
            "customer_key_env",
            Text,
            Instead("\"S3_CUSTOMER_KEY\""),
            "The environment variable that holds that key.",
        ),
        key("storage_class", Text, Optional("\"STANDARD_IA\""), "As the bucket says if not set."),
        key("tags", Json, Optional("{ team = \"platform\" }"), "Tags of each object: names and texts."),
        key(
            "object_lock",
            Choice(&["governance", "compliance"]),
            Optional("\"governance\""),
            "Locks each object as it is written. The bucket must have been made with object lock.",
        ),
        key("retain_for", Duration, Optional("\"30d\""), "How long the lock holds."),
        key(
            "checksums",
            Choice(&["when_supported", "when_required"]),
            Default("\"when_supported\""),
            "\"when_required\" sends none, for servers that do not know them: the signature still covers every byte.",
        ),
        key(
            "checksum_algorithm",
            Choice(&["crc32c", "sha256"]),
            Default("\"crc32c\""),
            "What the server compares each part with, and keeps.",
        ),
        key(
            "conditional_writes",
            Choice(&["auto", "required", "off"]),
            Default("\"auto\""),
            "What keeps two agents from the same object: `If-None-Match`, on servers that say they lack it a look beforehand;\n\
             \"required\" proves first that the server heeds it; \"off\" only looks beforehand.",
        ),
        key(
            "part_size",
            Size,
            Default("\"8MiB\""),
            "Size of the first thousand parts of an upload; it doubles with each further thousand. And of a download's ranges.",
        ),
        key(
            "parallel",
            Integer(1, 64),
            Default("4"),
            "Parts on their way at a time. So many times `part_size` is held in memory.",
        ),
        key(
            "attempts",
            Integer(1, 100),
            Default("8"),
            "Tries of one request, with growing pauses up to 15 s.",
        ),
        key(
            "connect_timeout",
            Duration,
            Default("\"10s\""),
            "How long a connection may take, the TLS handshake included.",
        ),
        key(
            "request_timeout",
            Duration,
            Default("\"30s\""),
            "How long a request may take that moves no data.",
        ),
        key("stall_timeout", Duration, Default("\"30s\""), "How long one that does may stand still."),
        key(
            "stale_after",
            Duration,
            Default("\"1d\""),
            "Uploads begun so long ago and never ended are aborted. No backup may take longer.",
        ),
    ],
    mistaken: &[
        (
            "access_key_id",
            "the configuration holds no secrets: name an `access_key_id_file` or an `access_key_id_env`",
        ),
        (
            "secret_access_key",
            "the configuration holds no secrets: name a `secret_access_key_file` or a `secret_access_key_env`",
        ),
        (
            "session_token",
            "the configuration holds no secrets: name a `session_token_file` or a `session_token_env`",
        ),
        ("url", "did you mean `endpoint`?"),
        ("force_path_style", "did you mean `path_style`?"),
        ("insecure_skip_verify", "certificates are always checked; give the authority as `ca`"),
        ("kms_key_id", "did you mean `kms_key`?"),
        ("path", "did you mean `prefix`?"),
    ],
};
