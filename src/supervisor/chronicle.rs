//! What happened, for the file of events: what is told, in which words. The keeper's log writer writes it, so that a disk
//! that hangs keeps nobody here. An error of the disk is told once and stops nothing.

use std::collections::HashMap;

use pactown_runtime::mask::Masker;
use pactown_runtime::protocol::{Call, ExitRecord, LogFile, What};
use tokio::sync::oneshot;

use super::keeper::Keeper;
use super::tell;
use crate::config::ecosystem::ServiceName;
use crate::control::api::ServiceStatus;
use crate::events::decide::{decide, limit};
use crate::events::{self, Event, Kind, Witness};
use crate::instance::Instance;

/// A file of events is rotated beyond this size, in bytes.
const LIMIT: u64 = 1 << 20;
/// So many are kept.
const FILES: u32 = 3;

/// What was told, and where it goes.
pub(super) struct Chronicle {
    keeper: Keeper,
    log: LogFile,
    /// The keeper's answer to the last line.
    last: Option<oneshot::Receiver<What>>,
    /// The last row of each service that was told.
    rows: HashMap<ServiceName, ServiceStatus>,
    /// What goes with a failure that is about to be told.
    evidence: HashMap<ServiceName, (Vec<String>, Option<Witness>)>,
    complained: bool,
    /// What is told to nobody.
    hidden: Option<Masker>,
}

impl Chronicle {
    /// The chronicle of `instance`. The file is made with the first event.
    pub(super) fn of(instance: &Instance, keeper: Keeper) -> Self {
        let log = LogFile {
            path: events::file(instance),
            max_bytes: LIMIT,
            files: FILES,
            run: 0,
        };
        Self {
            keeper,
            log,
            last: None,
            rows: HashMap::new(),
            evidence: HashMap::new(),
            complained: false,
            hidden: None,
        }
    }

    /// What must not be told from now on.
    pub(super) fn hide(&mut self, masker: Option<Masker>) {
        self.hidden = masker;
    }

    /// The text as it may be told.
    pub(super) fn shown(&self, text: String) -> String {
        match &self.hidden {
            Some(masker) => masker.text(&text),
            None => text,
        }
    }

    /// A service's row is this now; `last` is how it ended last.
    pub(super) fn row(&mut self, row: &ServiceStatus, last: Option<&ExitRecord>) {
        let before = self.rows.insert(row.name.clone(), row.clone());
        for mut event in decide(before.as_ref(), row, last, super::stamp::now_usec()) {
            if matches!(event.kind, Kind::Failed | Kind::Backoff)
                && let Some((details, witness)) = self.evidence.remove(&row.name)
            {
                let limit = witness.as_ref().and_then(|witness| limit(row, witness));
                limit.into_iter().for_each(|event| self.write(event));
                (event.details, event.witness) = (details, witness);
            }
            self.write(event);
        }
    }

    /// Lines and the kernel's view that go with the failure of `name`; the next event of it takes them.
    pub(super) fn evidence(&mut self, name: &str, details: &[String], witness: Option<Witness>) {
        self.evidence.insert(name.to_owned(), (details.to_vec(), witness));
    }

    /// The time of a scheduled job came, or was missed.
    pub(super) fn turn(&mut self, name: &str, run: Option<u64>, kind: Kind, cause: &str) {
        self.write(Event {
            service: Some(name.to_owned()),
            run,
            cause: Some(cause.to_owned()),
            ..Event::new(kind)
        });
    }

    /// Something happened to the ecosystem as a whole.
    pub(super) fn note(&mut self, kind: Kind, cause: Option<&str>) {
        self.write(Event {
            cause: cause.map(str::to_owned),
            ..Event::new(kind)
        });
    }

    fn write(&mut self, mut event: Event) {
        event.ts = events::time_of(super::stamp::now_usec());
        let Ok(text) = serde_json::to_string(&event) else {
            return;
        };
        let text = self.shown(text);
        let call = Call::Append {
            log: self.log.clone(),
            lines: format!("{} stdout F {text}\n", event.ts),
        };
        // Without a keeper this is the end of the supervisor, too.
        self.last = self.keeper.send(call, &[]).ok();
    }

    /// Waits until all that was told is in the file; no longer than the keeper waits for the disk.
    pub(super) async fn settle(&mut self) {
        let Some(last) = self.last.take() else { return };
        if let Ok(What::Failed { causes, .. }) = last.await
            && !std::mem::replace(&mut self.complained, true)
        {
            tell(&format!(
                "cannot write `{}`: {}",
                self.log.path.display(),
                causes.join(": ")
            ));
        }
    }
}
