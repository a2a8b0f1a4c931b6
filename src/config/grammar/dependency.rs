//! The keys of a dependency, and how what comes from a registry is written.

use super::{Key, key};
use crate::config::schema::Shape;

/// How `from` is written.
pub(crate) const FROM_FORM: &str = "write [NAMESPACE/]NAME[@RANGE], such as acme/auth@^1.2";

/// An entry of `depends_on`; in the mapping form without `name`.
pub(crate) const DEPENDENCY: &[Key] = &[
    key("name", Shape::Text, "The service."),
    key("version", Shape::Version, "Its version.").or("\"*\""),
    key(
        "endpoint",
        Shape::Text,
        "The URL the dependent is given; {host} and {port} are filled in.",
    ),
    key("env_var", Shape::Text, "A further variable that holds the URL."),
    key(
        "condition",
        Shape::Choice(CONDITIONS),
        "When it counts as satisfied.",
    ),
    key("required", Shape::Bool, "false: its failure does not block.").or("true"),
    key(
        "restart",
        Shape::Bool,
        "true: start it again whenever the dependency is.",
    )
    .or("false"),
    key("port", Shape::Port, "Which of its ports the URL means."),
    key(
        "registry",
        Shape::Choice(&["local", "default"]),
        "default: when the file has no such service, it is that of the registry, in a version that 'version' accepts.",
    )
    .or("\"local\""),
];

/// The words for a condition: ours, then those of Compose.
pub(crate) const CONDITIONS: &[&str] = &[
    "started",
    "healthy",
    "completed",
    "service_started",
    "service_healthy",
    "service_completed_successfully",
];
