//! A stranger's words, before anybody sees them.

/// In one line, without what a terminal obeys (C0 and C1, with escape sequences) or what turns text around (bidi
/// controls): each such character becomes its escape.
pub fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}');
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == '\t' {
            plain.push(' ');
        } else if c.is_control() || turns(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_commands_a_terminal() {
        let hostile = "a\u{1b}]52;c;AAAA\u{7}b\u{9b}6n\u{202e}c\rd\ne";
        let shown = plain(hostile);
        assert_eq!(shown, "a\\u{1b}]52;c;AAAA\\u{7}b\\u{9b}6n\\u{202e}c\\rd e");
        assert_eq!(plain("zażółć ✓"), "zażółć ✓");
    }
}
