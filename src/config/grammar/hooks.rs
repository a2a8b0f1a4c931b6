//! Keys of `hooks`.

use super::{Key, key, later};
use crate::config::schema::Shape;

/// `hooks:`.
pub(crate) const HOOKS: &[Key] = &[
    key(
        "pre_start",
        Shape::Text,
        "Shell text that runs before each start of the run block; a service whose hook fails has failed.",
    ),
    later("post_start", &[], "Shell text that runs once it is ready."),
    later("pre_stop", &[], "Shell text that runs before its stop signal."),
];
