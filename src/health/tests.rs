//! Probes against real sockets, well and badly behaved.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream as Stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::ecosystem::BodyMatch;

/// A sandbox that answers the same to everything.
struct Fixed;
impl Inside for Fixed {
    async fn run(&self, _: &[String]) -> Result<(), String> {
        Err("exited with code 2".to_owned())
    }
    async fn logged(&self, _: &str) -> Result<(), String> {
        std::future::pending().await
    }
    async fn notified(&self) -> Result<(), String> {
        std::future::pending().await
    }
    async fn silent(&self, limit: Duration) -> String {
        format!("silent for {limit:?}")
    }
    fn said(&self) -> Option<String> {
        Some("loading 5 %".to_owned())
    }
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn check(probe: Probe) -> HealthCheck {
    HealthCheck {
        interval: Duration::from_secs(1),
        ..HealthCheck::new(probe)
    }
}

fn http(port: u16) -> Probe {
    Probe::Http {
        path: "/health".to_owned(),
        port,
        expect: (200, 399),
        headers: Vec::new(),
        body: None,
    }
}

fn http_with(port: u16, wanted: &str) -> Probe {
    Probe::Http {
        path: "/health".to_owned(),
        port,
        expect: (200, 299),
        headers: vec![
            ("Host".to_owned(), "shop".to_owned()),
            ("X-Probe".to_owned(), "1".to_owned()),
        ],
        body: Some(BodyMatch::Contains(wanted.to_owned())),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

fn wait_for(check: &HealthCheck, limit: u64) -> Result<(), String> {
    run(async { until_healthy(check, LOCALHOST, &Fixed, Duration::from_millis(limit)).await })
}

fn wait(probe: Probe, limit: u64) -> Result<(), String> {
    wait_for(&check(probe), limit)
}

/// Hands each connection to `serve`, one after the other, with its number; returns the port.
fn server(mut serve: impl FnMut(Stream, usize) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            serve(stream, number);
        }
    });
    port
}

/// Answers every connection with this text.
fn answering(text: &'static str) -> u16 {
    server(move |mut stream, _| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(text.as_bytes());
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[test]
fn a_server_that_becomes_ready_is_seen_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(120));
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(OK.as_bytes());
    });
    let started = std::time::Instant::now();
    wait(http(port), 5000).unwrap();
    let elapsed = started.elapsed();
    assert!(elapsed < Duration::from_millis(250), "{elapsed:?}");
}

#[test]
fn the_last_answer_is_told() {
    let port = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    let told = wait(http(port), 100).unwrap_err();
    assert_eq!(told, format!("GET /health on port {port} answered 503"));
    let port = answering(OK);
    let told = wait(http_with(port, "ready"), 100).unwrap_err();
    let body = "its body begins with 'hello', without 'ready'";
    assert_eq!(told, format!("GET /health on port {port} answered 200, {body}"));
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
    let text = "listening".to_owned();
    let told = wait(Probe::Log { text }, 50).unwrap_err();
    assert_eq!(told, "a line with 'listening' in its output: it did not come");
    let told = wait(Probe::Notify { watchdog: false }, 50).unwrap_err();
    assert_eq!(
        told,
        "READY=1 on NOTIFY_SOCKET: it did not come; it says 'loading 5 %'"
    );
}

#[test]
fn the_request_is_as_it_was_written() {
    let (send, received) = std::sync::mpsc::channel();
    let port = server(move |mut stream, _| {
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).unwrap();
        let _ = send.send(String::from_utf8_lossy(&request[..length]).to_lowercase());
        let _ = stream.write_all(OK.as_bytes());
    });
    wait(http_with(port, "ell"), 2000).unwrap();
    let request = received.recv().unwrap();
    assert!(request.starts_with("get /health http/1.1\r\n"), "{request}");
    for header in ["host: shop\r\n", "x-probe: 1\r\n", "connection: close\r\n"] {
        assert_eq!(request.matches(header).count(), 1, "{header:?} in {request}");
    }
    assert_eq!(request.matches("host:").count(), 1, "{request}");
}

#[test]
fn a_redirect_is_an_answer_and_not_followed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let port = server(move |mut stream, _| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
    });
    wait(http(port), 2000).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// A check whose single probe may take 300 ms, asked once; how long that took.
fn once(probe: Probe) -> (Result<(), String>, Duration) {
    let check = HealthCheck {
        timeout: Duration::from_millis(300),
        ..check(probe)
    };
    let started = std::time::Instant::now();
    let answer = wait_for(&check, 310);
    (answer, started.elapsed())
}

#[track_caller]
fn assert_cut(port: u16) {
    let (answer, elapsed) = once(http_with(port, "never"));
    assert_eq!(
        answer.unwrap_err(),
        format!("GET /health on port {port}: no answer")
    );
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
}

#[test]
fn whoever_accepts_and_says_nothing_is_cut() {
    let mut kept = Vec::new();
    assert_cut(server(move |stream, _| kept.push(stream)));
}

