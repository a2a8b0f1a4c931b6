//! Health probes: one question to a service, when to ask again, and from when on its answers mean that it is healthy
//! or no longer. What follows from that is decided in [`crate::supervisor`].

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::config::ecosystem::{HealthCheck, Probe};

mod http;
pub(crate) mod notify;

/// The shortest pause between two probes.
const SHORTEST: Duration = Duration::from_millis(10);
/// The shortest pause between two commands inside: they cost a process each.
const SHORTEST_COMMAND: Duration = Duration::from_millis(100);
/// The longest pause between two probes of a service that is not healthy yet.
const LONGEST: Duration = Duration::from_secs(1);

/// What is asked inside the sandbox, or heard from it; one for each run of a service.
pub(crate) trait Inside {
    /// Runs a command. `Ok` when it exits with 0, else one line about how it ended.
    fn run(&self, command: &[String]) -> impl Future<Output = Result<(), String>>;

    /// Waits for a line of the present run's output that contains `text`; `Err` when that cannot be seen.
    fn logged(&self, text: &str) -> impl Future<Output = Result<(), String>>;

    /// Waits until the service has said that it is ready, and is not overdue; `Err` when that cannot be heard.
    fn notified(&self) -> impl Future<Output = Result<(), String>>;

    /// Waits until a service that has said `WATCHDOG=1` has not done so for `limit`; returns what is wrong.
    fn silent(&self, limit: Duration) -> impl Future<Output = String>;

    /// What the service said last about itself (`STATUS=`).
    fn said(&self) -> Option<String>;
}

/// Asks until the answer is good; `Err` with the last answer once `limit` is over. Death of the service is not seen
/// here: the caller drops the future. With [`Duration::MAX`] it waits for the recovery of an unhealthy service.
pub(crate) async fn until_healthy(
    check: &HealthCheck,
    address: IpAddr,
    inside: &impl Inside,
    limit: Duration,
) -> Result<(), String> {
    match &check.probe {
        Probe::Log { text } => heard(inside.logged(text), &check.probe, limit).await,
        Probe::Notify { .. } => {
            let heard = heard(inside.notified(), &check.probe, limit).await;
            heard.map_err(|answer| match inside.said() {
                Some(status) => format!("{answer}; it says '{status}'"),
                None => answer,
            })
        }
        _ => until_good(check, address, inside, limit).await,
    }
}

/// What comes by itself: nothing is asked.
async fn heard(
    event: impl Future<Output = Result<(), String>>,
    probe: &Probe,
    limit: Duration,
) -> Result<(), String> {
    match timeout(limit, event).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(cause)) => Err(format!("{}: {cause}", question(probe))),
        Err(_) => Err(format!("{}: it did not come", question(probe))),
    }
}

async fn until_good(
    check: &HealthCheck,
    address: IpAddr,
    inside: &impl Inside,
    limit: Duration,
) -> Result<(), String> {
    let started = Instant::now();
    let mut last = "it was never asked".to_owned();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(with_root(check, address, last).await);
        }
        match timeout(check.timeout.min(left), ask(&check.probe, address, inside)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(answer)) => last = answer,
            // A probe that the end of the whole time cut short says less than the one before it.
            Err(_) if left >= check.timeout => last = no_answer(&check.probe),
            Err(_) => {}
        }
        sleep(pause(check, started.elapsed()).min(limit.saturating_sub(started.elapsed()))).await;
    }
}

/// Asks a healthy service every `interval`; returns the last answer after `retries` failures in a row. `age` is how
/// long its process has run: what fails in its `start_period` does not count.
pub(crate) async fn until_unhealthy(
    check: &HealthCheck,
    address: IpAddr,
    inside: &impl Inside,
    age: Duration,
) -> String {
    match &check.probe {
        // A line that was written stays written.
        Probe::Log { .. } => std::future::pending().await,
        Probe::Notify { .. } => inside.silent(check.interval.saturating_mul(check.retries)).await,
        _ => until_bad(check, address, inside, age).await,
    }
}

async fn until_bad(check: &HealthCheck, address: IpAddr, inside: &impl Inside, age: Duration) -> String {
    let started = Instant::now();
    let mut failures = 0;
    loop {
        sleep(check.interval).await;
        let answer = timeout(check.timeout, ask(&check.probe, address, inside)).await;
        let failure = match answer {
            Ok(Ok(())) => {
                failures = 0;
                continue;
            }
            Ok(Err(answer)) => answer,
            Err(_) => no_answer(&check.probe),
        };
        if age + started.elapsed() < check.start_period {
            continue;
        }
        failures += 1;
        if failures >= check.retries {
            return failure;
        }
    }
}

/// The last answer, and whether `/` answers well where the path of the check does not: then the path is wrong.
async fn with_root(check: &HealthCheck, address: IpAddr, last: String) -> String {
    let Probe::Http {
        path, port, expect, ..
    } = &check.probe
    else {
        return last;
    };
    // Only a wrong status speaks of a wrong path.
    let status = last.rsplit(" answered ").next().map(str::parse::<u16>);
    if path == "/" || !matches!(status, Some(Ok(_))) {
        return last;
    }
    let wanted = http::Wanted {
        path: "/",
        headers: &[],
        expect: *expect,
        body: None,
    };
    match timeout(check.timeout, http::get(SocketAddr::new(address, *port), wanted)).await {
        Ok(Ok(())) => format!("{last}; / is answered well: wrong path?"),
        _ => last,
    }
}

/// The pause after a probe: a tenth of the time waited so far. A server that is ready after 120 ms is seen within
/// 12 ms, one that needs a minute is asked about a hundred times.
fn pause(check: &HealthCheck, waited: Duration) -> Duration {
    let shortest = match check.probe {
        Probe::Exec { .. } => SHORTEST_COMMAND,
        _ => SHORTEST,
    };
    let longest = check.interval.clamp(shortest, LONGEST.max(shortest));
    (waited / 10).clamp(shortest, longest)
}

/// One probe.
async fn ask(probe: &Probe, address: IpAddr, inside: &impl Inside) -> Result<(), String> {
    let answer = match probe {
        Probe::Http {
            path,
            port,
            expect,
            headers,
            body,
        } => {
            let wanted = http::Wanted {
                path,
                headers,
                expect: *expect,
                body: body.as_ref(),
            };
            return match http::get(SocketAddr::new(address, *port), wanted).await {
                Ok(()) => Ok(()),
                Err(http::Fault::Lost(cause)) => Err(format!("{}: {cause}", question(probe))),
                Err(http::Fault::Wrong(answer)) => Err(format!("{} {answer}", question(probe))),
            };
        }
        Probe::Tcp { port } => {
            let connection = TcpStream::connect((address, *port)).await;
            connection.map(drop).map_err(|error| words(&error))
        }
        Probe::Exec { command } => inside.run(command).await,
        Probe::Log { text } => inside.logged(text).await,
        Probe::Notify { .. } => inside.notified().await,
    };
    answer.map_err(|cause| format!("{}: {cause}", question(probe)))
}

fn question(probe: &Probe) -> String {
    match probe {
        Probe::Http { path, port, .. } => format!("GET {path} on port {port}"),
        Probe::Tcp { port } => format!("connection to port {port}"),
        Probe::Exec { command } => format!("`{}`", command.join(" ")),
        Probe::Log { text } => format!("a line with '{text}' in its output"),
        Probe::Notify { .. } => "READY=1 on NOTIFY_SOCKET".to_owned(),
    }
}

fn no_answer(probe: &Probe) -> String {
    format!("{}: no answer", question(probe))
}

/// The error without its number.
fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to the sandbox".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
