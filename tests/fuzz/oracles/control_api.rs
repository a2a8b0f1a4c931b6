//! Any bytes on the control socket, from root, from the user who may look, and from somebody else: no panic, no fault of
//! the server's own, and nobody's request gets further than it may.

use pactown::control::fuzzing::{self, READER, Reached};

/// One connection; the last byte says whose.
pub(crate) fn check(bytes: &[u8]) {
    let Some((who, bytes)) = bytes.split_last() else {
        return;
    };
    let uid = [0, READER, 65_534][usize::from(*who) % 3];
    let (answer, reached) = fuzzing::converse(uid, bytes);
    let status = answer.strip_prefix(b"HTTP/1.").map(|rest| &rest[2..5]);
    // 503: what the loop says when it has gone, as it has here once it was asked.
    let fine = |status: &[u8]| status < b"500".as_slice() || status == b"503";
    assert!(
        answer.is_empty() || status.is_some_and(fine),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    match uid {
        0 => {}
        READER => assert!(reached.iter().all(|one| *one == Reached::Look)),
        _ => assert!(reached.is_empty()),
    }
}
