//! Which versions of which artifacts fit together: one of each, the highest that everybody who asks for it accepts. Pure
//! apart from what it asks the catalogue.

use indexmap::IndexMap;
use semver::Version;

use crate::registry::name::{ArtifactId, Reference};
use crate::registry::version::Selector;

/// Rounds after which it is given up: each round may change choices that an earlier one made.
const ROUNDS: usize = 100;

/// Somebody who asks for an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// A service of the file, or an artifact with its version.
    pub by: String,
    /// What is asked for.
    pub artifact: ArtifactId,
    /// Which versions of it.
    pub selector: Selector,
}

/// What a registry has.
pub trait Catalogue {
    /// Why it cannot say.
    type Error;

    /// The versions of an artifact, and whether each is yanked.
    ///
    /// # Errors
    /// It does not know the artifact, or does not answer.
    fn versions(&mut self, artifact: &ArtifactId) -> Result<Vec<(Version, bool)>, Self::Error>;

    /// What a version needs.
    ///
    /// # Errors
    /// It does not have it, or does not answer.
    fn needs(&mut self, artifact: &ArtifactId, version: &Version) -> Result<Vec<Reference>, Self::Error>;
}

/// Why nothing fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved<E> {
    /// The catalogue's reason.
    #[error("{0}")]
    Catalogue(E),
    /// The demands'.
    #[error("{0}")]
    Conflict(String),
}

/// A choice: each artifact with its version, in the order in which they were asked for.
pub type Choice = IndexMap<ArtifactId, Version>;

/// One version of everything that is demanded, and of what that needs. What `preferred` holds is kept where it fits.
///
/// # Errors
/// Nothing fits all demands on an artifact: who asks for what, and what there is.
pub fn resolve<C: Catalogue>(
    demands: &[Demand],
    preferred: &Choice,
    catalogue: &mut C,
) -> Result<Choice, Unresolved<C::Error>> {
    let mut choice = Choice::new();
    for _ in 0..ROUNDS {
        let all = reach(demands, &choice, catalogue)?;
        let next = choose(&all, preferred, catalogue)?;
        if next == choice {
            refuse_doubled_names(&all)?;
            return Ok(choice);
        }
        choice = next;
    }
    Err(Unresolved::Conflict(
        "no choice of versions stays: each one brings demands that change it".to_owned(),
    ))
}

type Demands = IndexMap<ArtifactId, Vec<Demand>>;

/// All demands, with those of the versions that are chosen.
fn reach<C: Catalogue>(
    demands: &[Demand],
    choice: &Choice,
    catalogue: &mut C,
) -> Result<Demands, Unresolved<C::Error>> {
    let mut all = Demands::new();
    let mut open: Vec<Demand> = demands.iter().rev().cloned().collect();
    while let Some(demand) = open.pop() {
        let artifact = demand.artifact.clone();
        let of_it = all.entry(artifact.clone()).or_default();
        let is_first = of_it.is_empty();
        of_it.push(demand);
        let Some(version) = choice.get(&artifact).filter(|_| is_first) else {
            continue;
        };
        let needs = catalogue
            .needs(&artifact, version)
            .map_err(Unresolved::Catalogue)?;
        for need in needs.into_iter().rev() {
            let needed = need
                .artifact(artifact.namespace())
                .map_err(Unresolved::Conflict)?;
            open.push(Demand {
                by: format!("{artifact}@{version}"),
                artifact: needed,
                selector: need.selector,
            });
        }
    }
    Ok(all)
}

fn choose<C: Catalogue>(
    all: &Demands,
    preferred: &Choice,
    catalogue: &mut C,
) -> Result<Choice, Unresolved<C::Error>> {
    let mut choice = Choice::new();
    for (artifact, demands) in all {
        let there = catalogue.versions(artifact).map_err(Unresolved::Catalogue)?;
        let fits = |version: &Version, yanked: bool| {
            let accepts = |demand: &Demand| demand.selector.choose([(version, yanked, ())]).is_some();
            demands.iter().all(accepts)
        };
        // What is locked stays, also when it was yanked since.
        let kept = preferred
            .get(artifact)
            .filter(|version| fits(version, false) && there.iter().any(|(own, _)| own == *version));
        let best = there
            .iter()
            .filter(|(version, yanked)| fits(version, *yanked))
            .map(|(version, _)| version)
            .max_by(|left, right| left.cmp_precedence(right));
        match kept.or(best) {
            Some(version) => choice.insert(artifact.clone(), version.clone()),
            None => return Err(Unresolved::Conflict(conflict(artifact, demands, &there))),
        };
    }
    Ok(choice)
}

/// Who asks for what, and what there is.
fn conflict(artifact: &ArtifactId, demands: &[Demand], there: &[(Version, bool)]) -> String {
    let asked: Vec<String> = demands
        .iter()
        .map(|demand| format!("{} needs {}", demand.by, demand.selector))
        .collect();
    let mut versions: Vec<&Version> = there
        .iter()
        .filter(|(_, yanked)| !yanked)
        .map(|(own, _)| own)
        .collect();
    versions.sort();
    let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
    let versions = match versions.is_empty() {
        true => "none".to_owned(),
        false => versions.join(", "),
    };
    format!(
        "no version of {artifact} fits: {}; there are {versions}",
        asked.join(", ")
    )
}

