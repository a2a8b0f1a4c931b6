//! Id maps of a sandbox's mounts: who owns on disk what it writes. Pure numbers.
//!
//! In a mount's map the container id is the id on disk and the host id the one that processes see through the mount
//! (OCI runtime spec, "Mounts", `uidMappings`; mount_setattr(2)). Rules:
//!
//! * 0 on disk stays 0, because overlayfs works as root in its work directory;
//! * the service's own id is the invoking user's on disk, or an id of the storage range when that user is root:
//!   a service must never be able to make files of root;
//! * its other ids are ids of the storage range on disk, the same whichever range of ids it runs under.

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder};

use super::{APP_ID, SandboxPlan, built};
use crate::identity::{RANGE_SIZE, STORAGE_BASE};

/// `size` ids from `container` on are the host's `host` and following.
pub(crate) fn mapping(container: u32, host: u32, size: u32) -> LinuxIdMapping {
    built(
        LinuxIdMappingBuilder::default()
            .container_id(container)
            .host_id(host)
            .size(size)
            .build(),
    )
}

/// The id inside that the service runs as.
pub(crate) fn inside(plan: &SandboxPlan) -> u32 {
    if plan.as_root { 0 } else { APP_ID }
}

/// The id on disk of what the service writes when the invoking user has the id `owner` (a uid or a gid).
pub fn on_disk(owner: u32) -> u32 {
    if owner == 0 { STORAGE_BASE + APP_ID } else { owner }
}

/// The map of directories that the service writes: upper, home and volumes.
pub(crate) fn storage(plan: &SandboxPlan, owner: u32) -> Vec<LinuxIdMapping> {
    let mut map = vec![mapping(0, 0, 1)];
    map.extend(owned(plan, on_disk(owner)));
    map
}

/// The map of a path of the host: what the invoking user owns (root included) is the service's own.
pub(crate) fn bind(plan: &SandboxPlan, owner: u32) -> Vec<LinuxIdMapping> {
    owned(plan, owner)
}

/// `disk` is the service's id; all other ids of the range are in the storage range, in order. The storage id that
/// `disk` occupies, if it is one, changes places with the one that the service's id would have had.
fn owned(plan: &SandboxPlan, disk: u32) -> Vec<LinuxIdMapping> {
    let own = inside(plan);
    let swapped = disk
        .checked_sub(STORAGE_BASE)
        .filter(|offset| *offset < RANGE_SIZE && *offset != own);
    let mut map = vec![mapping(disk, plan.ids.host(own), 1)];
    if let Some(offset) = swapped {
        map.push(mapping(STORAGE_BASE + own, plan.ids.host(offset), 1));
    }
    let mut cuts: Vec<u32> = swapped.into_iter().chain([own]).collect();
    cuts.sort_unstable();
    let mut next = 0;
    for cut in cuts.into_iter().chain([RANGE_SIZE]) {
        if cut > next {
            map.push(mapping(STORAGE_BASE + next, plan.ids.host(next), cut - next));
        }
        next = cut + 1;
    }
    map
}

#[cfg(test)]
mod tests {
    use super::super::tests::plan;
    use super::*;

    /// Every id on disk and every id seen appears once, and the whole range is covered.
    fn check(map: &[LinuxIdMapping], base: u32) {
        for (number, one) in map.iter().enumerate() {
            for other in &map[number + 1..] {
                let apart = |a: u32, b: u32| a + one.size() <= b || b + other.size() <= a;
                assert!(apart(one.container_id(), other.container_id()), "{map:?}");
                assert!(apart(one.host_id(), other.host_id()), "{map:?}");
            }
        }
        let ours = map
            .iter()
            .filter(|map| map.host_id() >= base)
            .map(|map| map.size())
            .sum::<u32>();
        assert_eq!(ours, RANGE_SIZE, "{map:?}");
    }

    #[test]
    fn maps_are_complete_and_without_overlap_for_every_kind_of_caller() {
        let mut plan = plan();
        for as_root in [false, true] {
            plan.as_root = as_root;
            for owner in [0, 1, 1000, 4242, 100_000] {
                check(&storage(&plan, owner), plan.ids.base);
                check(&bind(&plan, owner), plan.ids.base);
            }
        }
    }

    #[test]
    fn what_the_service_writes_is_the_callers_but_never_roots() {
        let mut plan = plan();
        let app = plan.ids.host(APP_ID);
        let find =
            |map: Vec<LinuxIdMapping>, seen| map.into_iter().find(|one| one.host_id() == seen).unwrap();
        assert_eq!(find(storage(&plan, 4242), app).container_id(), 4242);
        assert_eq!(find(storage(&plan, 0), app).container_id(), STORAGE_BASE + APP_ID);
        plan.as_root = true;
        assert_eq!(find(storage(&plan, 4242), plan.ids.base).container_id(), 4242);
        assert_eq!(
            find(storage(&plan, 0), plan.ids.base).container_id(),
            STORAGE_BASE + APP_ID
        );
    }
}
