//! Makes text that a guest wrote safe to show: no control characters, no direction overrides, no unbounded length.
//!
//! A plugin's words end in logs, terminals, reports and notifications. An escape sequence could repaint a terminal, a
//! line feed could forge a log line, a direction override could show one name and mean another. All of them are turned
//! into visible escapes; nothing else changes.

use std::fmt::Write as _;

/// Put at the end of text that was cut.
const CUT: char = '…';

/// One line, at most `max_bytes` of the given text before escaping is counted.
pub(crate) fn one_line(text: &str, max_bytes: usize) -> String {
    visible(text, max_bytes, false)
}

/// As [`one_line`], but keeps line feeds.
pub(crate) fn lines(text: &str, max_bytes: usize) -> String {
    visible(text, max_bytes, true)
}

fn visible(text: &str, max_bytes: usize, keep_lines: bool) -> String {
    let mut shown = String::with_capacity(text.len().min(max_bytes));
    for character in text.chars() {
        if shown.len() + character.len_utf8() > max_bytes {
            shown.push(CUT);
            break;
        }
        match character {
            '\n' if keep_lines => shown.push('\n'),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            other if is_deceptive(other) => {
                // Writing to a `String` cannot fail.
                let _ = write!(shown, "{}", other.escape_unicode());
            }
            other => shown.push(other),
        }
    }
    shown
}

/// Control characters, invisible ones, line separators and everything that changes the direction of text.
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_and_line_feeds_become_visible() {
        assert_eq!(one_line("a\x1b[2Jb\nc\u{7}", 100), "a\\u{1b}[2Jb\\nc\\u{7}");
        assert_eq!(one_line("\u{202e}evil", 100), "\\u{202e}evil");
        assert_eq!(lines("a\nb\r", 100), "a\nb\\r");
    }

    #[test]
    fn ordinary_text_of_any_script_stays() {
        let text = "größe 数 «ключ» 🔑";
        assert_eq!(one_line(text, 100), text);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(one_line("ééé", 5), "éé…");
        assert_eq!(one_line(&"\n".repeat(1000), 4), "\\n\\n…");
    }
}
