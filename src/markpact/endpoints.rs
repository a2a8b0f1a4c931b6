//! Endpoints that the README's text names: `METHOD /path` in code marks. Pure.

use pulldown_cmark::{Event, Options, Parser};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Line, method and path of each, in the order of the text.
pub(super) fn read(text: &str) -> Vec<(usize, String, String)> {
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter();
    let mut found = Vec::new();
    for (event, range) in parser {
        if let Event::Code(code) = event
            && let Some((method, path)) = endpoint(&code)
        {
            let line = text[..range.start].matches('\n').count() + 1;
            found.push((line, method.to_owned(), path.to_owned()));
        }
    }
    found
}

fn endpoint(code: &str) -> Option<(&str, &str)> {
    let mut words = code.split_whitespace();
    let (method, path) = (words.next()?, words.next()?);
    // What follows is an example of a body.
    (METHODS.contains(&method) && path.starts_with('/')).then_some((method, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_marks_in_the_text_name_endpoints() {
        let text = "# T\n\nAsk `GET /items/{id}` or GET /no.\n\n| `POST /items {\"a\": 1}` | x |\n|---|---|\n| `DELETE /items/:id` | `/path` |\n\n```http\nGET /fenced\n```\n";
        let found: Vec<String> = read(text)
            .into_iter()
            .map(|(line, method, path)| format!("{line} {method} {path}"))
            .collect();
        assert_eq!(
            found,
            ["3 GET /items/{id}", "5 POST /items", "7 DELETE /items/:id"]
        );
    }
}
