//! A stranger's README as HTML that can do nothing: no script, no style, no frame, no request to anywhere.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd, html};

/// Bytes that are rendered.
const SHOWN: usize = 512 * 1024;

/// Depth of lists and quotes that is rendered.
const DEPTH: usize = 32;

/// A README with more `<` than this is shown without its own HTML: sanitising it could take long.
const TAGS: usize = 4000;

/// What is left of HTML: text with structure. No `id` and no `name`, which could hide parts of the page from itself.
static CLEANER: LazyLock<ammonia::Builder<'static>> = LazyLock::new(|| {
    let mut cleaner = ammonia::Builder::default();
    cleaner
        .tags(HashSet::from([
            "a",
            "b",
            "blockquote",
            "br",
            "code",
            "dd",
            "del",
            "details",
            "div",
            "dl",
            "dt",
            "em",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "hr",
            "i",
            "kbd",
            "li",
            "ol",
            "p",
            "pre",
            "s",
            "span",
            "strong",
            "sub",
            "summary",
            "sup",
            "table",
            "tbody",
            "td",
            "th",
            "thead",
            "tr",
            "ul",
        ]))
        .tag_attributes(HashMap::from([
            ("a", HashSet::from(["href", "title"])),
            ("ol", HashSet::from(["start"])),
        ]))
        .generic_attributes(HashSet::new())
        .allowed_classes(HashMap::from([("p", HashSet::from(["block"]))]))
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("nofollow noopener noreferrer"));
    cleaner
});

/// The README as a fragment of a page.
pub(super) fn html(readme: &str) -> String {
    let mut end = readme.len().min(SHOWN);
    while !readme.is_char_boundary(end) {
        end -= 1;
    }
    let own_html = readme.bytes().filter(|byte| *byte == b'<').count() <= TAGS;
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(&readme[..end], options);
    let mut text = String::new();
    html::push_html(&mut text, tamed(events, own_html));
    CLEANER.clean(&text).to_string()
}

/// Without images, whose loading would tell somebody who reads what; without depth beyond reason; blocks that are run
/// say so.
fn tamed<'a>(events: impl Iterator<Item = Event<'a>>, own_html: bool) -> impl Iterator<Item = Event<'a>> {
    let mut depth = 0_usize;
    events.flat_map(move |event| match event {
        Event::Start(Tag::Image { dest_url, title, .. }) => vec![Event::Start(Tag::Link {
            link_type: LinkType::Inline,
            dest_url,
            title,
            id: "".into(),
        })],
        Event::End(TagEnd::Image) => vec![Event::End(TagEnd::Link)],
        Event::Html(text) | Event::InlineHtml(text) if !own_html => vec![Event::Text(text)],
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) if info.contains("markpact:") => {
            let caption = maud::html! { p.block { (info.as_ref()) } }.into_string();
            vec![
                Event::Html(caption.into()),
                Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)),
            ]
        }
        Event::Start(tag @ (Tag::BlockQuote(_) | Tag::List(_) | Tag::Item)) => {
            depth += 1;
            if depth <= DEPTH {
                vec![Event::Start(tag)]
            } else {
                Vec::new()
            }
        }
        Event::End(tag @ (TagEnd::BlockQuote(_) | TagEnd::List(_) | TagEnd::Item)) => {
            depth -= 1;
            if depth < DEPTH {
                vec![Event::End(tag)]
            } else {
                Vec::new()
            }
        }
        other => vec![other],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_rendered() {
        let page = html(
            "# Api\n\nSays *hello*.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python markpact:file path=a.py\nprint(1 < 2)\n```\n",
        );
        for part in [
            "<h1>Api</h1>",
            "<em>hello</em>",
            "<td>1</td>",
            "python markpact:file path=a.py",
            "print(1 &lt; 2)",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    /// Nothing that runs, loads, frames, names or styles comes through, whatever the way.
    #[test]
    fn nothing_of_a_stranger_can_do_anything() {
        let payloads = [
            "<script>alert(1)</script>",
            "<ScRiPt src=//e.test/x.js></sCrIpT>",
            "<img src=x onerror=alert(1)>",
            "![x](https://e.test/pixel.png)",
            "![x](javascript:alert(1))",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](java\tscript:alert(1))",
            "[x](data:text/html;base64,PHNjcmlwdD4=)",
            "[x](vbscript:msgbox)",
            "<javascript:alert(1)>",
            "[a]: javascript:alert(1)\n\n[a]",
            "<a href=\"&#106;avascript:alert(1)\">x</a>",
            "<a href=\"javascript&colon;alert(1)\">x</a>",
            "<svg onload=alert(1)><script>alert(1)</script></svg>",
            "<svg><a xlink:href=\"javascript:alert(1)\"><text>x</text></a></svg>",
            "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
            "<style>body{display:none}</style>",
            "<p style=\"position:fixed\">x</p>",
            "<iframe src=//e.test></iframe>",
            "<object data=//e.test></object><embed src=//e.test>",
            "<meta http-equiv=refresh content=\"0;url=//e.test\">",
            "<base href=//e.test>",
            "<form action=//e.test><input name=token><button formaction=//e.test>x</button></form>",
            "<a id=search name=search href=https://e.test>x</a>",
            "<details ontoggle=alert(1) open>x</details>",
            "<video><source onerror=alert(1)></video><audio src=x onerror=alert(1)>",
            "<link rel=stylesheet href=//e.test>",
            "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
            "<p title='\"><img src=x onerror=alert(1)>'>",
            "<!--><img src=x onerror=alert(1)>-->",
            "<template><script>alert(1)</script></template>",
            "```html markpact:file path=\"><img/src=x/onerror=alert(1)>\nx\n```",
            "<x onclick=alert(1)>",
            "<a href=\"//e.test\">x</a>",
            "<portal src=//e.test><marquee onstart=alert(1)>",
        ];
        for payload in payloads {
            let page = html(payload).to_lowercase();
            // What is between the marks is text; tags are what is looked at.
            let tags: Vec<&str> = page
                .split('<')
                .skip(1)
                .filter_map(|rest| rest.split('>').next())
                .collect();
            for tag in tags {
                let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or("");
                let known = ["p", "a", "pre", "code", "details", "table", "div", "ul", "li"];
                assert!(known.contains(&name), "{payload}: <{tag}>");
                for bad in [
                    " on",
                    "javascript:",
                    "vbscript:",
                    "data:",
                    "style=",
                    "src=",
                    " id=",
                    " name=",
                    "href=\"//",
                ] {
                    assert!(!tag.contains(bad), "{payload}: <{tag}>");
                }
            }
        }
    }

    #[test]
    fn bombs_take_no_time() {
        let start = std::time::Instant::now();
        for bomb in [
            "> ".repeat(100_000),
            "[".repeat(100_000),
            "<div>".repeat(100_000),
            "* ".repeat(50_000),
            "`".repeat(100_000),
            "![".repeat(50_000),
            "*a ".repeat(50_000),
            "<".repeat(500_000),
            "|".repeat(100_000),
        ] {
            assert!(html(&bomb).len() < 16 << 20);
        }
        // Not a measurement: what is quadratic takes minutes.
        assert!(start.elapsed() < std::time::Duration::from_secs(60));
    }
}
