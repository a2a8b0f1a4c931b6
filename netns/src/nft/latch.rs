//! The router's rules on kernels on which an owned table ends with its owner (before Linux 6.9).
//!
//! The router then must not pass everything for the moment that its sandboxes still have. A second table, which is nobody's
//! and stays, drops what the first has not marked.

use netlink_packet_core::DefaultNla;

use super::expression::{
    compare, condition, expression, immediate, immediate_verdict, meta, number, verdict,
};
use super::kernel::{META_KEY, META_MARK, META_SREG, NF_ACCEPT, REG_1, RULE_CHAIN};
use super::{NEW_RULE, OWNER, Operation, delete_table, new_chain, new_table, raw_rule, replacement};
use crate::nft::batch::text;
use crate::ruleset::{Action, Chain, Hook, OWN, PASSAGE, Rule, Table};

/// The mark of a packet that the router's rules have let pass; it is lost when the packet leaves the namespace.
const PASSED: u32 = 0x7061_6374;
/// The table that lets nothing else pass.
const LATCH: &str = "pactown_latch";

/// `table`, owned; the router's with its latch.
pub(super) fn held(table: &Table) -> Vec<Operation> {
    let mut operations = replacement(table, Some(OWNER));
    if table.name != OWN {
        return operations;
    }
    let is_passage = |operation: &&mut Operation| {
        operation.kind == NEW_RULE && text(&operation.attributes, RULE_CHAIN).as_deref() == Some(PASSAGE)
    };
    let rules = table.chains.iter().filter(|chain| chain.name == PASSAGE);
    let rules = rules.flat_map(|chain| &chain.rules);
    for (operation, rule) in operations.iter_mut().filter(is_passage).zip(rules) {
        if rule.action == Action::Accept {
            *operation = raw_rule(&table.name, PASSAGE, marking(rule));
        }
    }
    operations.extend(latch());
    operations
}

fn marking(rule: &Rule) -> Vec<DefaultNla> {
    let mut expressions: Vec<DefaultNla> = rule.matches.iter().flat_map(condition).collect();
    expressions.push(immediate(REG_1, &PASSED.to_ne_bytes()));
    expressions.push(expression(
        "meta",
        &[number(META_KEY, META_MARK), number(META_SREG, REG_1)],
    ));
    expressions.extend(verdict(Action::Accept));
    expressions
}

fn latch() -> Vec<Operation> {
    let chain = Chain {
        name: PASSAGE,
        kind: "filter",
        hook: Hook::Forward,
        priority: 10,
        rules: Vec::new(),
    };
    let passed = vec![
        meta(META_MARK),
        compare(true, &PASSED.to_ne_bytes()),
        immediate_verdict(NF_ACCEPT),
    ];
    vec![
        new_table(LATCH, None),
        delete_table(LATCH),
        new_table(LATCH, None),
        new_chain(LATCH, &chain),
        raw_rule(LATCH, PASSAGE, passed),
        raw_rule(LATCH, PASSAGE, verdict(Action::Drop)),
    ]
}
