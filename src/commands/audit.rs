//! `audit`: what builds have asked for outside, and what services may and do reach.

use super::{Context, privilege, wish};
use crate::audit::{self, Audit, Built};
use crate::cli;
use crate::config::ecosystem::Egress;
use crate::error::Error;
use crate::events::Reached;
use crate::proxy::Contact;

pub(super) fn run(context: &Context, arguments: &cli::ConfigArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let wish = wish::load(context, arguments.config.as_deref())?;
    let audits = audit::of(&wish.desired);
    if context.json {
        return context.output.json(&audits);
    }
    for audit in &audits {
        for line in lines(audit) {
            context.output.line(&line);
        }
    }
    Ok(())
}

fn lines(audit: &Audit) -> Vec<String> {
    let service = &audit.service;
    let mut lines: Vec<String> = audit
        .build
        .iter()
        .map(|built| format!("build {service}: {}", build(built)))
        .collect();
    let egress = match &audit.run.egress {
        Egress::All => "may reach everything".to_owned(),
        Egress::None => "may reach nothing".to_owned(),
        Egress::Only(list) => format!("may reach {}", list.join(", ")),
    };
    let open = audit.run.open.iter().map(|one| {
        let times = if one.count > 1 {
            format!(" ({} times)", one.count)
        } else {
            String::new()
        };
        format!("{}:{}{times}", one.address, one.port)
    });
    let open: Vec<String> = open.collect();
    lines.push(match open.is_empty() {
        true => format!("run   {service}: {egress}; nothing is open"),
        false => format!("run   {service}: {egress}; open: {}", open.join(", ")),
    });
    lines.push(format!(
        "run   {service}: {}",
        reached(audit.run.reached.as_deref())
    ));
    lines
}

/// What was reached over all its runs.
fn reached(reached: Option<&[Reached]>) -> String {
    let Some(reached) = reached else {
        return "what it has reached was not recorded".to_owned();
    };
    let one = |one: &Reached| {
        let udp = if one.transport == "udp" { "/udp" } else { "" };
        format!("{}:{}{udp} ({})", one.address, one.port, times(one.count))
    };
    match reached.is_empty() {
        true => "has reached nothing".to_owned(),
        false => format!(
            "has reached {}",
            reached.iter().map(one).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

fn build(built: &Built) -> String {
    let contacts = match &built.contacts {
        None => return format!("{}: not recorded", built.layer),
        Some(contacts) if contacts.is_empty() => return format!("{}: nothing", built.layer),
        Some(contacts) => contacts,
    };
    let told: Vec<String> = contacts.iter().map(contact).collect();
    format!("{}: {}", built.layer, told.join(", "))
}

/// `name:443 (2 times, at 192.0.2.1)`, `name:443 (refused 3 times)`.
fn contact(contact: &Contact) -> String {
    let mut remarks = Vec::new();
    if contact.count > 0 {
        remarks.push(times(contact.count));
    }
    if !contact.addresses.is_empty() {
        let addresses: Vec<String> = contact.addresses.iter().map(ToString::to_string).collect();
        remarks.push(format!("at {}", addresses.join(" ")));
    } else if contact.count > 0 {
        remarks.push("not reached".to_owned());
    }
    if contact.denied > 0 {
        remarks.push(format!("refused {}", times(contact.denied)));
    }
    format!("{}:{} ({})", contact.host, contact.port, remarks.join(", "))
}
