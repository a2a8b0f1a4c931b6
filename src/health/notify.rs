//! What a service says of itself by sd_notify(3): datagrams on a socket of its own → ready, alive, a status text. Who
//! makes the socket and what follows is decided in [`crate::supervisor`].

use std::io;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

/// Where the socket's directory appears inside.
pub(crate) const INSIDE: &str = "/run/pactown";
/// The socket's name in that directory.
pub(crate) const NAME: &str = "notify";
/// The longest datagram that is understood, in bytes.
const LONGEST: usize = 4096;
/// How much of a status is kept, in characters.
const STATUS: usize = 200;
/// The pause after each datagram: a service that sends without end waits, and costs nobody else anything.
const PAUSE: Duration = Duration::from_millis(1);

/// One datagram, as far as it is understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Message {
    ready: bool,
    watchdog: bool,
    stopping: bool,
    extend: Option<Duration>,
    status: Option<String>,
}

/// What those outside of its health check may want to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// `STATUS=`, its last one.
    pub(crate) status: Option<String>,
    /// `EXTEND_TIMEOUT_USEC=`: how much longer it needs from the moment of the message; how many it has sent, and the last.
    pub(crate) extend: Option<(u32, Duration)>,
}

impl Message {
    /// Of what is too long, not text, or no assignment, nothing is understood.
    fn parse(datagram: &[u8]) -> Self {
        let mut message = Self::default();
        if datagram.len() > LONGEST {
            return message;
        }
        let text = std::str::from_utf8(datagram).unwrap_or_default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match (name, value) {
                ("READY", "1") => message.ready = true,
                ("WATCHDOG", "1") => message.watchdog = true,
                ("STOPPING", "1") => message.stopping = true,
                ("EXTEND_TIMEOUT_USEC", time) => {
                    message.extend = time.parse().ok().map(Duration::from_micros);
                }
                ("STATUS", status) => message.status = Some(shown(status)),
                _ => {}
            }
        }
        message
    }
}

/// The status as it can be printed.
fn shown(status: &str) -> String {
    let plain = status.chars().filter(|c| !c.is_control()).take(STATUS);
    plain.collect::<String>().trim().to_owned()
}

/// Everything that was said so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Heard {
    ready: bool,
    stopping: bool,
    overdue: bool,
    watchdog: Option<Instant>,
    said: Said,
}

impl Heard {
    fn take(&mut self, message: Message, now: Instant) {
        self.ready |= message.ready;
        self.stopping |= message.stopping;
        if message.watchdog {
            self.watchdog = Some(now);
        }
        if message.watchdog || message.ready {
            self.overdue = false;
        }
        if let Some(time) = message.extend {
            let count = self.said.extend.map_or(0, |(count, _)| count);
            self.said.extend = Some((count.wrapping_add(1), time));
        }
        if let Some(status) = message.status {
            self.said.status = (!status.is_empty()).then_some(status);
        }
    }
}

/// The socket of one run, read until this is dropped. There may be one only: each datagram comes once.
#[derive(Debug)]
pub(crate) struct Inbox {
    heard: Arc<watch::Sender<Heard>>,
    reader: AbortHandle,
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Inbox {
    /// Reads from a bound socket; in a runtime only.
    pub(crate) fn listen(socket: StdDatagram) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        let heard = Arc::new(watch::Sender::new(Heard::default()));
        let reader = tokio::spawn(read(socket, Arc::clone(&heard))).abort_handle();
        Ok(Self { heard, reader })
    }

    /// Waits for `READY=1`; after an overdue watchdog, for the next sign of life.
    pub(crate) async fn ready(&self) {
        let mut heard = self.heard.subscribe();
        let good = heard.wait_for(|heard| heard.ready && !heard.overdue).await;
        debug_assert!(good.is_ok(), "the sender lives as long as this");
    }

