//! The logs of all sandboxes as the keeper has them: lines on their way to the log writer, and what is known of each log.
//!
//! Lines wait in pages of memory shared with the writer and stay there until it has answered, so that its death costs
//! none. While all pages are taken, services wait in their own writes. When the writer has not answered for longer than
//! [`PATIENCE`], nobody waits any more: what finds no page is dropped and counted, and told in the log later.

mod dispatch;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::book::{Book, End};
use crate::cri::{self, Cutter, Page, Time};
use crate::protocol::{LogFile, MAX_PACKET};
use crate::sys::SharedMemory;
use crate::wire;
use crate::writer::{self, LONGEST_ORDER, Order};

/// How long the disk may take to write one page until lines are dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes read in one turn of one stream, so that a flood starves nobody.
pub(super) const TURN: usize = 256 * 1024;
/// Bytes of lines that go to the writer at once: enough for the kernel to take big pages.
const BATCH: usize = 512 * 1024;
/// Bytes of a page: a batch is full once it has that many.
const PAGE: usize = (BATCH + cri::overshoot(TURN)).next_multiple_of(64 * 1024);
const PAGES: usize = 8;
/// Orders that the writer has at once: one that it works on, and the next.
const AHEAD: usize = 2;
/// Pause before a writer is started again that died young.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of lines of the keeper's own and of calls that may wait for a page, for each log, when more come: what comes at
/// once is taken whole, also when it alone is more.
const OWED: usize = 64 * 1024;
const _: () = assert!(OWED + MAX_PACKET <= PAGE, "what waits fits into one page");

/// All logs.
pub(super) struct Logs {
    memory: SharedMemory,
    /// Where they may lie.
    places: Vec<PathBuf>,
    free: Vec<usize>,
    writer: Option<Writer>,
    /// When the next writer is to be started.
    due: Option<Instant>,
    books: BTreeMap<u64, Book>,
    next: u64,
    /// In the order of writing; the first `sent` are with the writer.
    orders: VecDeque<(Order, Option<usize>)>,
    sent: usize,
    /// Since when the first order has been waiting.
    since: Instant,
    scratch: Vec<u8>,
}

struct Writer {
    pid: i32,
    socket: OwnedFd,
    started: Instant,
}

