//! The info string of a fence: `LANG markpact:KIND [key=value …]` or `markpact:KIND [LANG] [key=value …]`. Pure.

use indexmap::IndexMap;

use super::findings::{instead, quoted};

/// Kinds that are read and kept for later verbs.
pub(super) const KEPT: &[&str] = &["build", "target", "publish", "config", "ignore"];

/// All kinds, in the order in which a message lists them.
const KINDS: &[&str] = &[
    "file",
    "deps",
    "run",
    "workload",
    "health",
    "healthcheck",
    "test",
    "build",
    "target",
    "publish",
    "config",
    "ignore",
    "setup",
    "job",
    "bootstrap",
];

const MARK: &str = "markpact:";
const BLANK: [char; 2] = [' ', '\t'];

/// What a fence says of its block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Info {
    /// One of [`KINDS`].
    pub(super) kind: String,
    /// Empty when the fence names none.
    pub(super) language: String,
    /// In the order of the fence.
    pub(super) attributes: IndexMap<String, String>,
}

/// What is wrong, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String, pub(super) String);

fn fault<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(message.into(), help.into()))
}

enum Word {
    Bare(String),
    Pair(String, String),
}

/// Whether a fence with this info string is one of ours, told by its first two words only.
pub(super) fn is_marked(info: &str) -> bool {
    let words = info.split(BLANK).filter(|word| !word.is_empty());
    words.take(2).any(|word| word.starts_with(MARK))
}

/// The info string's meaning; `None`: an ordinary code block.
pub(super) fn read(info: &str) -> Option<Result<Info, Fault>> {
    let words = match words(info) {
        Ok(words) => words,
        Err(fault) => return is_marked(info).then_some(Err(fault)),
    };
    let is_mark = |word: &Word| matches!(word, Word::Bare(text) if text.starts_with(MARK));
    let at = words.iter().position(is_mark)?;
    Some(meaning(words, at))
}

fn meaning(words: Vec<Word>, at: usize) -> Result<Info, Fault> {
    let mut words = words.into_iter();
    let before: Vec<Word> = words.by_ref().take(at).collect();
    let mark = words.next();
    let mut words = words.peekable();
    let language = match (before.as_slice(), words.peek()) {
        ([Word::Bare(language)], _) => language.clone(),
        ([], Some(Word::Bare(_))) => bare(words.next()),
        ([], _) => String::new(),
        _ => {
            return fault(
                "the kind is neither the first nor the second word of the fence",
                "write the language, then the kind, then the attributes: python markpact:file path=main.py",
            );
        }
    };
    let kind = kind(&bare(mark))?;
    let attributes = match kind.as_str() {
        // It is another program's: whatever it says is not ours to judge.
        "bootstrap" => IndexMap::new(),
        _ => attributes(words)?,
    };
    Ok(Info {
        kind,
        language,
        attributes,
    })
}

fn bare(word: Option<Word>) -> String {
    match word {
        Some(Word::Bare(text)) => text,
        _ => String::new(),
    }
}

fn kind(mark: &str) -> Result<String, Fault> {
    let kind = mark.strip_prefix(MARK).unwrap_or(mark);
    if KINDS.contains(&kind) {
        return Ok(kind.to_owned());
    }
    if kind.is_empty() {
        return fault(
            "no kind after 'markpact:'",
            format!("known are {}", KINDS.join(", ")),
        );
    }
    fault(
        format!("unknown kind {}", quoted(&format!("{MARK}{kind}"))),
        instead(kind, KINDS),
    )
}

/// The path in the inside of a comment `markpact:include path=…`; `None`: another comment.
pub(super) fn include(comment: &str) -> Option<Result<String, Fault>> {
    let rest = comment.trim().strip_prefix(MARK)?.strip_prefix("include")?;
    if !rest.is_empty() && !rest.starts_with(BLANK) {
        return None;
    }
    let named = words(rest).and_then(|words| attributes(words.into_iter()));
    Some(named.and_then(|mut attributes| {
        let path = attributes.shift_remove("path").unwrap_or_default();
        let help = "write <!-- markpact:include path=db/README.md -->";
        match attributes.first() {
            Some((unknown, _)) => fault(format!("an include has no {}", quoted(unknown)), help),
            None if !path.ends_with(".md") || path.starts_with('/') => fault(
                format!("{} is no path of a README beside this one", quoted(&path)),
                help,
            ),
            None => Ok(path),
        }
    }))
}

