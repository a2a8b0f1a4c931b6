//! `inspect`: what holds a running service, read from the kernel; and the exposure of a systemd unit that would hold it so.

use super::{Context, privilege, ps, stats, wish};
use crate::cli;
use crate::error::Error;
use crate::inspect::{self, Inspection, score};

pub(super) fn run(context: &Context, arguments: &cli::InspectArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let wish = wish::load(context, None)?;
    let name = &arguments.service;
    wish::known(&wish, std::slice::from_ref(name))?;
    let rows = ps::living(&wish.desired.instance)?.ok_or_else(stats::not_running)?;
    let row = rows.into_iter().find(|row| row.name == *name);
    let (pid, seat, loosened) = row
        .and_then(|row| Some((row.pid?, row.seat(), row.notices)))
        .ok_or_else(|| Error::Failed(format!("{name} does not run; `pactown why {name}` shows why")))?;
    let instance = &wish.desired.instance;
    let found = inspect::rules(instance, name, &seat)
        .and_then(|rules| inspect::look(name, pid, &instance.cgroup(name), rules, loosened));
    let found = found.map_err(|error| {
        Error::Failed(format!(
            "{name} cannot be looked at: {error}; it may have ended just now"
        ))
    })?;
    if arguments.score {
        return show_score(context, &score::score(&found));
    }
    match context.json {
        true => context.output.json(&found),
        false => {
            context.output.table(&["WHAT", "IN FORCE"], rows_of(&found));
            mounts(context, &found);
            network(context, &found);
            Ok(())
        }
    }
}

fn show_score(context: &Context, score: &score::Score) -> Result<(), Error> {
    if context.json {
        return context.output.json(score);
    }
    context.output.line("[Service]");
    for setting in &score.settings {
        context.output.line(setting);
    }
    context.output.line("");
    let rows = score.exposed.iter();
    let rows = rows.map(|one| vec![one.setting.to_owned(), one.weight.to_string(), one.why.to_owned()]);
    context
        .output
        .table(&["NOT CLAIMED", "WEIGHT", "WHY"], rows.collect());
    context.output.line("");
    context.output.line(&format!("exposure {:.1}", score.exposure));
    Ok(())
}

fn rows_of(found: &Inspection) -> Vec<Vec<String>> {
    let namespaces: Vec<String> = found
        .namespaces
        .iter()
        .map(|(kind, one)| format!("{kind}{}", if one.shared { " (the host's)" } else { "" }))
        .collect();
    let map = |map: &[Vec<u32>]| {
        map.iter()
            .map(|line| format!("{line:?}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let sets = found
        .capabilities
        .iter()
        .map(|(name, mask)| format!("{}={mask:x}", name.trim_start_matches("Cap")));
    let limits = found.limits.iter().map(|(name, value)| format!("{name} {value}"));
    let rlimits = ["Max open files", "Max core file size", "Max locked memory"].iter();
    let rlimits = rlimits.filter_map(|name| {
        Some(format!(
            "{} {}",
            name.trim_start_matches("Max "),
            found.rlimits.get(*name)?.1
        ))
    });
    let descriptors = found
        .descriptors
        .iter()
        .map(|(number, what)| format!("{number}: {what}"));
    let row = |what: &str, value: String| vec![what.to_owned(), value];
    let mut rows = vec![
        row("pid on the host", found.pid.to_string()),
        row("namespaces", namespaces.join(", ")),
        row("uid map (inside, host, count)", map(&found.uid_map)),
        row("gid map (inside, host, count)", map(&found.gid_map)),
        row(
            "uid on the host",
            found.uids.first().map(ToString::to_string).unwrap_or_default(),
        ),
        row("capability sets", sets.collect::<Vec<_>>().join(" ")),
        row("no new privileges", yes(found.no_new_privileges)),
        row("seccomp filters", found.seccomp_filters.to_string()),
        row(
            "Landlock",
            found.landlock.map_or("not applied".to_owned(), |version| {
                format!("version {version}, entered at its start")
            }),
        ),
        row("limits", limits.collect::<Vec<_>>().join(", ")),
        row("rlimits", rlimits.collect::<Vec<_>>().join(", ")),
        row("descriptors", descriptors.collect::<Vec<_>>().join(", ")),
        row("links", found.links.join(", ")),
        row(
            "masked paths",
            format!("{}: {}", found.masked.len(), found.masked.join(" ")),
        ),
    ];
    rows.extend(found.loosened.iter().map(|line| row("loosened", line.clone())));
    rows
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn network(context: &Context, found: &Inspection) {
    let rows = found.network.iter().map(|one| {
        let packets = one.packets.map_or(String::new(), |packets| packets.to_string());
        vec![one.place.clone(), one.chain.clone(), one.rule.clone(), packets]
    });
    context.output.line("");
    context
        .output
        .table(&["NETWORK OF", "CHAIN", "RULE", "PACKETS"], rows.collect());
}

fn mounts(context: &Context, found: &Inspection) {
    let rows = found.mounts.iter();
    let rows = rows.map(|one| vec![one.target.clone(), one.kind.clone(), one.flags.join(",")]);
    context.output.line("");
    context.output.table(&["MOUNT", "TYPE", "FLAGS"], rows.collect());
}
