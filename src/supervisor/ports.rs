//! Ports of the host for services: reserved by sockets that the keeper holds, moved or refused when taken.

use std::net::IpAddr;
use std::os::fd::AsFd;

use indexmap::IndexMap;
use pactown_netns::port::{self, Taken};
use pactown_netns::{HostPort, Transport};
use pactown_runtime::protocol::Call;

use super::keeper::Keeper;
use crate::config::ecosystem::ServiceName;
use crate::control::api::Published;
use crate::network::Wanted;
use crate::state;

/// How many ports after a taken one are tried.
const TRIES: u16 = 2000;

/// Ports of one service, with what the user should know about them.
pub(super) struct Reserved {
    /// The ports.
    pub(super) published: Vec<Published>,
    /// One line per port that moved.
    pub(super) notices: Vec<String>,
}

/// How to choose.
pub(super) struct Choice<'a> {
    /// This instance.
    pub(super) instance: &'a str,
    /// A named instance: leaves preferred ports to the default one.
    pub(super) modest: bool,
    /// A taken preferred port is an error.
    pub(super) strict: bool,
    /// Ports that other services of the ecosystem prefer: not taken in place of one that is not free.
    pub(super) preferred: &'a [HostPort],
    /// Ports that services of this instance have.
    pub(super) published: &'a IndexMap<ServiceName, Vec<Published>>,
}

/// Reserves what `service` wants; the keeper holds it until [`release`]. On failure nothing of it is held.
///
/// # Errors
/// A demanded port is taken: by whom; or the kernel refuses an address.
pub(super) fn reserve(
    keeper: &Keeper,
    service: &ServiceName,
    wanted: &[Wanted],
    choice: &Choice<'_>,
) -> Result<Reserved, String> {
    let mut descriptors = Vec::new();
    let mut reserved = Reserved {
        published: Vec::new(),
        notices: Vec::new(),
    };
    for one in wanted {
        let (port, sockets) = place(service, one, choice, &mut reserved.notices)?;
        descriptors.extend(sockets);
        reserved.published.push(Published {
            host: one.host,
            host_port: port.port,
            port: one.port,
            transport: port.transport.to_string(),
        });
    }
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    keeper
        .ask_blocking(Call::Hold { key: key(service) }, &borrowed)
        .map_err(|failure| failure.to_string())?;
    Ok(reserved)
}

/// Gives back what a service has; nothing is fine. Afterwards another one can have it.
pub(super) async fn release(keeper: &Keeper, service: &str) {
    let _ = keeper.ask(Call::Release { key: key(service) }).await;
}

fn key(service: &str) -> String {
    format!("ports:{service}")
}

type Place = (HostPort, Vec<std::os::fd::OwnedFd>);

/// The wanted port, or the next free one when the wish is no demand.
fn place(
    service: &str,
    wanted: &Wanted,
    choice: &Choice<'_>,
    notices: &mut Vec<String>,
) -> Result<Place, String> {
    let first = wanted.host_port;
    let demand = wanted.demand || choice.strict;
    if choice.modest && !demand {
        return next_free(wanted, choice).ok_or_else(|| none_free(service, first));
    }
    let holder = match port::reserve(wanted.host, first) {
        Ok(reservation) => return Ok((first, reservation.descriptors)),
        Err(Taken::Refused(error)) => {
            return Err(format!(
                "{service}: cannot publish on {}:{}: {error}",
                wanted.host, first.port
            ));
        }
        Err(Taken::By(holder)) => holder
            .map(|holder| holder.to_string())
            .or_else(|| sibling(choice.published, first, wanted.host))
            .or_else(|| other_instance(choice.instance, first, wanted.host))
            .unwrap_or_else(|| "a program that cannot be seen".to_owned()),
    };
    let taken = format!("{service}: port {} in use by {holder}", first.port);
    if wanted.demand {
        return Err(format!(
            "{taken}; `port:` instead of `ports:` takes the next free one"
        ));
    }
    if demand {
        return Err(taken);
    }
    let (port, sockets) = next_free(wanted, choice).ok_or_else(|| none_free(service, first))?;
    notices.push(format!(
        "{taken}; published on {}:{} instead",
        wanted.host, port.port
    ));
    Ok((port, sockets))
}

fn none_free(service: &str, first: HostPort) -> String {
    format!("{service}: no free port within {TRIES} after {}", first.port)
}

fn next_free(wanted: &Wanted, choice: &Choice<'_>) -> Option<Place> {
    let after = |step: u16| wanted.host_port.port.checked_add(step);
    (1..=TRIES).map_while(after).find_map(|port| {
        let candidate = HostPort {
            port,
            ..wanted.host_port
        };
        if choice.preferred.contains(&candidate) {
            return None;
        }
        let reservation = port::reserve(wanted.host, candidate).ok()?;
        Some((candidate, reservation.descriptors))
    })
}

/// The service of the same instance that has the port.
fn sibling(
    published: &IndexMap<ServiceName, Vec<Published>>,
    port: HostPort,
    host: IpAddr,
) -> Option<String> {
    let (name, _) = published
        .iter()
        .find(|(_, published)| published.iter().any(|one| is_at(one, port, host)))?;
    Some(format!("service '{name}'"))
}

/// The instance that has reserved the port: a socket that is bound and does not listen is in no table of `/proc`.
fn other_instance(own: &str, port: HostPort, host: IpAddr) -> Option<String> {
    let others = state::networks()
        .into_iter()
        .filter(|network| network.spec.instance != own);
    others.into_iter().find_map(|network| {
        let service = sibling(&network.published, port, host)?;
        Some(format!("{service} of the ecosystem '{}'", network.spec.instance))
    })
}

fn is_at(published: &Published, port: HostPort, host: IpAddr) -> bool {
    let overlap = published.host == host || published.host.is_unspecified() || host.is_unspecified();
    let udp = port.transport == Transport::Udp;
    published.host_port == port.port && (published.transport == "udp") == udp && overlap
}
