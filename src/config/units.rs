//! Names of sandboxes: a service's own, or that of one of its replicas. Pure.

/// The name of one sandbox: its service's, or `<service>-<n>` for the nth replica. A DNS label too.
pub type UnitName = String;

/// Most replicas of one service.
pub const MOST_REPLICAS: u32 = 500;

/// The name of the sandbox of `service`, or of its replica with this number.
pub fn unit_name(service: &str, replica: Option<u32>) -> UnitName {
    match replica {
        None => service.to_owned(),
        Some(number) => format!("{service}-{number}"),
    }
}

/// The first of `names` that one of so many replicas of `service` would have too.
pub fn taken_by_replica<'a>(
    service: &str,
    count: u32,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let mut names = names.into_iter();
    names.find(|name| replica_number(service, name).is_some_and(|number| number <= count))
}

/// The number of the replica of `service` whose name is `unit`; `None` for any other name.
pub fn replica_number(service: &str, unit: &str) -> Option<u32> {
    let text = unit.strip_prefix(service)?.strip_prefix('-')?;
    let number = text.parse().ok().filter(|number| *number > 0)?;
    (unit_name(service, Some(number)) == unit).then_some(number)
}
