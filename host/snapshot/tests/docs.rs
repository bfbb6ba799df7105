//! The table of codes in the documentation is the list in the code.

use std::fmt::Write;
use std::path::PathBuf;

use etcd_snapshot::codes;

const BEGIN: &str = "<!-- codes: begin -->\n";
const END: &str = "<!-- codes: end -->";

#[test]
fn the_table_of_codes_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/snapshot-format.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let mut expected = String::from("| code | severity | meaning |\n| --- | --- | --- |\n");
    for code in codes::ALL {
        writeln!(expected, "| `{}` | {} | {} |", code.name, code.severity, code.meaning).unwrap();
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(found, expected, "run this test with UPDATE_DOCS=1");
    }
}
