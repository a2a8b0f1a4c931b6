//! Connections that have come and were not accepted yet, from a process's own table of sockets.

use std::fs;

/// proc_net(5): the state of a half-open connection, and that of a socket that listens.
const SYN_RECV: &str = "03";
const LISTEN: &str = "0A";

/// How many TCP connections wait to be accepted in the network namespace of process `pid`: half-open ones, and those in
/// the queues of sockets that listen. 0 when the process is gone.
pub fn waiting(pid: i32) -> usize {
    let tables = ["tcp", "tcp6"].map(|kind| format!("/proc/{pid}/net/{kind}"));
    let tables = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    tables.map(|table| count(&table)).sum()
}

/// Of a socket that listens, the kernel shows the length of its queue as that of what is to be read.
fn count(table: &str) -> usize {
    let row = |line: &str| {
        let mut columns = line.split_whitespace().skip(3);
        let state = columns.next()?;
        let queue = columns.next()?.split_once(':')?.1;
        match state {
            SYN_RECV => Some(1),
            LISTEN => usize::from_str_radix(queue, 16).ok(),
            _ => None,
        }
    };
    table.lines().skip(1).filter_map(row).sum()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_was_not_accepted_is_counted() {
        let table = "  sl  local_address rem_address   st tx_queue:rx_queue tr tm->when\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000\n   \
            1: 0100007F:1F90 0100007F:0050 03 00000000:00000000 01:00000010 00000000\n   \
            2: 0100007F:1F90 0100007F:0051 01 00000000:00000009 00:00000000 00000000\n";
        assert_eq!(count(table), 4);
        assert_eq!(count("garbage\nmore garbage\n"), 0);
    }

    #[test]
    fn a_queue_grows_and_empties() {
        let own = std::process::id().cast_signed();
        let before = waiting(own);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients = [0; 3].map(|_| TcpStream::connect(address).unwrap());
        assert!(waiting(own) >= before + 3);
        for _ in &clients {
            listener.accept().unwrap();
        }
        assert!(waiting(own) < before + 3);
    }
}
