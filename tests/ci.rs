//! pactown in CI: time limits, exit codes, parallel copies, failure bundles, cancelled jobs, and the snippets of `docs/ci.md`.

mod bundle;
mod cancelled;
mod copies;
mod docs;
mod ends;
