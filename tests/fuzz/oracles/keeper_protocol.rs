//! Any packet on the keeper's socket: no panic; what is understood as a request is the same after it was sent on.

/// One packet.
pub(crate) fn check(packet: &[u8]) {
    pactown_runtime::fuzzing::packet(packet);
}
