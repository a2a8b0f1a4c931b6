//! READMEs below a folder, and what they are. Reads files; follows no link.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::markpact::recipe::{DepsLanguage, WorkloadKind};
use crate::markpact::{self, Recipe};

/// Folders below that are looked into, at most.
const DEPTH: usize = 12;
/// Folders that hold what tools have fetched or made.
const SKIPPED: [&str; 5] = ["node_modules", "target", "vendor", "__pycache__", "venv"];

/// One README.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Its path, below the folder that was searched.
    pub readme: PathBuf,
    /// The name its service would have; unique among what was found.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its first heading.
    pub title: Option<String>,
    /// Languages of its dependencies.
    pub languages: Vec<DepsLanguage>,
    /// How many files it holds.
    pub files: usize,
    /// How many tests it holds.
    pub tests: usize,
    /// What is wrong with it, `line: message`.
    pub problems: Vec<String>,
    /// The whole of it.
    #[serde(skip)]
    pub recipe: Option<Recipe>,
}

/// What a README is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It runs and stays.
    Service,
    /// It runs and ends.
    Job,
    /// It has blocks, and nothing that runs.
    Library,
    /// It has no block.
    Text,
    /// It cannot be read as a README with blocks.
    Broken,
}

impl Kind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Job => "job",
            Self::Library => "library",
            Self::Text => "text",
            Self::Broken => "broken",
        }
    }
}

/// All READMEs below `folder`, and other Markdown files that have blocks, in the order of their paths.
///
/// # Errors
/// The folder cannot be read; one below it that cannot is left out.
pub fn scan(folder: &Path) -> std::io::Result<Vec<Found>> {
    let mut files = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    fs::read_dir(folder)?;
    while let Some((directory, depth)) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else {
                continue;
            };
            let name = name.to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if kind.is_file() && name.to_lowercase().ends_with(".md") {
                files.push(entry.path());
            } else if kind.is_dir() && depth < DEPTH && !SKIPPED.contains(&name.as_ref()) {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    files.sort();
    let mut found: Vec<Found> = files.iter().filter_map(|file| look(folder, file)).collect();
    tell_apart(&mut found);
    Ok(found)
}

fn look(folder: &Path, file: &Path) -> Option<Found> {
    let is_readme = file
        .file_stem()
        .is_some_and(|stem| stem.eq_ignore_ascii_case("readme"));
    let (recipe, problems) = match markpact::read(file) {
        Ok(recipe) => (Some(recipe), Vec::new()),
        Err(problems) => {
            let told = problems.0.iter();
            let told = told.map(|one| format!("{}: {}", one.place.line, one.message));
            (None, told.collect())
        }
    };
    let kind = match &recipe {
        None => Kind::Broken,
        Some(recipe) if recipe.marks.is_empty() => Kind::Text,
        Some(recipe) if recipe.run.is_none() => Kind::Library,
        Some(recipe) if recipe.workload.kind == WorkloadKind::Job => Kind::Job,
        Some(_) => Kind::Service,
    };
    // Other pages of Markdown are none of ours.
    if !is_readme && matches!(kind, Kind::Text) {
        return None;
    }
    let deps = recipe.iter().flat_map(|recipe| &recipe.deps);
    let mut languages: Vec<DepsLanguage> = deps.map(|block| block.language).collect();
    languages.sort();
    languages.dedup();
    Some(Found {
        readme: file.strip_prefix(folder).unwrap_or(file).to_owned(),
        name: super::service_name(file),
        kind,
        title: recipe.as_ref().and_then(|recipe| recipe.title.clone()),
        languages,
        files: recipe.as_ref().map_or(0, |recipe| recipe.files.len()),
        tests: recipe.as_ref().map_or(0, |recipe| recipe.tests.len()),
        problems,
        recipe,
    })
}

/// Of several with one name each gets its folder's before it, then a letter behind it.
fn tell_apart(found: &mut [Found]) {
    for index in 0..found.len() {
        let taken = |name: &str, found: &[Found]| found[..index].iter().any(|other| other.name == name);
        if !taken(&found[index].name, found) {
            continue;
        }
        let own = found[index].name.clone();
        let above = found[index].readme.parent().and_then(Path::parent);
        let above = above.and_then(Path::file_name).map(|name| name.to_string_lossy());
        let longer = above.map(|above| super::label(&format!("{above}-{own}")));
        let letters = ('b'..='z').map(|letter| super::label(&format!("{own}-{letter}")));
        let name = longer.into_iter().chain(letters).find(|name| !taken(name, found));
        found[index].name = name.unwrap_or(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: &str = "# R\n\n```sh markpact:run\ntrue\n```\n";

    #[test]
    fn each_readme_is_what_it_is() {
        let folder = std::env::temp_dir().join(format!("pactown-scan-{}", std::process::id()));
        for (path, text) in [
            ("README.md", "# All\n"),
            ("a/api/README.md", RUNS),
            ("b/api/readme.md", RUNS),
            (
                "job.md",
                "```yaml markpact:workload\nkind: job\n```\n\n```sh markpact:run\ntrue\n```\n",
            ),
            ("lib/README.md", "```python markpact:file path=a.py\n```\n"),
            (
                "bad/README.md",
                "```sh markpact:run\n```\n```sh markpact:run\n```\n",
            ),
            ("docs/page.md", "# Page\n"),
            ("node_modules/x/README.md", RUNS),
            (".git/README.md", RUNS),
        ] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink(&folder, folder.join("loop")).unwrap();
        let found = scan(&folder).unwrap();
        let told: Vec<String> = found
            .iter()
            .map(|one| format!("{} {} {}", one.readme.display(), one.name, one.kind.word()))
            .collect();
        fs::remove_dir_all(&folder).unwrap();
        let all = told.iter().map(|line| line.rsplit(' ').next().unwrap());
        assert_eq!(all.collect::<Vec<_>>().len(), 6, "{told:?}");
        for line in [
            "a/api/README.md api service",
            "b/api/readme.md b-api service",
            "job.md job job",
            "lib/README.md lib library",
            "bad/README.md bad broken",
        ] {
            assert!(told.contains(&line.to_owned()), "{line}: {told:?}");
        }
        assert!(
            told[0].starts_with("README.md ") && told[0].ends_with(" text"),
            "{told:?}"
        );
        assert!(scan(Path::new("/nonexistent")).is_err());
    }
}
