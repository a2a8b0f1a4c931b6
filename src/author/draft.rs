//! An ecosystem file that is to be written, with its comments. Pure.

use indexmap::IndexMap;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Draft {
    /// Comments at its beginning, a line each.
    pub head: Vec<String>,
    /// `name`.
    pub name: String,
    /// `base_port`, when it is not the default.
    pub base_port: Option<u16>,
    /// The services by name.
    pub services: IndexMap<String, Vec<Entry>>,
}

/// A line of a service, or several.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A key with its value, and a comment behind it.
    Key(&'static str, Written, Option<String>),
    /// A comment.
    Comment(String),
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// Text; `$` has its meaning in ecosystem files.
    Text(String),
    /// A number, a word of YAML: as it is.
    Plain(String),
    /// Items, each with a comment behind it.
    List(Vec<(Written, Option<String>)>),
    /// Names and values.
    Map(Vec<(String, Written)>),
}

impl Written {
    /// Text in which a `$` is a `$`.
    pub fn literal(text: &str) -> Self {
        Self::Text(text.replace('$', "$$"))
    }

    /// A list without comments.
    pub fn texts(items: impl IntoIterator<Item = String>) -> Self {
        Self::List(items.into_iter().map(|item| (Self::Text(item), None)).collect())
    }
}

impl Draft {
    /// The file's text.
    pub fn render(&self) -> String {
        let mut text: String = self.head.iter().map(|line| comment("", line)).collect();
        text.push_str(&format!("name: {}\n", scalar(&self.name)));
        if let Some(port) = self.base_port {
            text.push_str(&format!("base_port: {port}\n"));
        }
        text.push_str("\nservices:\n");
        for (index, (name, entries)) in self.services.iter().enumerate() {
            if index > 0 {
                text.push('\n');
            }
            text.push_str(&format!("  {name}:\n"));
            for entry in entries {
                match entry {
                    Entry::Comment(line) => text.push_str(&comment("    ", line)),
                    Entry::Key(key, value, remark) => {
                        text.push_str(&format!("    {key}:"));
                        write(&mut text, value, remark.as_deref(), 6);
                    }
                }
            }
        }
        text
    }
}

fn comment(indent: &str, line: &str) -> String {
    format!("{indent}# {}\n", line.replace('\n', " ")).replace("# \n", "#\n")
}

/// The value behind its key, to the end of its line or lines.
fn write(text: &mut String, value: &Written, remark: Option<&str>, indent: usize) {
    let behind = remark
        .map(|remark| format!("  # {}", remark.replace('\n', " ")))
        .unwrap_or_default();
    let pad = " ".repeat(indent);
    match value {
        Written::Text(value) => text.push_str(&format!(" {}{behind}\n", scalar(value))),
        Written::Plain(value) => text.push_str(&format!(" {value}{behind}\n")),
        Written::List(items) if items.is_empty() => text.push_str(&format!(" []{behind}\n")),
        Written::Map(entries) if entries.is_empty() => text.push_str(&format!(" {{}}{behind}\n")),
        Written::List(items) => {
            text.push_str(&format!("{behind}\n"));
            for (item, remark) in items {
                text.push_str(&format!("{pad}-"));
                write(text, item, remark.as_deref(), indent + 2);
            }
        }
        Written::Map(entries) => {
            text.push_str(&format!("{behind}\n"));
            for (key, value) in entries {
                text.push_str(&format!("{pad}{}:", scalar(key)));
                write(text, value, None, indent + 2);
            }
        }
    }
}

/// Words that YAML takes for something else than text.
const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"];

/// A text as a scalar: bare where nobody can take it for something else, else in double quotes.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-@".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    match begins && text.chars().all(plain) && !is_word {
        true => text.to_owned(),
        // What JSON writes YAML reads: JSON is a part of YAML 1.2.
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        for text in [
            "no",
            "1.5",
            "a b",
            "x: y",
            "#a",
            "",
            "é\"\\\n\t",
            "- a",
            "web/README.md",
            "~",
            "a:b",
        ] {
            let yaml = format!("key: {}\n", scalar(text));
            let read: IndexMap<String, String> = serde_yaml::from_str(&yaml).unwrap();
            assert_eq!(read["key"], text, "{yaml}");
        }
        assert_eq!(scalar("web/README.md"), "web/README.md");
    }

    #[test]
    fn a_file_has_its_comments_where_they_belong() {
        let list = Written::List(vec![(Written::Text("api".into()), Some("guessed".into()))]);
        let map = Written::Map(vec![
            ("A".into(), Written::literal("$x")),
            ("B".into(), Written::texts([])),
        ]);
        let draft = Draft {
            head: vec!["made\nby".into()],
            name: "my shop".into(),
            base_port: Some(9000),
            services: IndexMap::from([
                (
                    "web".to_owned(),
                    vec![
                        Entry::Key("port", Written::Plain("80".into()), Some("why".into())),
                        Entry::Key("depends_on", list, None),
                        Entry::Comment("nothing else".into()),
                    ],
                ),
                ("api".to_owned(), vec![Entry::Key("env", map, None)]),
            ]),
        };
        assert_eq!(
            draft.render(),
            "# made by\nname: \"my shop\"\nbase_port: 9000\n\nservices:\n  web:\n    port: 80  # why\n    depends_on:\n      - api  # guessed\n    # nothing else\n\n  api:\n    env:\n      A: \"$$x\"\n      B: []\n"
        );
    }
}
