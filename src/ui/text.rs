//! Text for a screen: without what a terminal would obey, wrapped between words, shortened with a sign. Pure.

use ratatui::text::Span;

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A line of a stranger's without colours and control characters.
pub(super) fn clean(text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\t' => out.push_str(&" ".repeat(8 - width(&out) % 8)),
            // What a progress bar wrote over.
            '\r' => {}
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Lines no wider than `columns`, broken between words; inside of a word only when it is wider than that. What is
/// wrapped keeps its indentation.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    if width(text) <= columns {
        return vec![text.to_owned()];
    }
    let indent: String = text.chars().take_while(|c| *c == ' ').take(columns / 2).collect();
    let mut lines = Vec::new();
    let mut line = indent.clone();
    for word in text[indent.len()..].split_inclusive(' ') {
        if width(&line) + width(word.trim_end()) > columns && line != indent {
            lines.push(std::mem::replace(&mut line, indent.clone()));
        }
        for c in word.chars() {
            let full = width(&line) + width(c.encode_utf8(&mut [0; 4])) > columns;
            // A blank at the end of a line is not seen.
            if full && c == ' ' {
                continue;
            }
            if full && line != indent {
                lines.push(std::mem::replace(&mut line, indent.clone()));
            }
            line.push(c);
        }
    }
    lines.push(line);
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    lines
}

/// The text, or its beginning and `…`.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        if width(&out) + width(c.encode_utf8(&mut [0; 4])) + 1 > columns {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

/// As many of the parts as fit, apart by two blanks.
pub(super) fn fitting(parts: &[String], columns: usize) -> String {
    let mut out = String::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let gap = if out.is_empty() { 0 } else { 2 };
        if width(&out) + gap + width(part) > columns {
            break;
        }
        out.push_str(&" ".repeat(gap));
        out.push_str(part);
    }
    out
}

/// The text in a column: padded or shortened, at its left or right edge.
pub(super) fn cell(text: &str, columns: usize, right: bool) -> String {
    let text = shorten(text, columns);
    let pad = " ".repeat(columns.saturating_sub(width(&text)));
    if right {
        format!("{pad}{text}")
    } else {
        format!("{text}{pad}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("  one two three", 8), ["  one", "  two", "  three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("a abcdef", 4), ["a", "abcd", "ef"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("日本語 日本", 5), ["日本", "語", "日本"]);
        assert_eq!(wrap("abc", 0), ["a", "b", "c"]);
    }

    #[test]
    fn wrapping_loses_no_word_and_keeps_the_width() {
        let text = "the quick brown fox jumps over the lazy dog and an extraordinarily-long-word-indeed";
        for columns in 1..60 {
            let lines = wrap(text, columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}");
            let joined: String = lines.concat().chars().filter(|c| *c != ' ').collect();
            assert_eq!(joined, text.replace(' ', ""), "{columns}");
        }
    }

    #[test]
    fn strangers_do_not_command_the_screen() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m\ta\u{7}b\r"), "red     ab");
        assert_eq!(
            clean("\u{9b}31m\u{1b}]0;title\u{7}!").find(char::is_control),
            None
        );
    }

    #[test]
    fn what_does_not_fit_is_told_so_or_left_out_whole() {
        assert_eq!(shorten("gateway", 5), "gate…");
        assert_eq!(shorten("web", 5), "web");
        assert_eq!(fitting(&["q quit".into(), "? help".into()], 13), "q quit");
        assert_eq!(fitting(&["q quit".into(), "? help".into()], 14), "q quit  ? help");
        assert_eq!(cell("7", 3, true), "  7");
        assert_eq!(cell("web", 5, false), "web  ");
    }
}