fn attributes(words: impl Iterator<Item = Word>) -> Result<IndexMap<String, String>, Fault> {
    let mut attributes = IndexMap::new();
    for word in words {
        let (key, value) = match word {
            Word::Pair(key, value) => (key, value),
            Word::Bare(text) => {
                return fault(
                    format!("{} is no attribute of the form key=value", quoted(&text)),
                    format!("write, for example, path={text}; values with spaces in quotes"),
                );
            }
        };
        if key.is_empty() {
            return fault(
                format!("no name before the '=' of {}", quoted(&value)),
                "write key=value",
            );
        }
        if attributes.contains_key(&key) {
            return fault(
                format!("the attribute {} is given twice", quoted(&key)),
                "keep one of them",
            );
        }
        attributes.insert(key, value);
    }
    Ok(attributes)
}

fn words(info: &str) -> Result<Vec<Word>, Fault> {
    let mut words = Vec::new();
    let mut rest = info.trim_matches(BLANK);
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after.trim_start_matches(BLANK);
    }
    Ok(words)
}

/// The first word of `text`, and what follows it.
fn word(text: &str) -> Result<(Word, &str), Fault> {
    let (token, after) = text.split_at(text.find(BLANK).unwrap_or(text.len()));
    if token.starts_with(MARK) {
        return Ok((Word::Bare(token.to_owned()), after));
    }
    let Some((key, value)) = token.split_once('=') else {
        return Ok((Word::Bare(token.to_owned()), after));
    };
    let Some(quote) = value.chars().next().filter(|first| ['"', '\''].contains(first)) else {
        return Ok((Word::Pair(key.to_owned(), value.to_owned()), after));
    };
    let inside = &text[key.len() + 2..];
    let Some((value, after)) = inside.split_once(quote) else {
        return fault(
            format!("the quoted value of {} does not end", quoted(key)),
            format!("add the closing {quote}"),
        );
    };
    if !after.is_empty() && !after.starts_with(BLANK) {
        return fault(
            format!("text directly after the quoted value of {}", quoted(key)),
            "put a space after the closing quote",
        );
    }
    Ok((Word::Pair(key.to_owned(), value.to_owned()), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(info: &str) -> String {
        match read(info) {
            None => "prose".to_owned(),
            Some(Err(Fault(message, _))) => message,
            Some(Ok(info)) => {
                let pairs = info.attributes.iter();
                let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}=<{value}>")).collect();
                format!("{} <{}> {}", info.kind, info.language, pairs.join(" "))
            }
        }
    }

    #[test]
    fn both_forms_mean_the_same() {
        for (info, wanted) in [
            ("python markpact:file path=a.py", "file <python> path=<a.py>"),
            ("markpact:file python path=a.py", "file <python> path=<a.py>"),
            ("markpact:file path=a.py", "file <> path=<a.py>"),
            ("markpact:run", "run <> "),
            (
                "c++ markpact:file path=\"a b.cc\"\tmode=755",
                "file <c++> path=<a b.cc> mode=<755>",
            ),
            ("c# markpact:file path='a b.cs'", "file <c#> path=<a b.cs>"),
            (
                "markpact:file objective-c path=it's",
                "file <objective-c> path=<it's>",
            ),
            ("sh markpact:test as=a=b x=", "test <sh> as=<a=b> x=<>"),
        ] {
            assert_eq!(read_one(info), wanted, "{info}");
        }
    }

    #[test]
    fn ordinary_fences_are_prose() {
        for info in [
            "",
            "python",
            "python title=\"markpact:file x\"",
            "python title=\"open",
            "my-markpact:file",
        ] {
            assert_eq!(read_one(info), "prose", "{info}");
        }
    }
}
