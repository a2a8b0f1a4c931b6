//! Tables → the kernel: nfnetlink batches, each one transaction (linux/netfilter/nf_tables.h).

pub(crate) mod batch;
mod expression;
mod kernel;
mod latch;
pub(crate) mod read;
mod set;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};

use crate::error::{During, Result};
use crate::ruleset::{Chain, Rule, Table};
use batch::{text, value};
use expression::{condition, expression, nested, number, string, verdict};
use kernel::*;

const NEW_TABLE: u8 = 0;
const GET_TABLE: u8 = 1;
const DELETE_TABLE: u8 = 2;
pub(crate) const NEW_CHAIN: u8 = 3;
const GET_CHAIN: u8 = 4;
const NEW_RULE: u8 = 6;
const GET_RULE: u8 = 7;
pub(crate) const DELETE_RULE: u8 = 8;

/// Families of tables that see IPv4 packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4 alone.
    Ip,
    /// IPv4 and IPv6.
    Inet,
}

/// A chain of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) family: Family,
    pub(crate) table: String,
    pub(crate) chain: String,
}

/// A base chain that filters what passes through the host, or one that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundChain {
    pub(crate) place: Place,
    /// It hooks into the way through.
    pub(crate) forwards: bool,
    /// What no rule accepts is dropped.
    pub(crate) drops: bool,
}

/// One operation of a batch.
struct Operation {
    family: Family,
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
                    self.commit(&latch::held(table))
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

    /// Every chain of both families.
    pub(crate) fn chains(&self) -> Result<Vec<FoundChain>> {
        let mut found = Vec::new();
        for family in [Family::Ip, Family::Inet] {
            let rows = self.dump(family, GET_CHAIN, Vec::new(), || {
                "list the nftables chains".to_owned()
            })?;
            found.extend(rows.iter().filter_map(|row| chain_of(family, row)));
        }
        Ok(found)
    }

    /// Inserts a rule at the head of somebody else's chain.
    pub(crate) fn insert(&self, place: &Place, rule: &Rule) -> io::Result<()> {
        let mut operation = new_rule(&place.table, &place.chain, rule);
        operation.family = place.family;
        operation.flags = NLM_F_REQUEST | NLM_F_CREATE;
        self.commit(&[operation])
    }

    /// Handles of the rules of a foreign chain that mention `needle` in their expressions (a link's name).
    pub(crate) fn mentioning(&self, place: &Place, needle: &str) -> Result<Vec<Vec<u8>>> {
        let of = vec![string(RULE_TABLE, &place.table), string(RULE_CHAIN, &place.chain)];
        let rows = self.dump(place.family, GET_RULE, of, || {
            format!("list the rules of `{place}`")
        })?;
        let mentions = |row: &&Vec<DefaultNla>| {
            let bytes = value(row, RULE_EXPRESSIONS).unwrap_or_default();
            bytes
                .windows(needle.len() + 1)
                .any(|window| window[..needle.len()] == *needle.as_bytes() && window[needle.len()] == 0)
        };
        let ours = |row: &&Vec<DefaultNla>| {
            text(row, RULE_TABLE).as_ref() == Some(&place.table)
                && text(row, RULE_CHAIN).as_ref() == Some(&place.chain)
        };
        let found = rows.iter().filter(ours).filter(mentions);
        Ok(found.filter_map(|row| value(row, RULE_HANDLE)).collect())
    }

    /// Removes those rules.
    pub(crate) fn remove_mentioning(&self, place: &Place, needle: &str) -> Result<()> {
        let handles = self.mentioning(place, needle)?;
        let operation = |handle: &Vec<u8>| Operation {
            family: place.family,
            kind: DELETE_RULE,
            flags: NLM_F_REQUEST,
            attributes: vec![
                string(RULE_TABLE, &place.table),
                string(RULE_CHAIN, &place.chain),
                DefaultNla::new(RULE_HANDLE, handle.clone()),
            ],
        };
        let operations: Vec<Operation> = handles.iter().map(operation).collect();
        if operations.is_empty() {
            return Ok(());
        }
        self.commit(&operations)
            .during(|| format!("remove our rules from `{place}`"))
    }

    fn commit(&self, operations: &[Operation]) -> io::Result<()> {
        batch::commit(self.open_socket(), operations)
    }

    fn dump(
        &self,
        family: Family,
        kind: u8,
        attributes: Vec<DefaultNla>,
        step: impl FnOnce() -> String,
    ) -> Result<Vec<Vec<DefaultNla>>> {
        batch::dump(self.open_socket(), family, kind, attributes).during(step)
    }
}

impl Drop for Session {
    /// Closing waits until the kernel has disposed of the transactions (`nft_rcv_nl_event`), a grace period of 10 ms and
    /// more. Nobody else has to.
    fn drop(&mut self) {
        let socket = self.socket.take();
        // Without a thread it is closed here.
        let _ = std::thread::Builder::new().spawn(move || drop(socket));
    }
}

impl std::fmt::Display for Place {
    /// As nft(8) says it.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = match self.family {
            Family::Ip => "ip",
            Family::Inet => "inet",
        };
        write!(out, "{family} {} {}", self.table, self.chain)
    }
}

fn chain_of(family: Family, row: &[DefaultNla]) -> Option<FoundChain> {
    let place = Place {
        family,
        table: text(row, CHAIN_TABLE)?,
        chain: text(row, CHAIN_NAME)?,
    };
    let hook = value(row, CHAIN_HOOK).map(|hook| batch::attributes_of(&hook));
    let hook = hook.and_then(|hook| batch::number(&hook, HOOK_HOOKNUM));
    Some(FoundChain {
        place,
        forwards: hook == Some(crate::ruleset::Hook::Forward as u32) && text(row, CHAIN_TYPE)? == "filter",
        drops: batch::number(row, CHAIN_POLICY) == Some(NF_DROP),
    })
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
    let mut attributes = vec![string(TABLE_NAME, name)];
    attributes.extend(flags.map(|flags| number(TABLE_FLAGS, flags)));
    Operation {
        family: Family::Ip,
        kind: NEW_TABLE,
        flags: NLM_F_REQUEST | NLM_F_CREATE,
        attributes,
    }
}

fn delete_table(name: &str) -> Operation {
    Operation {
        family: Family::Ip,
        kind: DELETE_TABLE,
        flags: NLM_F_REQUEST,
        attributes: vec![string(TABLE_NAME, name)],
    }
}

fn new_chain(table: &str, chain: &Chain) -> Operation {
    let hook = [
        number(HOOK_HOOKNUM, chain.hook as u32),
        DefaultNla::new(HOOK_PRIORITY, chain.priority.to_be_bytes().to_vec()),
    ];
    let attributes = vec![
        string(CHAIN_TABLE, table),
        string(CHAIN_NAME, chain.name),
        nested(CHAIN_HOOK, &hook),
        number(CHAIN_POLICY, NF_ACCEPT),
        string(CHAIN_TYPE, chain.kind),
    ];
    Operation {
        family: Family::Ip,
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
    raw_rule(table, chain, expressions)
}

fn raw_rule(table: &str, chain: &str, expressions: Vec<DefaultNla>) -> Operation {
    let attributes = vec![
        string(RULE_TABLE, table),
        string(RULE_CHAIN, chain),
        nested(RULE_EXPRESSIONS, &expressions),
    ];
    Operation {
        family: Family::Ip,
        kind: NEW_RULE,
        flags: NLM_F_REQUEST | NLM_F_CREATE | NLM_F_APPEND,
        attributes,
    }
}