    /// Waits until a watchdog that has been heard is overdue by `limit`. One who says that it is stopping is excused.
    pub(crate) async fn silent(&self, limit: Duration) -> String {
        let mut heard = self.heard.subscribe();
        loop {
            let last = {
                let heard = heard.borrow_and_update();
                heard.watchdog.filter(|_| !heard.stopping)
            };
            let over = match last {
                None => {
                    let _ = heard.changed().await;
                    false
                }
                Some(last) => timeout_at(last + limit, heard.changed()).await.is_err(),
            };
            if over {
                self.heard.send_modify(|heard| heard.overdue = true);
                return format!("no WATCHDOG=1 for {} s", limit.as_secs_f64());
            }
        }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> Said {
        self.heard.borrow().said.clone()
    }

    /// Hands on what is said, each time that it differs, until this is dropped.
    pub(crate) async fn listen_to(&self, mut told: impl FnMut(Said)) {
        let mut heard = self.heard.subscribe();
        let mut last = Said::default();
        loop {
            let said = heard.borrow_and_update().said.clone();
            if said != last {
                last.clone_from(&said);
                told(said);
            }
            if heard.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn read(socket: UnixDatagram, heard: Arc<watch::Sender<Heard>>) {
    // One byte more than is understood: so a longer one is told from one that just fits.
    let mut buffer = vec![0; LONGEST + 1];
    while let Ok(length) = socket.recv(&mut buffer).await {
        let message = Message::parse(&buffer[..length]);
        heard.send_modify(|heard| heard.take(message, Instant::now()));
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Message {
        Message::parse(text.as_bytes())
    }

    #[test]
    fn what_is_understood() {
        let message = parse("READY=1\nSTATUS=Accepting \x1b[1mconnections\nMAINPID=5\nX\n=\nWATCHDOG=1");
        assert!(message.ready && message.watchdog && !message.stopping);
        assert_eq!(message.status.as_deref(), Some("Accepting [1mconnections"));
        assert!(parse("STOPPING=1").stopping);
        let extend = |text: &str| parse(text).extend;
        assert_eq!(
            extend("EXTEND_TIMEOUT_USEC=1500000"),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            (extend("EXTEND_TIMEOUT_USEC=-1"), extend("EXTEND_TIMEOUT_USEC=")),
            (None, None)
        );
        for nothing in [
            "",
            "READY",
            "READY=0",
            "READY=",
            "ready=1",
            "WATCHDOG=trigger",
            "FDSTORE=1",
        ] {
            assert_eq!(parse(nothing), Message::default(), "{nothing}");
        }
        assert_eq!(Message::parse(b"READY=1\n\xff"), Message::default());
        assert_eq!(
            parse(&format!("READY=1\n{}", "x".repeat(LONGEST))),
            Message::default()
        );
        let long = parse(&format!("STATUS={}", "é".repeat(1000))).status;
        assert_eq!(long.map(|status| status.chars().count()), Some(STATUS));
    }

    /// An inbox, and the other end; time stands still but for what is waited for.
    fn run(test: impl AsyncFnOnce(Inbox, StdDatagram)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (here, there) = StdDatagram::pair().unwrap();
        runtime
            .unwrap()
            .block_on(async { test(Inbox::listen(here).unwrap(), there).await });
    }

    #[test]
    fn ready_is_heard_among_noise() {
        run(async |inbox, service| {
            service.send(&[0xff; 10_000]).unwrap();
            service.send(b"STATUS=warming up").unwrap();
            service.send(b"READY=1").unwrap();
            inbox.ready().await;
            assert_eq!(inbox.said().status.as_deref(), Some("warming up"));
        });
    }

    #[test]
    fn a_watchdog_is_missed_only_once_it_was_heard() {
        let limit = Duration::from_millis(60);
        run(async |inbox, service| {
            service.send(b"READY=1").unwrap();
            inbox.ready().await;
            let never = tokio::time::timeout(limit * 3, inbox.silent(limit)).await;
            assert!(never.is_err(), "it never promised anything");
            service.send(b"WATCHDOG=1").unwrap();
            assert_eq!(inbox.silent(limit).await, "no WATCHDOG=1 for 0.06 s");
            let still = tokio::time::timeout(limit, inbox.ready()).await;
            assert!(still.is_err(), "it is overdue");
            service.send(b"WATCHDOG=1").unwrap();
            inbox.ready().await;
            service.send(b"STOPPING=1").unwrap();
            let stopping = tokio::time::timeout(limit * 3, inbox.silent(limit)).await;
            assert!(stopping.is_err(), "it is about to end");
        });
    }
}