#[test]
fn whoever_says_a_byte_now_and_then_is_cut() {
    let slowly = |text: &'static [u8]| {
        server(move |mut stream, _| {
            let _ = stream.read(&mut [0; 1024]);
            let mut bytes = text.iter().cycle();
            while stream.write_all(&[*bytes.next().unwrap()]).is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    assert_cut(slowly(b"HTTP/1.1 200 OK\r\nX: y\r\n"));
    let port = server(|mut stream, _| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_cut(port);
}

#[test]
fn of_an_endless_answer_a_little_is_read() {
    let written = Arc::new(AtomicUsize::new(0));
    let flood = |head: &'static str, part: &'static [u8]| {
        let count = Arc::clone(&written);
        server(move |mut stream, _| {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(head.as_bytes());
            while let Ok(length @ 1..) = stream.write(part) {
                count.fetch_add(length, Ordering::SeqCst);
            }
        })
    };
    let body = flood(
        "HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n",
        &[b'x'; 4096],
    );
    let (answer, elapsed) = once(http_with(body, "never"));
    let told = answer.unwrap_err();
    assert!(told.contains("answered 200, its body begins with 'xxx"), "{told}");
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    let (answer, _) = once(http_with(body, "xxx"));
    answer.unwrap();
    let headers = flood("HTTP/1.1 200 OK\r\n", b"a: b\r\n");
    let (answer, _) = once(http(headers));
    let told = answer.unwrap_err();
    assert!(
        told.contains("headers of its answer are too long") || told.contains("closed"),
        "{told}"
    );
    let one = flood("HTTP/1.1 200 OK\r\na: ", &[b'b'; 4096]);
    let (answer, _) = once(http(one));
    assert!(answer.is_err());
    // What the kernel buffers on both sides of a connection is some MiB at most.
    let total = written.load(Ordering::SeqCst);
    assert!(total < 256 << 20, "{total} bytes");
}

#[test]
fn what_is_not_http_is_said_to_be_so() {
    let port = answering("SSH-2.0-OpenSSH_9.6\r\n");
    let (answer, _) = once(http(port));
    assert_eq!(
        answer.unwrap_err(),
        format!("GET /health on port {port}: its answer is not HTTP")
    );
}

#[test]
fn whoever_speaks_first_is_no_http_server() {
    let port = server(|mut stream, _| {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let (answer, _) = once(http(port));
    let told = answer.unwrap_err();
    assert!(
        told.contains("is not HTTP") || told.contains("before it was asked"),
        "{told}"
    );
}

#[test]
fn a_connection_does_not_outlive_its_probe() {
    let (send, ended) = std::sync::mpsc::channel();
    let port = server(move |mut stream, _| {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let _ = send.send(());
    });
    run(async {
        let check = HealthCheck {
            timeout: Duration::from_millis(100),
            ..check(http(port))
        };
        let limit = Duration::from_millis(110);
        until_healthy(&check, LOCALHOST, &Fixed, limit).await.unwrap_err();
        let seen = tokio::task::spawn_blocking(move || ended.recv_timeout(Duration::from_secs(5)));
        seen.await.unwrap().expect("the server sees the end");
    });
}

/// A server that answers well except to connections with these numbers.
fn failing_at(bad: &'static [usize]) -> (u16, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let port = server(move |mut stream, number| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.read(&mut [0; 1024]);
        let answer: &[u8] = match bad.contains(&number) {
            true => b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
            false => OK.as_bytes(),
        };
        let _ = stream.write_all(answer);
    });
    (port, asked)
}

fn quick(probe: Probe, retries: u32, start_period: Duration) -> HealthCheck {
    HealthCheck {
        interval: Duration::from_millis(10),
        retries,
        start_period,
        ..HealthCheck::new(probe)
    }
}

#[test]
fn a_healthy_service_is_unhealthy_after_failures_in_a_row() {
    let (port, asked) = failing_at(&[1, 2, 4, 5, 6]);
    let check = quick(http(port), 3, Duration::ZERO);
    let told = run(until_unhealthy(&check, LOCALHOST, &Fixed, Duration::ZERO));
    assert_eq!(told, format!("GET /health on port {port} answered 500"));
    assert_eq!(
        asked.load(Ordering::SeqCst),
        7,
        "two failures and a success are none"
    );
    let recovered = run(until_healthy(&check, LOCALHOST, &Fixed, Duration::MAX));
    assert_eq!(recovered, Ok(()));
}

#[test]
fn failures_in_the_start_period_do_not_count() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let check = quick(Probe::Tcp { port: free }, 1, Duration::from_secs(5));
    let asked = |age| {
        run(async {
            let limit = Duration::from_millis(200);
            timeout(limit, until_unhealthy(&check, LOCALHOST, &Fixed, age)).await
        })
    };
    assert!(asked(Duration::ZERO).is_err(), "it is young");
    assert!(asked(Duration::from_secs(5)).is_ok());
}

#[test]
fn a_watchdog_has_all_its_retries_and_a_line_is_for_ever() {
    let check = quick(Probe::Notify { watchdog: true }, 3, Duration::ZERO);
    let told = run(until_unhealthy(&check, LOCALHOST, &Fixed, Duration::ZERO));
    assert_eq!(told, "silent for 30ms");
    let text = "ready".to_owned();
    let check = quick(Probe::Log { text }, 1, Duration::ZERO);
    let never = run(async {
        let limit = Duration::from_millis(50);
        timeout(limit, until_unhealthy(&check, LOCALHOST, &Fixed, Duration::ZERO)).await
    });
    assert!(never.is_err());
}

#[test]
fn pauses_grow_to_a_second() {
    let check = check(http(1));
    assert_eq!(pause(&check, Duration::ZERO), SHORTEST);
    assert_eq!(pause(&check, Duration::from_secs(3)), Duration::from_millis(300));
    assert_eq!(pause(&check, Duration::from_secs(60)), LONGEST);
}
