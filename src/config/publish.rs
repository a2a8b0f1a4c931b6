//! `ports` and `egress`: text entries → what is reachable from outside and what may be reached.

use std::net::{IpAddr, Ipv4Addr};

use super::ecosystem::{Egress, PortMapping};
use super::report::Report;
use super::scalars;
use super::tree::{Node, Value, shortened};

/// `ports:`.
pub(crate) fn ports(node: &Node, report: &Report) -> Vec<PortMapping> {
    const FORM: &str = "write '8080:80', '0.0.0.0:8080:80' or '5353:53/udp'";
    let mapping = |item: &Node| {
        let (Value::Text(text) | Value::Number(text)) = &item.value else {
            report.wrong("ports", "text or a port", item, FORM);
            return None;
        };
        match mapping(text) {
            Ok((host, host_port, port, udp)) => Some(PortMapping {
                host,
                host_port,
                port,
                udp,
                place: item.mark.place,
            }),
            Err(why) => {
                report.error(item.mark, format!("'{}' in 'ports' {why}", shortened(text)), FORM);
                None
            }
        }
    };
    report.items("ports", node).iter().filter_map(mapping).collect()
}

/// `[ADDRESS:]HOST:INSIDE[/tcp|/udp]`, or one number for both.
fn mapping(text: &str) -> Result<(IpAddr, u16, u16, bool), String> {
    let (rest, udp) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), false),
        Some((rest, "udp")) => (rest, true),
        Some((_, other)) => return Err(format!("has the unknown protocol '{}'", shortened(other))),
    };
    let port = |text: &str| {
        let bad = || format!("has '{}' for a port from 1 to 65535", shortened(text));
        scalars::port(text).ok_or_else(bad)
    };
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let Some((before, inside)) = rest.rsplit_once(':') else {
        let same = port(rest)?;
        return Ok((local, same, same, udp));
    };
    let (host, host_port) = match before.rsplit_once(':') {
        None => (local, before),
        Some((address, host_port)) => {
            let bare = address.strip_prefix('[').and_then(|bare| bare.strip_suffix(']'));
            let bad = |_| format!("has '{}' for an address", shortened(address));
            (bare.unwrap_or(address).parse().map_err(bad)?, host_port)
        }
    };
    Ok((host, port(host_port)?, port(inside)?, udp))
}

/// `egress:`.
pub(crate) fn egress(node: &Node, report: &Report) -> Egress {
    const FORM: &str = "write 'ADDRESS', 'ADDRESS/PREFIX' or 'ADDRESS:PORT', IPv4";
    if !matches!(node.value, Value::List(_)) {
        let expected = "'all', 'none' or a list";
        return match &node.value {
            Value::Text(text) if text == "all" => Egress::All,
            Value::Text(text) if text == "none" => Egress::None,
            _ => {
                report.wrong("egress", expected, node, "");
                Egress::None
            }
        };
    }
    let destination = |item: &Node| {
        let text = report.text("egress", item)?;
        match check_destination(text) {
            Ok(()) => Some(text.to_owned()),
            Err(why) => {
                report.error(
                    item.mark,
                    format!("'{}' in 'egress' {why}", shortened(text)),
                    FORM,
                );
                None
            }
        }
    };
    Egress::Only(
        report
            .items("egress", node)
            .iter()
            .filter_map(destination)
            .collect(),
    )
}

/// `ADDRESS[/PREFIX][:PORT]`.
fn check_destination(text: &str) -> Result<(), &'static str> {
    if text.matches(':').count() > 1 {
        return Err("is not IPv4");
    }
    let (network, port) = match text.split_once(':') {
        Some((network, port)) => (network, Some(port)),
        None => (text, None),
    };
    let (address, prefix) = match network.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (network, None),
    };
    if address.parse::<Ipv4Addr>().is_err() {
        return match address.contains(|c: char| c.is_ascii_alphabetic()) {
            true => Err("is a name: only addresses can be filtered"),
            false => Err("has no valid address"),
        };
    }
    let digits = |text: &str| text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if prefix.is_some_and(|text| !digits(text) || text.parse::<u8>().ok().is_none_or(|bits| bits > 32)) {
        return Err("has no valid prefix, 0 to 32");
    }
    if port.is_some_and(|text| scalars::port(text).is_none()) {
        return Err("has no valid port, 1 to 65535");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_mappings() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        assert_eq!(mapping("80"), Ok((local, 80, 80, false)));
        assert_eq!(mapping("8080:80"), Ok((local, 8080, 80, false)));
        assert_eq!(mapping("8080:80/tcp"), Ok((local, 8080, 80, false)));
        assert_eq!(mapping("53:5353/udp"), Ok((local, 53, 5353, true)));
        assert_eq!(mapping("0.0.0.0:8080:80"), Ok((any, 8080, 80, false)));
        assert_eq!(
            mapping("[::1]:8080:80"),
            Ok(("::1".parse().expect("address"), 8080, 80, false))
        );
        for text in [
            "",
            ":",
            "80:",
            ":80",
            "0",
            "0:80",
            "80:65536",
            "80/icmp",
            "x:1:2",
            "1:2:3:4",
            "80/udp/tcp",
            "-1",
        ] {
            assert!(mapping(text).is_err(), "{text}");
        }
    }

    #[test]
    fn destinations() {
        for text in ["10.0.0.1", "10.0.0.0/8", "10.0.0.1:443", "0.0.0.0/0:53"] {
            assert_eq!(check_destination(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "example.org",
            "::1",
            "10.0.0.1/33",
            "10.0.0.1/",
            "10.0.0.1:0",
            "10.0.0",
            "10.0.0.1:",
            "1.2.3.4:5/6",
        ] {
            assert!(check_destination(text).is_err(), "{text}");
        }
    }
}
