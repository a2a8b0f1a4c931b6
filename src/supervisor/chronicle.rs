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
use crate::events::decide::decide;
use crate::events::{self, Event, Kind, Reached, Used, Witness};
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
    /// What the runs have used whose end is about to be told.
    used: HashMap<ServiceName, Used>,
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
            used: HashMap::new(),
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
                (event.details, event.witness) = (details, witness);
            }
            if event.kind == Kind::Exited {
                event.used = self.used.remove(&row.name).map(Box::new);
            }
            self.write(event);
        }
    }

    /// What the run of `name` has used that has just ended; the event of its end takes it.
    pub(super) fn used(&mut self, name: &str, used: Used) {
        self.used.insert(name.to_owned(), used);
    }

    /// A limit was reached.
    pub(super) fn limit(&mut self, row: &ServiceStatus, cause: String) {
        self.write(Event {
            cause: Some(cause),
            ..Event::of(row, Kind::Limit)
        });
    }

    /// The ecosystem has ended, having used so much in all, and reached this.
    pub(super) fn closed(&mut self, used: Option<Used>, reached: Option<Vec<Reached>>) {
        self.write(Event {
            used: used.map(Box::new),
            reached,
            ..Event::new(Kind::Stopped)
        });
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
        let event = event.masked(|text| self.shown(text.to_owned()));
        let Ok(text) = serde_json::to_string(&event) else {
            return;
        };
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
