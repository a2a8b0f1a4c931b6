//! `init`, `scan`, `generate` and `import`: ecosystems are written for people who have none yet. Files that are there are
//! never replaced unasked.

mod place;

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Context, up};
use crate::author::scan::{Found, Kind};
use crate::author::{self, Imported, compose, guess, procfile, starter};
use crate::caller::Caller;
use crate::cli;
use crate::config;
use crate::config::ecosystem::Place;
use crate::diagnostics::{Problem, Problems, Severity};
use crate::error::Error;

/// `init`: asks nothing.
pub(super) fn init(context: &Context, arguments: &cli::InitArguments) -> Result<(), Error> {
    let output = up::absolute(&arguments.output);
    let folder = place::folder_of(&output);
    let mut files = vec![(
        output.clone(),
        starter::ecosystem(&author::label(&arguments.name)),
    )];
    files.extend(
        starter::READMES
            .iter()
            .map(|(path, text)| (folder.join(path), (*text).to_owned())),
    );
    write(context, &output, &files, arguments.force)
}

/// `scan`.
pub(super) fn scan(context: &Context, arguments: &cli::ScanArguments) -> Result<(), Error> {
    let found = look(&arguments.folder)?;
    if context.json {
        return context.output.json(&found);
    }
    let cells = found.iter().map(|one| {
        let languages: Vec<String> = one
            .languages
            .iter()
            .map(|language| format!("{language:?}").to_lowercase())
            .collect();
        vec![
            one.readme.display().to_string(),
            one.kind.word().to_owned(),
            one.name.clone(),
            languages.join(", "),
            one.files.to_string(),
            one.tests.to_string(),
            one.problems
                .first()
                .or(one.title.as_ref())
                .map(|text| crate::output::visible(text))
                .unwrap_or_default(),
        ]
    });
    context.output.table(
        &[
            "README",
            "WHAT",
            "SERVICE",
            "DEPENDENCIES",
            "FILES",
            "TESTS",
            "TITLE",
        ],
        cells.collect(),
    );
    Ok(())
}

/// `generate`.
pub(super) fn generate(context: &Context, arguments: &cli::GenerateArguments) -> Result<(), Error> {
    let found = look(&arguments.folder)?;
    if !found
        .iter()
        .any(|one| matches!(one.kind, Kind::Service | Kind::Job))
    {
        return Err(Error::Usage {
            message: format!(
                "no README below `{}` has anything to run",
                arguments.folder.display()
            ),
            hint: Some("`pactown scan` lists what is there, `pactown init` writes a first one".to_owned()),
        });
    }
    let output = up::absolute(&arguments.output);
    let source = up::absolute(&arguments.folder);
    let name = arguments.name.clone().unwrap_or_else(|| folder_name(&source));
    let readme = |one: &Found| place::relative(&place::folder_of(&output), &source.join(&one.readme));
    let draft = guess::ecosystem(&author::label(&name), arguments.base_port, &found, &readme);
    let files = [(output.clone(), draft.render())];
    write(context, &output, &files, arguments.force)
}

/// `import`.
pub(super) fn import(context: &Context, arguments: &cli::ForeignArguments) -> Result<(), Error> {
    let source = up::absolute(&arguments.source);
    let text = std::fs::read_to_string(&source).map_err(|error| Error::Usage {
        message: format!("cannot read `{}`: {error}", arguments.source.display()),
        hint: Some("name a compose file or a Procfile".to_owned()),
    })?;
    let output = up::absolute(&arguments.output);
    let imported = read(arguments, &source, &text)?;
    let folder = place::folder_of(&output);
    let mut files = vec![(output.clone(), imported.draft.render())];
    let readmes = imported.readmes.iter();
    files.extend(readmes.map(|(path, text)| (folder.join(path), text.clone())));
    check(&output, &files[0].1)?;
    place::put(&files, arguments.force, &Caller::detect())?;
    if context.json {
        let written: Vec<&PathBuf> = files.iter().map(|(path, _)| path).collect();
        return context
            .output
            .json(&json!({"written": written, "dropped": imported.dropped}));
    }
    told(context, &files);
    for one in &imported.dropped {
        let service = one
            .service
            .as_ref()
            .map(|name| format!("{name}: "))
            .unwrap_or_default();
        let line = format!("left out: {service}{}: {}", one.key, one.why);
        context.output.line(&crate::output::visible(&line));
    }
    Ok(())
}

fn read(arguments: &cli::ForeignArguments, source: &Path, text: &str) -> Result<Imported, Error> {
    let file = source.file_name().unwrap_or_default().to_string_lossy();
    let problem = |line: usize, message: String| Problem {
        severity: Severity::Error,
        file: source.to_owned(),
        place: Place {
            line,
            column: usize::from(line > 0),
        },
        length: 1,
        message,
        help: None,
        source: None,
    };
    let name = arguments.name.as_deref();
    let found = match file.to_lowercase().contains("procfile") {
        true => {
            let name = name.map_or_else(|| folder_name(&place::folder_of(source)), str::to_owned);
            procfile::import(&author::label(&name), &file, text).map_err(|(line, why)| problem(line, why))
        }
        false => compose::import(name, &file, text).map_err(|why| problem(0, why)),
    };
    found.map_err(|problem| Problems(vec![problem]).into())
}

fn look(folder: &Path) -> Result<Vec<Found>, Error> {
    author::scan::scan(&up::absolute(folder)).map_err(|error| Error::Usage {
        message: format!("cannot read the folder `{}`: {error}", folder.display()),
        hint: None,
    })
}

fn folder_name(folder: &Path) -> String {
    // `.` and `..` are none.
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = real.file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "ecosystem".to_owned())
}

/// What is written is valid, or nothing is written.
fn check(file: &Path, text: &str) -> Result<(), Error> {
    let (variables, _) = config::variables(file, &Caller::detect().env);
    config::parse(file, text, &variables)?;
    Ok(())
}

fn write(context: &Context, output: &Path, files: &[(PathBuf, String)], force: bool) -> Result<(), Error> {
    check(output, &files[0].1)?;
    place::put(files, force, &Caller::detect())?;
    if context.json {
        let written: Vec<&PathBuf> = files.iter().map(|(path, _)| path).collect();
        return context.output.json(&json!({"written": written}));
    }
    told(context, files);
    Ok(())
}

/// What was written, and what comes next.
fn told(context: &Context, files: &[(PathBuf, String)]) {
    let here = up::absolute(Path::new("."));
    let shown =
        |path: &Path| crate::output::visible(&path.strip_prefix(&here).unwrap_or(path).display().to_string());
    for (path, _) in files {
        context.output.line(&format!("wrote {}", shown(path)));
    }
    let file = shown(&files[0].0);
    let named = match file == "saas.pactown.yaml" {
        true => String::new(),
        false => format!(" {file}"),
    };
    context.output.notice(&format!(
        "`pactown validate{named}` checks it, `pactown up{named}` brings it up"
    ));
}
