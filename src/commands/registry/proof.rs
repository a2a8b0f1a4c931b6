//! The tests of what is published, run before: which README was tested, and how that ended.

use std::fs;
use std::path::Path;

use crate::commands::Context;
use crate::commands::test::{self, Proved};
use crate::error::Error;
use crate::registry::api;
use crate::registry::evidence::Evidence;
use crate::registry::store::Digest;
use crate::testing::{self, Outcome};

/// What was tested.
pub(super) struct Proof {
    proved: Proved,
    ended: jiff::Timestamp,
}

impl Proof {
    /// Runs the tests of these targets.
    ///
    /// # Errors
    /// One failed, or they cannot be run.
    pub(super) fn of(context: &Context, targets: &[String]) -> Result<Self, Error> {
        Ok(Self {
            proved: test::prove(context, targets)?,
            ended: jiff::Timestamp::now(),
        })
    }

    /// Adds the evidence to what is published of this README.
    ///
    /// # Errors
    /// It is not what was tested.
    pub(super) fn attach(
        &self,
        context: &Context,
        readme: &Path,
        publish: &mut api::Publish,
    ) -> Result<(), Error> {
        let readme = fs::canonicalize(readme).unwrap_or_else(|_| readme.to_owned());
        let own: Vec<Outcome> = self
            .proved
            .outcomes
            .iter()
            .filter(|outcome| fs::canonicalize(&outcome.file).is_ok_and(|file| file == readme))
            .cloned()
            .collect();
        let name = format!("{}/{}", publish.namespace, publish.name);
        let Some(first) = own.first() else {
            context
                .output
                .notice(&format!("{name} has no tests: it is published without evidence"));
            return Ok(());
        };
        if self.proved.readmes.get(&first.file) != Some(&publish.readme_content) {
            return Err(Error::Failed(format!(
                "{} was changed while its tests ran: nothing was published",
                readme.display()
            )));
        }
        let digest = Digest::of(publish.readme_content.as_bytes());
        let ended = self.ended.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Evidence::new(&digest, ended, testing::count(&own)).attach(&mut publish.metadata);
        Ok(())
    }
}
