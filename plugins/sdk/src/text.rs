//! Keys as text.

use std::fmt::Write as _;

/// Bytes as a person can read them on one line: UTF-8 as it is, control characters and anything that is not UTF-8 as
/// `\xNN`, a backslash doubled so that the text can be turned back.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                _ if character.is_control() => {
                    let mut buffer = [0; 4];
                    escape(&mut text, character.encode_utf8(&mut buffer).as_bytes());
                }
                _ => text.push(character),
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_a_terminal_could_obey_is_escaped() {
        assert_eq!(printable(b"/registry/pods/web/a"), "/registry/pods/web/a");
        assert_eq!(printable("/schlüssel".as_bytes()), "/schlüssel");
        assert_eq!(printable(b"\x1b[2J\n\x00\\"), "\\x1b[2J\\x0a\\x00\\\\");
        assert_eq!(printable(b"a\xff\xfeb"), "a\\xff\\xfeb");
        assert_eq!(printable("\u{9b}".as_bytes()), "\\xc2\\x9b");
    }
}
