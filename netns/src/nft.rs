//! Tables → the kernel: nfnetlink batches, each one transaction (linux/netfilter/nf_tables.h). The only file that knows
//! how expressions are encoded.

pub(crate) mod batch;
pub(crate) mod read;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};

use crate::error::{During, Result};
use crate::request::{Subnet, Transport};
use crate::ruleset::{Action, Chain, Match, Rule, Table};
use batch::{text, value};

const NEW_TABLE: u8 = 0;
const GET_TABLE: u8 = 1;
const DELETE_TABLE: u8 = 2;
pub(crate) const NEW_CHAIN: u8 = 3;
const GET_CHAIN: u8 = 4;
const NEW_RULE: u8 = 6;
const GET_RULE: u8 = 7;
pub(crate) const DELETE_RULE: u8 = 8;
/// Registers of the virtual machine.
const REG_1: u32 = 1;
const REG_2: u32 = 2;
const REG_VERDICT: u32 = 0;

/// One operation of a batch.
struct Operation {
    kind: u8,
    flags: u16,
    attributes: Vec<DefaultNla>,
}

/// Flags of a table (linux/netfilter/nf_tables.h): only the socket that made it changes it, a flush of everything passes
/// it by; without the second, it ends with that socket. The second is known since Linux 6.9.
const OWNER: u32 = 1 << 1;
const PERSIST: u32 = 1 << 2;

/// Speaks for one namespace: that in which it was opened. Its tables of the owned kind are nobody else's as long as
/// the socket is open somewhere, here or in another process that got a duplicate.
pub(crate) struct Session {
    socket: Option<OwnedFd>,
}

impl Session {
    /// Opens a socket in the calling thread's namespace.
    pub(crate) fn open() -> Result<Self> {
        let socket = batch::open().during(|| "open an nftables socket".to_owned())?;
        Ok(Self::of(socket))
    }

    /// Goes on with a socket that another session had.
    pub(crate) fn of(socket: OwnedFd) -> Self {
        Self { socket: Some(socket) }
    }

    /// The socket, to be held by somebody else as well.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.open_socket().as_fd()
    }

    fn open_socket(&self) -> &OwnedFd {
        self.socket.as_ref().expect("open until it is dropped")
    }

    /// Puts `table` in the place of whatever has its name, in one transaction: no packet sees neither.
    pub(crate) fn replace(&self, table: &Table) -> Result<()> {
        let outcome = match table.owned {
            false => self.commit(&replacement(table, None)),
            true => match self.commit(&replacement(table, Some(OWNER | PERSIST))) {
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    self.commit(&replacement(table, Some(OWNER)))
                }
                other => other,
            },
        };
        outcome.during(|| format!("load the nftables table `{}`", table.name))
    }

    /// Removes a table. Already gone is success: it is made first, in the same transaction. One that belongs to a process
    /// which is just ending is waited for.
    pub(crate) fn delete(&self, table: &str) -> Result<()> {
        let end = Instant::now() + DYING;
        let remove = || self.commit(&[new_table(table, None), delete_table(table)]);
        let mut outcome = remove();
        // The kernel tells nobody when an owner lets go.
        while matches!(&outcome, Err(error) if error.raw_os_error() == Some(libc::EPERM))
            && Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(5));
            outcome = remove();
        }
        outcome.during(|| format!("delete the nftables table `{table}`"))
    }

    /// Inserts a rule at the head of somebody else's chain.
    pub(crate) fn insert(&self, table: &str, chain: &str, rule: &Rule) -> Result<()> {
        let mut operation = new_rule(table, chain, rule);
        operation.flags = NLM_F_REQUEST | NLM_F_CREATE;
        self.commit(&[operation])
            .during(|| format!("insert a rule into `{table} {chain}`"))
    }

    /// Handles of the rules of a foreign chain that mention `needle` in their expressions (a link's name).
    pub(crate) fn mentioning(&self, table: &str, chain: &str, needle: &str) -> Result<Vec<Vec<u8>>> {
        let of = vec![string(1, table), string(2, chain)];
        let rows = self.dump(GET_RULE, of, || format!("list the rules of `{table} {chain}`"))?;
        let mentions = |row: &&Vec<DefaultNla>| {
            let bytes = value(row, 4).unwrap_or_default();
            bytes
                .windows(needle.len() + 1)
                .any(|window| window[..needle.len()] == *needle.as_bytes() && window[needle.len()] == 0)
        };
        let ours = |row: &&Vec<DefaultNla>| {
            text(row, 1).as_deref() == Some(table) && text(row, 2).as_deref() == Some(chain)
        };
        let found = rows.iter().filter(ours).filter(mentions);
        Ok(found.filter_map(|row| value(row, 3)).collect())
    }

    /// Removes those rules.
    pub(crate) fn remove_mentioning(&self, table: &str, chain: &str, needle: &str) -> Result<()> {
        let handles = self.mentioning(table, chain, needle)?;
        let operation = |handle: &Vec<u8>| Operation {
            kind: DELETE_RULE,
            flags: NLM_F_REQUEST,
            attributes: vec![
                string(1, table),
                string(2, chain),
                DefaultNla::new(3, handle.clone()),
            ],
        };
        let operations: Vec<Operation> = handles.iter().map(operation).collect();
        if operations.is_empty() {
            return Ok(());
        }
        self.commit(&operations)
            .during(|| format!("remove our rules from `{table} {chain}`"))
    }

    fn commit(&self, operations: &[Operation]) -> io::Result<()> {
        batch::commit(self.open_socket(), operations)
    }

    fn dump(
        &self,
        kind: u8,
        attributes: Vec<DefaultNla>,
        step: impl FnOnce() -> String,
    ) -> Result<Vec<Vec<DefaultNla>>> {
        batch::dump(self.open_socket(), kind, attributes).during(step)
    }
}

