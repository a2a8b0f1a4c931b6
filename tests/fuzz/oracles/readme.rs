//! Any text as a README: no panic; what is accepted lies inside of the text, in paths below `/app`.

use std::path::{Component, Path};

use pactown::markpact::recipe::Lines;
use pactown::markpact::{Recipe, parse};

/// One README.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let count = text.split('\n').count();
    match parse(Path::new("README.md"), text) {
        Ok(recipe) => accepted(&recipe, count),
        Err(problems) => {
            assert!(problems.is_fatal());
            assert!(problems.0.iter().all(|problem| problem.place.line <= count));
        }
    }
}

fn accepted(recipe: &Recipe, count: usize) {
    let inside = |lines: &Lines| 1 <= lines.first && lines.first <= lines.last && lines.last <= count;
    for (number, file) in recipe.files.iter().enumerate() {
        let path = Path::new(&file.path);
        let below = path.components().all(|part| matches!(part, Component::Normal(_)));
        assert!(below && !file.path.is_empty() && inside(&file.lines), "{file:?}");
        assert!(
            file.content.is_empty() || file.content.ends_with('\n'),
            "{file:?}"
        );
        let twice = recipe.files[..number].iter().any(|other| other.path == file.path);
        assert!(!twice, "{file:?}");
    }
    for deps in &recipe.deps {
        assert!(inside(&deps.lines), "{deps:?}");
        // A server that the run command needs is asked for there.
        assert!(
            deps.requirements.iter().all(|(line, _)| *line <= count),
            "{deps:?}"
        );
    }
    let run = recipe.run.as_ref().and_then(|run| run.lines.as_ref());
    assert!(run.is_none_or(inside));
    assert!(recipe.others.iter().all(|block| inside(&block.lines)));
    assert!(recipe.notes.iter().all(|(line, _)| *line <= count));
}
