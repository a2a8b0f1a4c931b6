//! Readiness probes: one question to a service, and when to ask again. What follows from the answer is decided in
//! [`crate::supervisor`].

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::config::ecosystem::{HealthCheck, Probe};

/// How much of an answer's body is read before the connection is closed, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// The shortest pause between two probes.
const SHORTEST: Duration = Duration::from_millis(10);
/// The shortest pause between two commands inside: they cost a process each.
const SHORTEST_COMMAND: Duration = Duration::from_millis(100);
/// The longest pause between two probes.
const LONGEST: Duration = Duration::from_secs(1);

/// Runs a command inside the sandbox that is probed.
pub(crate) trait Inside {
    /// `Ok` when it exits with 0, else one line about how it ended.
    fn run(&self, command: &[String]) -> impl Future<Output = Result<(), String>>;
}

/// Asks until the answer is good; `Err` with the last answer once `limit` is over. Death of the service is not seen
/// here: the caller drops the future.
pub(crate) async fn until_healthy(
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
            Err(_) if left >= check.timeout => last = format!("{}: no answer", question(&check.probe)),
            Err(_) => {}
        }
        sleep(pause(check, started.elapsed()).min(limit.saturating_sub(started.elapsed()))).await;
    }
}

/// The last answer, and whether `/` answers well where the path of the check does not: then the path is wrong.
async fn with_root(check: &HealthCheck, address: IpAddr, last: String) -> String {
    let Probe::Http { path, port, expect } = &check.probe else {
        return last;
    };
    if path == "/" || !last.contains(" answered ") {
        return last;
    }
    match timeout(check.timeout, get(SocketAddr::new(address, *port), "/")).await {
        Ok(Ok(status)) if (expect.0..=expect.1).contains(&status) => {
            format!("{last}; / answers {status}: wrong path?")
        }
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
    match probe {
        Probe::Http { path, port, expect } => {
            let status = get(SocketAddr::new(address, *port), path)
                .await
                .map_err(|cause| format!("{}: {cause}", question(probe)))?;
            if (expect.0..=expect.1).contains(&status) {
                Ok(())
            } else {
                Err(format!("{} answered {status}", question(probe)))
            }
        }
        Probe::Tcp { port } => TcpStream::connect((address, *port))
            .await
            .map(drop)
            .map_err(|error| format!("{}: {}", question(probe), words(&error))),
        Probe::Exec { command } => inside
            .run(command)
            .await
            .map_err(|cause| format!("{}: {cause}", question(probe))),
    }
}

fn question(probe: &Probe) -> String {
    match probe {
        Probe::Http { path, port, .. } => format!("GET {path} on port {port}"),
        Probe::Tcp { port } => format!("connection to port {port}"),
        Probe::Exec { command } => format!("`{}`", command.join(" ")),
    }
}

/// The status of `GET path`, without following redirects. The host is called `localhost`, which servers with a list
/// of allowed hosts accept.
async fn get(address: SocketAddr, path: &str) -> Result<u16, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| words(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .uri(path)
        .header("host", format!("localhost:{}", address.port()))
        .header("user-agent", "pactown-health")
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await;
    let status = match answer {
        Ok(answer) => {
            let status = answer.status().as_u16();
            // The body is read so that the server does not see a reset; too long a body is cut, which is fine.
            let _ = Limited::new(answer.into_body(), MAX_BODY).collect().await;
            Ok(status)
        }
        Err(error) => Err(error.to_string()),
    };
    connection.abort();
    status
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
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    struct Fails;
    impl Inside for Fails {
        async fn run(&self, _: &[String]) -> Result<(), String> {
            Err("exited with code 2".to_owned())
        }
    }

    fn check(probe: Probe) -> HealthCheck {
        HealthCheck {
            probe,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
        }
    }

    fn http(port: u16) -> Probe {
        Probe::Http {
            path: "/health".to_owned(),
            port,
            expect: (200, 399),
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(future)
    }

    fn wait(probe: Probe, limit: u64) -> Result<(), String> {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        run(async { until_healthy(&check(probe), localhost, &Fails, Duration::from_millis(limit)).await })
    }

    /// Answers every connection with `status` after `late`; returns the port.
    fn server(status: &'static str, late: Duration) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            std::thread::sleep(late);
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 1024]);
                let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            }
        });
        port
    }

    #[test]
    fn a_server_that_becomes_ready_is_seen_soon() {
        let port = server("200 OK", Duration::from_millis(120));
        let started = std::time::Instant::now();
        wait(http(port), 5000).unwrap();
        assert!(
            started.elapsed() < Duration::from_millis(250),
            "{:?}",
            started.elapsed()
        );
    }

    #[test]
    fn the_last_answer_is_told() {
        let port = server("503 Service Unavailable", Duration::ZERO);
        let told = wait(http(port), 100).unwrap_err();
        assert_eq!(told, format!("GET /health on port {port} answered 503"));
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let told = wait(Probe::Tcp { port: free }, 100).unwrap_err();
        assert_eq!(told, format!("connection to port {free}: connection refused"));
        let command = vec!["false".to_owned()];
        let told = wait(Probe::Exec { command }, 100).unwrap_err();
        assert_eq!(told, "`false`: exited with code 2");
    }

    #[test]
    fn pauses_grow_to_a_second() {
        let check = check(http(1));
        assert_eq!(pause(&check, Duration::ZERO), SHORTEST);
        assert_eq!(pause(&check, Duration::from_secs(3)), Duration::from_millis(300));
        assert_eq!(pause(&check, Duration::from_secs(60)), LONGEST);
    }
}