impl Drop for Session {
    /// Closing waits until the kernel has disposed of the transactions (`nft_rcv_nl_event`), a grace period of 10 ms and
    /// more. Nobody else has to.
    fn drop(&mut self) {
        let socket = self.socket.take();
        std::thread::spawn(move || drop(socket));
    }
}

/// How long the owner of a table may take to end.
const DYING: Duration = Duration::from_secs(5);

/// Whatever has its name is removed; then it is made, with these flags.
fn replacement(table: &Table, flags: Option<u32>) -> Vec<Operation> {
    let mut operations = vec![
        new_table(&table.name, None),
        delete_table(&table.name),
        new_table(&table.name, flags),
    ];
    for chain in &table.chains {
        operations.push(new_chain(&table.name, chain));
        operations.extend(
            chain
                .rules
                .iter()
                .map(|rule| new_rule(&table.name, chain.name, rule)),
        );
    }
    operations
}

/// Without flags, a table that is there stays as it is, whoever owns it.
fn new_table(name: &str, flags: Option<u32>) -> Operation {
    let mut attributes = vec![string(1, name)];
    attributes.extend(flags.map(|flags| number(2, flags)));
    Operation {
        kind: NEW_TABLE,
        flags: NLM_F_REQUEST | NLM_F_CREATE,
        attributes,
    }
}

fn delete_table(name: &str) -> Operation {
    Operation {
        kind: DELETE_TABLE,
        flags: NLM_F_REQUEST,
        attributes: vec![string(1, name)],
    }
}

fn new_chain(table: &str, chain: &Chain) -> Operation {
    let hook = [
        number(1, chain.hook as u32),
        DefaultNla::new(2, chain.priority.to_be_bytes().to_vec()),
    ];
    let attributes = vec![
        string(1, table),
        string(3, chain.name),
        nested(4, &hook),
        number(5, 1),
        string(7, chain.kind),
    ];
    Operation {
        kind: NEW_CHAIN,
        flags: NLM_F_REQUEST | NLM_F_CREATE,
        attributes,
    }
}

fn new_rule(table: &str, chain: &str, rule: &Rule) -> Operation {
    let mut expressions: Vec<DefaultNla> = rule.matches.iter().flat_map(condition).collect();
    if rule.counted {
        expressions.push(expression("counter", &[]));
    }
    expressions.extend(verdict(rule.action));
    let attributes = vec![string(1, table), string(2, chain), nested(4, &expressions)];
    Operation {
        kind: NEW_RULE,
        flags: NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND,
        attributes,
    }
}

