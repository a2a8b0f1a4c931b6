//! The end of an instance's network, from the kernel's own lists.

use std::fs;

use crate::error::{Collected, During, Result};
use crate::link::Links;
use crate::nft::Session;
use crate::request::NetworkSpec;
use crate::{failpoint, foreign, forwarding, namespace};

/// Removes everything that `rules` may.
pub(crate) fn remove(spec: &NetworkSpec, rules: &Session) -> Result<()> {
    let mut done = Collected::default();
    done.step(foreign::close(rules, &spec.uplink()));
    done.step(Links::open().and_then(|host| host.delete(&spec.uplink())));
    done.step(failpoint::hit("uplink-deleted").during(|| "delete the uplink".to_owned()));
    if rules.tables().is_ok_and(|tables| tables.contains(&spec.table())) {
        done.step(rules.delete(&spec.table()));
    }
    done.step(failpoint::hit("host-table-deleted").during(|| "delete the host's table".to_owned()));
    done.step(forwarding::release(spec));
    // A link in its place would lead to files of others.
    let own = fs::symlink_metadata(&spec.directory).is_ok_and(|it| it.is_dir());
    let entries = own.then(|| fs::read_dir(&spec.directory));
    for entry in entries.into_iter().flatten().flatten().flatten() {
        done.step(namespace::delete(&entry.path()));
    }
    done.finish()
}
