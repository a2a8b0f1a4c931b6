//! `security`, `devices` and `read_only`: exceptions from the isolation, each named by the user. Words in, values out.
//!
//! None of them makes a sandbox root of the host: capabilities count in its user namespace only, which owns neither its
//! mounts nor its network; devices through which the host's disks, memory or input could be reached are refused.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};

use super::ecosystem::{Device, Exceptions, Seccomp};
use super::grammar::SECURITY;
use super::report::did_you_mean;
use super::scalars;
use super::top::Context;
use super::tree::{Node, Value, shortened};

/// Capabilities that mean something in a user namespace that owns no other namespace (capabilities(7)).
const GIVEN: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_PTRACE",
];

/// The others, with what to do in their place.
const WITHHELD: &[(&str, &str)] = &[
    ("AUDIT_CONTROL", ""),
    ("AUDIT_READ", ""),
    ("AUDIT_WRITE", ""),
    ("BLOCK_SUSPEND", ""),
    ("BPF", ""),
    ("CHECKPOINT_RESTORE", ""),
    ("IPC_LOCK", ""),
    ("IPC_OWNER", ""),
    ("LEASE", ""),
    ("LINUX_IMMUTABLE", ""),
    ("MAC_ADMIN", ""),
    ("MAC_OVERRIDE", ""),
    ("MKNOD", "name the devices below 'devices'"),
    ("NET_ADMIN", ""),
    (
        "NET_BIND_SERVICE",
        "every service may listen on any port: take it out",
    ),
    ("NET_BROADCAST", ""),
    ("NET_RAW", "'ping' works without it: take it out"),
    ("PERFMON", ""),
    ("SETFCAP", ""),
    ("SYSLOG", ""),
    ("SYS_ADMIN", ""),
    ("SYS_BOOT", ""),
    ("SYS_MODULE", ""),
    ("SYS_NICE", ""),
    ("SYS_PACCT", ""),
    ("SYS_RAWIO", ""),
    ("SYS_RESOURCE", ""),
    ("SYS_TIME", ""),
    ("SYS_TTY_CONFIG", ""),
    ("WAKE_ALARM", ""),
];

/// Devices that lead to no disk, memory, packet filter or input of the host; `*` stands for any rest without a slash.
const DEVICES: &[&str] = &[
    "/dev/dri/*",
    "/dev/fuse",
    "/dev/gpiochip*",
    "/dev/hwrng",
    "/dev/i2c-*",
    "/dev/kfd",
    "/dev/kvm",
    "/dev/media*",
    "/dev/nvidia*",
    "/dev/snd/*",
    "/dev/spidev*",
    "/dev/ttyACM*",
    "/dev/ttyS*",
    "/dev/ttyUSB*",
    "/dev/video*",
];

/// The exceptions of a service.
pub(crate) fn exceptions(node: &Node, context: &Context) -> Exceptions {
    let report = context.report;
    let mut exceptions = Exceptions {
        devices: devices(node, context),
        ..Exceptions::default()
    };
    let read_only = node
        .get("read_only")
        .and_then(|value| report.boolean("read_only", value));
    exceptions.writable_root = read_only == Some(false);
    let Some(node) = node
        .get("security")
        .filter(|node| report.is_map("security", node))
    else {
        return exceptions;
    };
    report.check_keys(node, SECURITY, "'security'");
    exceptions.capabilities = capabilities(node, context);
    exceptions.seccomp = seccomp(node, context);
    let debug = node.get("debug").and_then(|value| report.boolean("debug", value));
    exceptions.debug = debug.unwrap_or(false);
    exceptions
}

fn capabilities(node: &Node, context: &Context) -> Vec<String> {
    let items = node
        .get("capabilities")
        .map_or(&[][..], |value| context.report.items("capabilities", value));
    let mut found: Vec<String> = items
        .iter()
        .filter_map(|item| capability(item, context))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn capability(item: &Node, context: &Context) -> Option<String> {
    let text = context.report.text("capabilities", item)?;
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name).to_owned();
    if GIVEN.contains(&name.as_str()) {
        return Some(name);
    }
    match WITHHELD.iter().find(|(known, _)| *known == name) {
        Some((_, instead)) => {
            let message =
                format!("the capability '{name}' cannot be given: what it is about belongs to the host");
            let help = match *instead {
                "" => format!("there are {}", GIVEN.join(", ")),
                instead => instead.to_owned(),
            };
            context.report.error(item.mark, message, help);
        }
        None => {
            let help = did_you_mean(&name, GIVEN.iter().copied());
            let help = help.unwrap_or_else(|| format!("there are {}", GIVEN.join(", ")));
            let message = format!("'{}' is not a capability", shortened(text));
            context.report.error(item.mark, message, help);
        }
    }
    None
}

