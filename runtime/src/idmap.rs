//! Id maps of mounts: which a spec needs, and the host's numbers of ids inside.

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Spec};

use crate::mounts::{IdMap, Operation, What};

/// Every id map that the spec's mounts need, each once.
pub(crate) fn needed(spec: &Spec, operations: &[Operation]) -> Vec<IdMap> {
    let mut maps: Vec<IdMap> = Vec::new();
    let mut lower = None;
    for operation in operations {
        let map = match &operation.what {
            What::Bind { map: Some(map), .. } => map,
            What::Overlay(overlay) => match overlay.upper.as_ref().and_then(|upper| upper.map.as_ref()) {
                Some(map) => {
                    lower = lower_map(spec);
                    map
                }
                None => continue,
            },
            _ => continue,
        };
        if !maps.contains(map) {
            maps.push(map.clone());
        }
    }
    maps.extend(lower);
    maps
}

/// Lower layers belong to root on disk and to the process's user inside.
pub(crate) fn lower_map(spec: &Spec) -> Option<IdMap> {
    let linux = spec.linux().as_ref()?;
    let user = spec.process().as_ref()?.user();
    let one = |map: &Option<Vec<LinuxIdMapping>>, inside: u32| {
        let host = host_id(map, inside)?;
        LinuxIdMappingBuilder::default()
            .container_id(0_u32)
            .host_id(host)
            .size(1_u32)
            .build()
            .ok()
    };
    Some(IdMap {
        uids: vec![one(linux.uid_mappings(), user.uid())?],
        gids: vec![one(linux.gid_mappings(), user.gid())?],
    })
}

/// The host's number of an id inside.
pub(crate) fn host_id(map: &Option<Vec<LinuxIdMapping>>, inside: u32) -> Option<u32> {
    map.iter().flatten().find_map(|m| {
        let offset = inside.checked_sub(m.container_id())?;
        (offset < m.size()).then(|| m.host_id() + offset)
    })
}
