//! What is drift, what is none, and where it is.

use super::*;
use crate::desired::tests::{empty, service};
use crate::lockfile::Language;
use crate::markpact;

const README: &str = "# Api\n\nProse.\n\n```python markpact:deps\nflask\n```\n\n```python markpact:file path=main.py\nprint(1)\n```\n\n```sh markpact:run\npython main.py\n```\n";

fn desired(readme: &str) -> Desired {
    let mut desired = empty();
    let api = service("api");
    let recipe = markpact::parse(&api.readme, readme).unwrap();
    desired.ecosystem.services.insert("api".into(), api);
    desired.recipes.insert("api".into(), recipe);
    desired
}

fn lock(desired: &Desired) -> Lockfile {
    let (_, _, wanted) = prepare::wanted(&desired.recipes["api"])[0].clone();
    let resolution = Resolution {
        language: Language::Python,
        toolchain: "3.11.7".into(),
        wanted,
        packages: vec![],
        package_lock: None,
        files: Default::default(),
    };
    compose(desired, IndexMap::from([("api".to_owned(), vec![resolution])])).unwrap()
}

fn told(desired: &Desired, lock: &Lockfile) -> Vec<String> {
    let text = |problem: Problem| {
        format!(
            "{}:{}: {}",
            problem.file.display(),
            problem.place.line,
            problem.message
        )
    };
    find(desired, lock).into_iter().map(text).collect()
}

#[test]
fn a_wish_fits_its_own_lock_and_prose_is_no_drift() {
    let lock = lock(&desired(README));
    assert_eq!(told(&desired(README), &lock), [""; 0]);
    let prose = README.replace("Prose.", "Other prose,\non two lines.");
    assert_eq!(told(&desired(&prose), &lock), [""; 0]);
    assert_eq!(lock.services[0].readme, "api/README.md");
}

#[test]
fn an_edited_added_or_removed_block_is_drift_with_its_line() {
    let lock = lock(&desired(README));
    let edited = README.replace("print(1)", "print(2)");
    assert_eq!(
        told(&desired(&edited), &lock),
        ["/p/api/README.md:9: the block 'file main.py' is not as in `pactown.lock`"]
    );
    let added = format!("{README}\n```sh markpact:setup\ntrue\n```\n");
    assert_eq!(
        told(&desired(&added), &lock),
        ["/p/api/README.md:17: the block 'setup' is not in `pactown.lock`"]
    );
    let more = README.replace("flask\n", "flask\nsix\n");
    assert_eq!(
        told(&desired(&more), &lock),
        [
            "/p/api/README.md:5: the block 'deps python' is not as in `pactown.lock`",
            "/p/api/README.md:6: the python dependencies are not as in `pactown.lock`"
        ]
    );
    let removed = README.replace("```python markpact:file path=main.py\nprint(1)\n```\n", "");
    assert_eq!(
        told(&desired(&removed), &lock),
        ["/p/api/README.md:0: the block 'file main.py' of `pactown.lock` is gone"]
    );
}

#[test]
fn services_and_readmes_of_the_file_are_compared() {
    let lock = lock(&desired(README));
    let mut more = desired(README);
    let mut web = service("web");
    web.place = Place { line: 7, column: 3 };
    more.ecosystem.services.insert("web".into(), web);
    assert_eq!(
        told(&more, &lock),
        ["/p/saas.pactown.yaml:7: the service 'web' is not in `pactown.lock`"]
    );
    let mut moved = desired(README);
    moved.ecosystem.services["api"].readme = "/p/other/README.md".into();
    moved.ecosystem.services["api"].readme_place = Place { line: 4, column: 9 };
    assert_eq!(
        told(&moved, &lock),
        [
            "/p/saas.pactown.yaml:4: the README of 'api' is `other/README.md`, and `api/README.md` in `pactown.lock`"
        ]
    );
    let mut gone = empty();
    gone.ecosystem.name = "town".into();
    assert_eq!(
        told(&gone, &lock),
        ["/p/saas.pactown.yaml:0: the service 'api' of `pactown.lock` is gone"]
    );
    let mut elsewhere = lock.clone();
    elsewhere.platform = "s390x-linux".into();
    assert_eq!(told(&desired(README), &elsewhere).len(), 1);
}
