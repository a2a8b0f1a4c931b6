//! Words for a POSIX shell. Pure.

/// The words as one command line, each quoted where it must be.
pub(super) fn line<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

/// One word; `'` cannot stand within single quotes.
pub(super) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        assert_eq!(line(["sh", "-c", "a && b"]), "sh -c 'a && b'");
        assert_eq!(line(["", "it's", "$x"]), r"'' 'it'\''s' '$x'");
    }
}
