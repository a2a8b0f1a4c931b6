//! `${name}` in the text of a test: which names it uses, and the text with their values. `$${` is a plain `${`. Pure.

use std::collections::BTreeMap;

/// A piece of a text.
enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// The names that `text` uses, in its order.
pub fn names(text: &str) -> Vec<&str> {
    let name = |piece| match piece {
        Piece::Name(name) => Some(name),
        Piece::Text(_) => None,
    };
    pieces(text).into_iter().filter_map(name).collect()
}

/// The text with the values of its names, each value as `encode` writes it there.
///
/// # Errors
/// The first name without a value.
pub fn fill(
    text: &str,
    values: &BTreeMap<String, String>,
    encode: impl Fn(&str) -> String,
) -> Result<String, String> {
    let mut filled = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Name(name) => filled.push_str(&encode(values.get(name).ok_or(name)?)),
        }
    }
    Ok(filled)
}

/// Whether `text` can be a name: a letter or `_`, then letters, digits and `_`.
pub fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        let end = after.find('}').filter(|end| is_name(&after[2..*end]));
        match (before.strip_suffix('$'), end) {
            (Some(before), _) => {
                pieces.extend([Piece::Text(before), Piece::Text("${")]);
                rest = &after[2..];
            }
            (None, Some(end)) => {
                pieces.extend([Piece::Text(before), Piece::Name(&after[2..end])]);
                rest = &after[end + 1..];
            }
            (None, None) => {
                pieces.push(Piece::Text(&rest[..at + 2]));
                rest = &after[2..];
            }
        }
    }
    pieces.push(Piece::Text(rest));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_filled() {
        let values = BTreeMap::from([("id".to_owned(), "a b".to_owned())]);
        let filled = |text: &str| fill(text, &values, str::to_owned);
        assert_eq!(names("/a/${id}/${other_1}?x=$${no}&${1}"), ["id", "other_1"]);
        assert_eq!(filled("/a/${id}").as_deref(), Ok("/a/a b"));
        assert_eq!(filled("$${id} ${ $x $$ ${").as_deref(), Ok("${id} ${ $x $$ ${"));
        assert_eq!(filled("${id}${gone}"), Err("gone".to_owned()));
    }
}
