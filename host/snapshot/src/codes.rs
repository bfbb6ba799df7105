//! The codes of findings: what each means and how much it weighs. Codes are stable; new ones may be added.
//!
//! ```
//! use etcd_snapshot::codes;
//!
//! let code = codes::ALL.iter().find(|code| code.name == "hash-zeros").expect("it is there for good");
//! assert_eq!(*code, codes::HASH_ZEROS);
//! ```

use crate::finding::Severity;

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code as it stands in a finding.
    pub name: &'static str,
    /// How much such a finding weighs, unless its meaning says otherwise.
    pub severity: Severity,
    /// What it means.
    pub meaning: &'static str,
}

/// Defines a constant for each code and the list of all of them.
macro_rules! codes {
    ($($constant:ident $name:literal $severity:ident $meaning:literal;)*) => {
        $(#[doc = $meaning] pub const $constant: Code =
            Code { name: $name, severity: Severity::$severity, meaning: $meaning };)*

        /// All codes.
        pub const ALL: &[Code] = &[$($constant),*];
    };
}

codes! {
    HASH_MISSING "hash-missing" Error
        "the file has no SHA-256 at its end: its end was cut, or it is a copied `db` file (info when a missing hash is allowed)";
    HASH_ZEROS "hash-zeros" Error "32 zero bytes stand in place of the hash: the file was not fully written out";
    HASH_MISMATCH "hash-mismatch" Error "the hash at the end is not that of the file: bytes changed after etcd sent them";
    HASH_TWICE "hash-twice" Error "a second hash follows the first: etcd's tools refuse the file";
    HASH_NOT_COMPARED "hash-not-compared" Info "the hash at the end was not compared because the check was asked not to";

    FILE_CUT "file-cut" Error "the file ends before its database does";
    FILE_TAIL "file-tail" Error "bytes follow the database that are neither pages nor a hash";
    FILE_LONGER "file-longer" Info "pages follow the database, as in a copied `db` file, which grows in steps";

    META_INVALID "meta-invalid" Error
        "one of the two meta pages is damaged (warning without a hash: a copied `db` file may have one)";
    META_DIFFERS "meta-differs" Error "the two meta pages do not agree as they do in every snapshot";
    ROOT_ITEM "root-item" Error "an item of the root is not a bucket, or there are too many";
    BUCKET_MISSING "bucket-missing" Error "a bucket that every etcd makes is missing";
    BUCKET_UNKNOWN "bucket-unknown" Warning "a bucket that no known etcd makes";
    BUCKET_HEADER "bucket-header" Error "a bucket's header is cut or not as etcd writes it";

    PAGE_OUT_OF_RANGE "page-out-of-range" Error "a page, or its overflow, lies beyond the high water mark";
    PAGE_BEYOND_FILE "page-beyond-file" Error "a page lies beyond the end of the file";
    PAGE_ID "page-id" Error "a page says it is another one";
    PAGE_KIND "page-kind" Error "a page is not of the kind its place asks for";
    PAGE_OVERFULL "page-overfull" Error "a page says it has more elements than it can hold";
    PAGE_OVERFLOW "page-overflow" Error "a page takes more overflow pages than its content needs";
    PAGE_EMPTY "page-empty" Error "a page below a branch has no elements";
    PAGE_TWICE "page-twice" Error "a page is reached twice";
    TREE_TOO_DEEP "tree-too-deep" Error "a tree is deeper than any real one";
    ELEMENT_BOUNDS "element-bounds" Error "a key or value reaches beyond its page";
    ELEMENT_LAYOUT "element-layout" Error "keys and values do not follow each other as bbolt lays them out";
    ELEMENT_FLAGS "element-flags" Error "an element has flags that do not exist, or is a bucket where none belongs";
    KEY_LENGTH "key-length" Error "a key is empty or too long";
    KEYS_UNORDERED "keys-unordered" Error "a key is not greater than the one before it";
    KEY_OUTSIDE_BRANCH "key-outside-branch" Error "a key is outside the range that the branch above gives";
    FREELIST "freelist" Error
        "the list of free pages names a page twice, one in use, or one that does not exist, or leaves one out";

    RECORD_KEY "record-key" Error "a record's key is not a revision";
    RECORD_VALUE "record-value" Error "a record's value is not a key-value message";
    RECORD_UNKNOWN_FIELD "record-unknown-field" Error
        "a record has a field that no known etcd writes (warning if the storage version is newer than known here)";
    RECORD_EMPTY_KEY "record-empty-key" Error "a record has no key and is not the mark of a raised revision";
    REVISION_GAP "revision-gap" Error "no record has this revision, though history should be whole there: records are lost";
    SUB_GAP "sub-gap" Error "a transaction lacks one of its changes";
    MOD_REVISION "mod-revision" Error "a record's modification revision is not that of its place";
    CREATE_REVISION "create-revision" Error "a create revision that cannot be";
    VERSION "version" Error "a version that cannot be";
    VERSION_CHAIN "version-chain" Error "a record's version does not follow the one before it: a change of the key is lost";
    CREATE_CHAIN "create-chain" Error "a record's create revision is not that of the one before it in the same life";
    HISTORY_MISSING "history-missing" Error "what came before this record of the key is missing";
    TOMBSTONE_ORPHAN "tombstone-orphan" Error "a deletion of a key that was not there";
    TOMBSTONE_VALUE "tombstone-value" Error "a deletion has more than a key";
    NOT_COMPACTED "not-compacted" Error
        "a record is there that the last compaction took away: a key or a revision has changed";
    LEASE_MISSING "lease-missing" Error "a live key belongs to a lease that does not exist: it would never expire";
    REVISION_BUMPED "revision-bumped" Info "the revision was raised by a restore with `--bump-revision`";
    HISTORY_NOT_CHECKED "history-not-checked" Warning
        "the history of the keys was not checked because the records cannot all be read";

    META_VALUE "meta-value" Error "an item of `meta` does not have the form it should have";
    META_MISSING "meta-missing" Error "`meta` lacks the index of the last entry applied";
    META_UNKNOWN "meta-unknown" Warning "an item of a bucket, or a field of it, that no known etcd writes";
    TERM_MISSING "term-missing" Warning "`meta` lacks the term that etcd writes since 3.5";
    COMPACTION_ORDER "compaction-order" Error "a compaction ended that was never begun";
    COMPACTION_AHEAD "compaction-ahead" Warning
        "the last compaction is newer than the last record: the newest changes were deletions and compacted, or they are lost (info without a storage version, where etcd's compaction does so)";
    COMPACTION_PENDING "compaction-pending" Info "a compaction was under way; a restored server ends it";
    CONF_STATE_DIFFERS "conf-state-differs" Info
        "raft's voters and learners are not those of the members: normal after a restore, until a member is next added or removed (warning when that has happened: a member was lost, or one came back)";
    VERSION_VALUE "version-value" Error "a version in the file is not a version";
    VERSION_ORDER "version-order" Warning "the cluster's version is newer than that of its storage";
    VERSION_NEWER "version-newer" Warning "the file was written by an etcd newer than is known here";
    DOWNGRADE "downgrade" Warning "a downgrade was under way; a restored cluster goes on with it";

    LEASE_VALUE "lease-value" Error "a lease cannot be decoded, or its id is not that of its key";
    ALARM_VALUE "alarm-value" Error "an alarm cannot be decoded";
    ALARM_STANDING "alarm-standing" Warning "an alarm stands; a restored cluster has it again";
    MEMBER_VALUE "member-value" Error "a member cannot be decoded, or its id is not that of its key";
    MEMBER_LEARNER "member-learner" Warning "a member is a learner; a restore makes voters of all members";
    MEMBER_ZOMBIE "member-zombie" Warning "a member is both present and removed";
    AUTH_VALUE "auth-value" Error "an item of `auth` does not have the form it should have";
    USER_VALUE "user-value" Error "a user cannot be decoded, or its name is not that of its key";
    ROLE_VALUE "role-value" Error "a role cannot be decoded, or its name is not that of its key";
    ROLE_MISSING "role-missing" Error "a user has a role that does not exist";
    AUTH_WITHOUT_ROOT "auth-without-root" Warning
        "users must log in, but none is `root` with the role `root`: nobody could administer a restored cluster";
    SIZE_NEAR_QUOTA "size-near-quota" Info
        "the database is near or above etcd's default quota of 2 GiB: start the restored cluster with a larger one";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_kebab_case() {
        let mut names: Vec<&str> = ALL.iter().map(|code| code.name).collect();
        assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