impl Logs {
    pub(super) fn new(places: Vec<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            places,
            memory: SharedMemory::new(PAGE * PAGES)?,
            // The last is taken first, and taken again while it is warm.
            free: (0..PAGES).collect(),
            writer: None,
            due: None,
            books: BTreeMap::new(),
            next: 0,
            orders: VecDeque::new(),
            sent: 0,
            since: Instant::now(),
            scratch: Vec::new(),
        })
    }

    /// Starts the writer; its answers come on what is returned.
    pub(super) fn start_writer(&mut self) -> io::Result<BorrowedFd<'_>> {
        self.due = Some(Instant::now() + PAUSE);
        let (pid, socket) = writer::start(&self.memory, &self.places)?;
        self.due = None;
        self.writer = Some(Writer {
            pid,
            socket,
            started: Instant::now(),
        });
        self.pump();
        self.socket().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Where answers come from.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.writer.as_ref().map(|writer| writer.socket.as_fd())
    }

    /// Takes note of a death; whether it was the writer. What it had answered counts; the rest its successor gets.
    pub(super) fn ended(&mut self, pid: i32) -> bool {
        let Some(writer) = self.writer.take_if(|writer| writer.pid == pid) else {
            return false;
        };
        while let Ok(Some((answer, _))) = wire::receive_small(&writer.socket, LONGEST_ORDER) {
            self.take_answer(answer);
        }
        let young = writer.started.elapsed() < PAUSE;
        self.due = Some(Instant::now() + if young { PAUSE } else { Duration::ZERO });
        self.sent = 0;
        self.books.values_mut().for_each(|book| book.open = false);
        true
    }

    /// Lets the writer finish, and waits for it as long as a disk may take. What hangs longer is left to itself: it writes
    /// what it has when the disk goes on, and ends.
    pub(super) fn end(&mut self) {
        for log in self.waiting() {
            self.order_what_waits(log);
        }
        self.send(usize::MAX);
        if let Some(Writer { pid, socket, .. }) = self.writer.take() {
            drop(socket);
            let pid = nix::unistd::Pid::from_raw(pid);
            let handle = rustix::process::Pid::from_raw(pid.as_raw())
                .map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()));
            if let Some(Ok(handle)) = handle {
                let mut ended = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut ended, PollTimeout::from(1000_u16));
            }
            let _ = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        }
    }

    /// Whether a writer must be started now.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }

    /// Time until something is to be done without an event.
    pub(super) fn wait(&self) -> Option<Duration> {
        let now = Instant::now();
        let patience = (!self.orders.is_empty())
            .then(|| self.since + PATIENCE)
            .filter(|end| *end > now);
        let next = patience.into_iter().chain(self.due).min();
        // Behind the moment, not at it: a timeout is cut to milliseconds.
        next.map(|next| next.saturating_duration_since(now) + Duration::from_millis(1))
    }

    /// Whether the disk has not answered for too long.
    pub(super) fn hangs(&self) -> bool {
        !self.orders.is_empty() && self.since.elapsed() > PATIENCE
    }

    /// Whether lines find room, or need none.
    pub(super) fn takes(&self) -> bool {
        !self.free.is_empty() || self.hangs()
    }

    /// Begins with a log; its first line is the keeper's.
    pub(super) fn open(&mut self, place: LogFile, note: &str) -> u64 {
        let number = self.open_silent(place);
        self.note(number, note);
        number
    }

    /// Begins with a log that has no line of the keeper's.
    pub(super) fn open_silent(&mut self, place: LogFile) -> u64 {
        let number = self.next;
        self.next += 1;
        self.books.insert(number, Book::new(place));
        number
    }

    /// Why a log could not be opened.
    pub(super) fn refused(&self, log: u64) -> Option<&str> {
        self.books.get(&log)?.refused.as_deref()
    }

    /// Whether all its lines are in the file, as far as the disk takes any.
    pub(super) fn is_written(&self, log: u64) -> bool {
        let written = |book: &Book| book.orders == 0 && !book.waits();
        self.hangs() || self.books.get(&log).is_none_or(written)
    }

    /// Nothing comes any more.
    pub(super) fn close(&mut self, log: u64) {
        if let Some(book) = self.books.get_mut(&log) {
            book.end = End::Asked;
            self.settle(log);
            self.pump();
        }
    }

    /// A line of the keeper's own, stream `system`.
    pub(super) fn note(&mut self, log: u64, text: &str) {
        let line = cri::note(&Time::now(), text);
        self.owe(log, &line, 0);
    }

    /// Whole lines of somebody else's; whether they are taken. While the disk hangs they are, to be counted as dropped.
    pub(super) fn give(&mut self, log: u64, lines: &[u8]) -> bool {
        if self.has_room(log, lines.len()) || self.hangs() {
            self.owe(log, lines, lines.len() as u64);
            return true;
        }
        false
    }

    /// Whether so many bytes of lines may wait, too.
    fn has_room(&self, log: u64, length: usize) -> bool {
        let owed = self.books.get(&log).map_or(0, |book| book.owed.0.len());
        owed <= OWED && owed + length <= PAGE
    }

    /// The end of a stream.
    pub(super) fn finish(&mut self, log: u64, cutter: &mut Cutter) {
        let held = cutter.held();
        let line = cutter.finish(&Time::now());
        if !line.is_empty() {
            self.owe(log, &line, held as u64);
        }
    }

    fn owe(&mut self, log: u64, lines: &[u8], service_bytes: u64) {
        let has_room = self.has_room(log, lines.len());
        let Some(book) = self.books.get_mut(&log) else {
            return;
        };
        if !has_room {
            book.missing += service_bytes;
            return;
        }
        book.owed.0.extend_from_slice(lines);
        book.owed.1 += service_bytes;
        self.settle(log);
        self.pump();
    }

    /// Orders what waits for a page: lines in one of their own, because those of the keeper are kept by a writer whose disk
    /// refuses; a mark of what was dropped; the end. What the disk hangs for goes on waiting.
    fn settle(&mut self, log: u64) {
        if !self.hangs() {
            self.order_what_waits(log);
        }
    }

    fn order_what_waits(&mut self, log: u64) {
        let Some(book) = self.books.get_mut(&log) else {
            return;
        };
        let mut order = Order::empty(log);
        let mut page = None;
        if !book.owed.0.is_empty() {
            let Some(free) = self.free.pop() else { return };
            let (lines, service_bytes) = std::mem::take(&mut book.owed);
            order.lines = free * PAGE..free * PAGE + lines.len();
            order.service_bytes = service_bytes;
            self.memory.part_mut(order.lines.clone()).copy_from_slice(&lines);
            page = Some(free);
        }
        order.missing = book.take_missing();
        order.close = book.end == End::Asked;
        if order.close {
            book.end = End::Ordered;
        }
        if page.is_some() || order.missing.is_some() || order.close {
            self.order(order, page);
        }
    }

    /// Takes what came from a stream; what is left of it when there are no pages. Nothing is left while the disk hangs.
    pub(super) fn append<'a>(&mut self, log: u64, cutter: &mut Cutter, input: &'a [u8]) -> &'a [u8] {
        let time = Time::now();
        let mut rest = input;
        self.settle(log);
        while !rest.is_empty() {
            if !self.open_page(log) {
                if !self.hangs() {
                    break;
                }
                rest = self.drop_lines(log, cutter, &time, rest);
                continue;
            }
            let Some((order, Some(page))) = self.orders.back_mut() else {
                break;
            };
            let start = *page * PAGE;
            let before = cutter.held() + rest.len();
            let filled = order.lines.len();
            let mut out = Page::new(self.memory.part_mut(start..start + PAGE), filled);
            rest = cutter.feed(&time, rest, &mut out, BATCH);
            order.lines = start..start + out.len();
            order.service_bytes += (before - cutter.held() - rest.len()) as u64;
            if order.lines.is_empty() {
                self.take_back();
            }
            self.pump();
        }
        rest
    }

    /// The last order has no line yet.
    fn take_back(&mut self) {
        if let Some((order, page)) = self.orders.pop_back() {
            self.free.extend(page);
            if let Some(book) = self.books.get_mut(&order.log) {
                book.orders -= 1;
                book.missing += order.missing.map_or(0, |(bytes, _)| bytes);
            }
        }
    }

    /// Whether the last order is a page of this log's that has room and was not sent.
    fn open_page(&mut self, log: u64) -> bool {
        let waits = self.orders.len() > self.sent;
        let fits = |order: &Order| order.log == log && order.service_bytes > 0 && order.lines.len() < BATCH;
        if waits && self.orders.back().is_some_and(|(order, _)| fits(order)) {
            return true;
        }
        let Some(page) = self.free.pop() else {
            return false;
        };
        let order = Order {
            lines: page * PAGE..page * PAGE,
            missing: self.books.get_mut(&log).and_then(Book::take_missing),
            ..Order::empty(log)
        };
        self.order(order, Some(page));
        true
    }

    fn drop_lines<'a>(&mut self, log: u64, cutter: &mut Cutter, time: &Time, input: &'a [u8]) -> &'a [u8] {
        self.scratch.resize(PAGE, 0);
        let before = cutter.held() + input.len();
        let rest = cutter.feed(time, input, &mut Page::new(&mut self.scratch, 0), BATCH);
        if let Some(book) = self.books.get_mut(&log) {
            book.missing += (before - cutter.held() - rest.len()) as u64;
        }
        rest
    }

    fn order(&mut self, order: Order, page: Option<usize>) {
        if self.orders.is_empty() {
            self.since = Instant::now();
        }
        if let Some(book) = self.books.get_mut(&order.log) {
            book.orders += 1;
        }
        self.orders.push_back((order, page));
    }
}