fn seccomp(node: &Node, context: &Context) -> Seccomp {
    let Some(node) = node.get("seccomp") else {
        return Seccomp::Default;
    };
    let Some(text) = context.report.text("seccomp", node) else {
        return Seccomp::Default;
    };
    if text == "default" || text == "unconfined" {
        return if text == "default" {
            Seccomp::Default
        } else {
            Seccomp::Unconfined
        };
    }
    let path = scalars::path_from(context.directory, text);
    match (context.text_of)(&path).and_then(|profile| fit(&profile).map(|()| profile)) {
        Ok(profile) => Seccomp::File { path, profile },
        Err(why) => {
            let message = format!("the seccomp profile {} cannot be used: {why}", path.display());
            let help = "write 'default', 'unconfined', or the path of a profile as in the OCI runtime spec";
            context.report.error(node.mark, message, help);
            Seccomp::Default
        }
    }
}

/// Whether a profile is one that the runtime can carry out in full; else why not.
fn fit(text: &str) -> Result<(), String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let conditional = |rule: &serde_json::Value| {
        ["includes", "excludes"]
            .iter()
            .any(|key| rule[key].as_object().is_some_and(|object| !object.is_empty()))
    };
    let rules = value["syscalls"].as_array().map_or(&[][..], Vec::as_slice);
    if value.get("archMap").is_some() || rules.iter().any(conditional) {
        return Err(
            "it has rules that depend on the container ('archMap', 'includes', 'excludes')".to_owned(),
        );
    }
    let profile: LinuxSeccomp = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let answered = |action: LinuxSeccompAction| {
        matches!(
            action,
            LinuxSeccompAction::ScmpActNotify | LinuxSeccompAction::ScmpActTrace
        )
    };
    let actions = profile.syscalls().iter().flatten().map(|rule| rule.action());
    match actions
        .chain([profile.default_action()])
        .find(|action| answered(*action))
    {
        Some(action) => Err(format!("{action} needs somebody outside who answers")),
        None => Ok(()),
    }
}

fn devices(node: &Node, context: &Context) -> Vec<Device> {
    let items = node
        .get("devices")
        .map_or(&[][..], |value| context.report.items("devices", value));
    let mut found: Vec<Device> = Vec::new();
    for device in items.iter().filter_map(|item| device(item, context)) {
        match found.iter().find(|known| known.path == device.path) {
            Some(known) => {
                let line = known.place.line;
                let message = format!("'{}' is named twice in this service", device.path);
                let mark = super::report::Mark {
                    place: device.place,
                    length: 0,
                };
                context
                    .report
                    .error(mark, message, format!("the first one is in line {line}"));
            }
            None => found.push(device),
        }
    }
    found
}

/// `/dev/NAME[:ro|rw]`.
fn device(item: &Node, context: &Context) -> Option<Device> {
    const FORM: &str = "write '/dev/kvm', with ':ro' for read-only";
    let report = context.report;
    if !matches!(item.value, Value::Text(_)) {
        report.wrong("devices", "text", item, FORM);
        return None;
    }
    let text = report.text("devices", item)?;
    let (path, mode) = text.split_once(':').unwrap_or((text, "rw"));
    if !["ro", "rw"].contains(&mode) || !path.starts_with("/dev/") {
        report.error(
            item.mark,
            format!("'{}' in 'devices' is not understood", shortened(text)),
            FORM,
        );
        return None;
    }
    if !DEVICES.iter().any(|pattern| is_like(pattern, path)) {
        let message = format!(
            "the device '{}' cannot be given: it could reach past the sandbox",
            shortened(path)
        );
        report.error(item.mark, message, format!("there are {}", DEVICES.join(", ")));
        return None;
    }
    Some(Device {
        path: path.to_owned(),
        writable: mode == "rw",
        place: item.mark.place,
    })
}

fn is_like(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && !rest.contains('/') && rest != ".."),
        None => path == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pattern_of_devices_leads_elsewhere() {
        let allowed = |path: &str| DEVICES.iter().any(|pattern| is_like(pattern, path));
        for path in ["/dev/kvm", "/dev/dri/renderD128", "/dev/ttyUSB0"] {
            assert!(allowed(path), "{path}");
        }
        for path in [
            "/dev/mem",
            "/dev/sda",
            "/dev/dri/../mem",
            "/dev/dri/..",
            "/dev/dri/",
            "/dev/kvm/x",
            "/dev/kmsg",
        ] {
            assert!(!allowed(path), "{path}");
        }
    }

    #[test]
    fn a_profile_that_would_be_carried_out_in_part_is_refused() {
        assert_eq!(fit(r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#), Ok(()));
        for (text, why) in [
            ("{", "not JSON"),
            (r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#, "SCMP_ACT_MAYBE"),
            (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "answers"),
            (r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": []}"#, "archMap"),
            (
                r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}]}"#,
                "includes",
            ),
        ] {
            let said = fit(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn every_capability_of_the_kernel_is_given_or_withheld() {
        let mut names: Vec<&str> = GIVEN
            .iter()
            .copied()
            .chain(WITHHELD.iter().map(|(name, _)| *name))
            .collect();
        names.sort_unstable();
        names.dedup();
        // CAP_CHECKPOINT_RESTORE, 40, is the last (linux/capability.h).
        assert_eq!(names.len(), 41);
    }
}