fn condition(condition: &Match) -> Vec<DefaultNla> {
    match condition {
        Match::From(name) => vec![meta(6), compare(true, &interface(name))],
        Match::NotFrom(name) => vec![meta(6), compare(false, &interface(name))],
        Match::Towards(name) => vec![meta(7), compare(true, &interface(name))],
        Match::NotTowards(name) => vec![meta(7), compare(false, &interface(name))],
        Match::Source(network) => address(12, *network),
        Match::Destination(network) => address(16, *network),
        Match::Protocol(transport) => vec![meta(16), compare(true, &[protocol(*transport)])],
        Match::Port(port) => vec![
            meta(16),
            compare(true, &[protocol(port.transport)]),
            payload(2, 2, 2),
            compare(true, &port.port.to_be_bytes()),
        ],
        // State and status are bit sets in host byte order: masked, then compared with zero.
        Match::Established => bits(0, 0b110),
        Match::Translated => bits(2, 1 << 5),
        Match::Local => vec![
            expression("fib", &[number(1, REG_1), number(2, 3), number(3, 2)]),
            compare(true, &2_u32.to_ne_bytes()),
        ],
        Match::EveryNth(count) => vec![
            expression("numgen", &[number(1, REG_1), number(2, *count), number(3, 0)]),
            compare(true, &0_u32.to_ne_bytes()),
        ],
    }
}

fn verdict(action: Action) -> Vec<DefaultNla> {
    match action {
        Action::Accept => vec![immediate_verdict(1)],
        Action::Drop => vec![immediate_verdict(0)],
        Action::Reset => vec![expression("reject", &[number(1, 1), DefaultNla::new(2, vec![0])])],
        Action::Unreachable => vec![expression("reject", &[number(1, 0), DefaultNla::new(2, vec![3])])],
        Action::Masquerade => vec![expression("masq", &[])],
        Action::Dnat(address, port) => vec![
            immediate(REG_1, &address.octets()),
            immediate(REG_2, &port.to_be_bytes()),
            expression(
                "nat",
                &[number(1, 1), number(2, 2), number(3, REG_1), number(5, REG_2)],
            ),
        ],
    }
}

fn protocol(transport: Transport) -> u8 {
    if transport == Transport::Tcp { 6 } else { 17 }
}

/// Interface names compare as 16 zero-padded bytes.
fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn address(offset: u32, network: Subnet) -> Vec<DefaultNla> {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(network.prefix))
        .unwrap_or(0)
        .to_be_bytes();
    let mut found = vec![payload(1, offset, 4)];
    if network.prefix < 32 {
        found.push(masked(&mask));
    }
    found.push(compare(true, &network.network.octets()));
    found
}

fn bits(key: u32, set: u32) -> Vec<DefaultNla> {
    let load = expression("ct", &[number(1, REG_1), number(2, key)]);
    vec![load, masked(&set.to_ne_bytes()), compare(false, &[0; 4])]
}

fn meta(key: u32) -> DefaultNla {
    expression("meta", &[number(1, REG_1), number(2, key)])
}

fn payload(base: u32, offset: u32, length: u32) -> DefaultNla {
    expression(
        "payload",
        &[
            number(1, REG_1),
            number(2, base),
            number(3, offset),
            number(4, length),
        ],
    )
}

fn masked(mask: &[u8; 4]) -> DefaultNla {
    let zero = data(5, &[0; 4]);
    expression(
        "bitwise",
        &[
            number(1, REG_1),
            number(2, REG_1),
            number(3, 4),
            data(4, mask),
            zero,
        ],
    )
}

fn compare(equal: bool, bytes: &[u8]) -> DefaultNla {
    expression(
        "cmp",
        &[number(1, REG_1), number(2, u32::from(!equal)), data(3, bytes)],
    )
}

fn immediate(register: u32, bytes: &[u8]) -> DefaultNla {
    expression("immediate", &[number(1, register), data(2, bytes)])
}

fn immediate_verdict(code: u32) -> DefaultNla {
    let verdict = nested(2, &[number(1, code)]);
    expression("immediate", &[number(1, REG_VERDICT), nested(2, &[verdict])])
}

/// An element of a rule's list: its name and its own attributes.
fn expression(name: &str, attributes: &[DefaultNla]) -> DefaultNla {
    nested(1, &[string(1, name), nested(2, attributes)])
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn string(kind: u16, text: &str) -> DefaultNla {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    DefaultNla::new(kind, bytes)
}

fn data(kind: u16, bytes: &[u8]) -> DefaultNla {
    nested(kind, &[DefaultNla::new(1, bytes.to_vec())])
}

fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}