/// The name becomes a service's, and a host name.
fn refuse_doubled_names<E>(all: &Demands) -> Result<(), Unresolved<E>> {
    for (index, artifact) in all.keys().enumerate() {
        let twin = all
            .keys()
            .take(index)
            .find(|other| other.name() == artifact.name());
        if let Some(twin) = twin {
            let by = |artifact: &ArtifactId| all[artifact].first().map_or("", |demand| &demand.by).to_owned();
            return Err(Unresolved::Conflict(format!(
                "{twin} (for {}) and {artifact} (for {}) would both be the service '{}'",
                by(twin),
                by(artifact),
                artifact.name()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// `name version: needs`.
    struct Shelf(BTreeMap<String, Vec<(Version, Vec<&'static str>)>>);

    impl Shelf {
        fn new(rows: &[(&str, &str, &[&'static str])]) -> Self {
            let mut shelf = BTreeMap::<_, Vec<_>>::new();
            for (name, version, needs) in rows {
                let row = (version.parse().unwrap(), needs.to_vec());
                shelf.entry(format!("n/{name}")).or_default().push(row);
            }
            Self(shelf)
        }
    }

    impl Catalogue for Shelf {
        type Error = String;

        fn versions(&mut self, artifact: &ArtifactId) -> Result<Vec<(Version, bool)>, String> {
            let found = self
                .0
                .get(&artifact.to_string())
                .ok_or(format!("no {artifact}"))?;
            Ok(found
                .iter()
                .map(|(version, _)| (version.clone(), false))
                .collect())
        }

        fn needs(&mut self, artifact: &ArtifactId, version: &Version) -> Result<Vec<Reference>, String> {
            let found = &self.0[&artifact.to_string()];
            let (_, needs) = found.iter().find(|(own, _)| own == version).unwrap();
            needs.iter().map(|need| need.parse()).collect()
        }
    }

    fn demand(text: &str) -> Demand {
        let reference: Reference = text.parse().unwrap();
        Demand {
            by: "web".into(),
            artifact: reference.artifact("n").unwrap(),
            selector: reference.selector,
        }
    }

    fn resolved(
        shelf: &mut Shelf,
        demands: &[&str],
        preferred: &[(&str, &str)],
    ) -> Result<Vec<String>, String> {
        let demands: Vec<Demand> = demands.iter().map(|text| demand(text)).collect();
        let preferred = preferred
            .iter()
            .map(|(name, version)| (ArtifactId::new("n", name).unwrap(), version.parse().unwrap()))
            .collect();
        let choice = resolve(&demands, &preferred, shelf).map_err(|error| error.to_string())?;
        Ok(choice
            .iter()
            .map(|(artifact, version)| format!("{}@{version}", artifact.name()))
            .collect())
    }

    #[test]
    fn the_highest_that_everybody_accepts_is_chosen() {
        let mut shelf = Shelf::new(&[
            ("auth", "1.0.0", &["db@^1"]),
            ("auth", "1.1.0", &["db@^1"]),
            ("auth", "2.0.0", &["db@^2"]),
            ("db", "1.0.0", &[]),
            ("db", "1.5.0", &[]),
            ("db", "2.0.0", &[]),
        ]);
        let mut of = |demands: &[&str]| resolved(&mut shelf, demands, &[]).unwrap();
        assert_eq!(of(&["auth@^1"]), ["auth@1.1.0", "db@1.5.0"]);
        assert_eq!(of(&["auth"]), ["auth@2.0.0", "db@2.0.0"]);
        assert_eq!(of(&["auth@^1", "db@~1.0"]), ["auth@1.1.0", "db@1.0.0"]);
        let kept = resolved(&mut shelf, &["auth@^1"], &[("db", "1.0.0"), ("auth", "1.0.0")]);
        assert_eq!(kept.unwrap(), ["auth@1.0.0", "db@1.0.0"]);
        let moved = resolved(&mut shelf, &["auth@^2"], &[("db", "1.0.0"), ("auth", "1.0.0")]);
        assert_eq!(moved.unwrap(), ["auth@2.0.0", "db@2.0.0"]);
    }

    #[test]
    fn a_conflict_says_who_asks_for_what() {
        let mut shelf = Shelf::new(&[
            ("auth", "1.0.0", &["db@^1"]),
            ("shop", "1.0.0", &["db@^2"]),
            ("db", "1.5.0", &[]),
            ("db", "2.0.0", &[]),
        ]);
        let told = resolved(&mut shelf, &["auth", "shop"], &[]).unwrap_err();
        assert_eq!(
            told,
            "no version of n/db fits: n/auth@1.0.0 needs ^1, n/shop@1.0.0 needs ^2; there are 1.5.0, 2.0.0"
        );
        assert_eq!(resolved(&mut shelf, &["gone"], &[]).unwrap_err(), "no n/gone");
        let mut twins = Shelf::new(&[("auth", "1.0.0", &["m/auth@1.0.0"])]);
        twins
            .0
            .insert("m/auth".into(), vec![(Version::new(1, 0, 0), vec![])]);
        let told = resolved(&mut twins, &["auth"], &[]).unwrap_err();
        assert!(told.contains("would both be the service 'auth'"), "{told}");
    }
}
