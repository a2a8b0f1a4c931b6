//! Numbers of the kernel's, by its names without their `NFTA_` and `NFT_` (linux/netfilter/nf_tables.h), for who writes rules
//! and who reads them.

// Attributes of tables, chains and rules.
pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_FLAGS: u16 = 2;
pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const HOOK_HOOKNUM: u16 = 1;
pub(super) const HOOK_PRIORITY: u16 = 2;
pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_HANDLE: u16 = 3;
pub(super) const RULE_EXPRESSIONS: u16 = 4;

// Attributes of sets and their elements.
pub(super) const SET_TABLE: u16 = 1;
pub(super) const SET_NAME: u16 = 2;
pub(super) const SET_FLAGS: u16 = 3;
pub(super) const SET_KEY_TYPE: u16 = 4;
pub(super) const SET_KEY_LEN: u16 = 5;
pub(super) const SET_DESC: u16 = 9;
pub(super) const SET_ID: u16 = 10;
pub(super) const SET_DESC_SIZE: u16 = 1;
/// Rules put elements in.
pub(super) const SET_EVAL: u32 = 1 << 5;
pub(super) const ELEM_LIST_TABLE: u16 = 1;
pub(super) const ELEM_LIST_SET: u16 = 2;
pub(super) const ELEM_LIST_ELEMENTS: u16 = 3;
pub(super) const ELEM_KEY: u16 = 1;
pub(super) const ELEM_EXPR: u16 = 7;

// Expressions: an element of a list has a name and attributes of its own.
pub(super) const LIST_ELEM: u16 = 1;
pub(super) const EXPR_NAME: u16 = 1;
pub(super) const EXPR_DATA: u16 = 2;
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_VERDICT: u16 = 2;
pub(super) const VERDICT_CODE: u16 = 1;

pub(super) const REG_VERDICT: u32 = 0;
pub(super) const REG_1: u32 = 1;
pub(super) const REG_2: u32 = 2;
/// The first of the registers of four bytes, which begins where the first register begins.
pub(super) const REG32_00: u32 = 8;

pub(super) const META_DREG: u16 = 1;
pub(super) const META_KEY: u16 = 2;
pub(super) const META_SREG: u16 = 3;
pub(super) const META_MARK: u32 = 3;
pub(super) const META_IIFNAME: u32 = 6;
pub(super) const META_OIFNAME: u32 = 7;
pub(super) const META_L4PROTO: u32 = 16;

pub(super) const PAYLOAD_DREG: u16 = 1;
pub(super) const PAYLOAD_BASE: u16 = 2;
pub(super) const PAYLOAD_OFFSET: u16 = 3;
pub(super) const PAYLOAD_LEN: u16 = 4;
pub(super) const NETWORK_HEADER: u32 = 1;
pub(super) const TRANSPORT_HEADER: u32 = 2;

pub(super) const CT_DREG: u16 = 1;
pub(super) const CT_KEY: u16 = 2;
pub(super) const CT_STATE: u32 = 0;
pub(super) const CT_STATUS: u32 = 2;

pub(super) const FIB_DREG: u16 = 1;
pub(super) const FIB_RESULT: u16 = 2;
pub(super) const FIB_FLAGS: u16 = 3;
pub(super) const FIB_RESULT_ADDRTYPE: u32 = 3;
pub(super) const FIB_F_DADDR: u32 = 1 << 1;

pub(super) const NG_DREG: u16 = 1;
pub(super) const NG_MODULUS: u16 = 2;
pub(super) const NG_TYPE: u16 = 3;
pub(super) const NG_INCREMENTAL: u32 = 0;

pub(super) const BITWISE_SREG: u16 = 1;
pub(super) const BITWISE_DREG: u16 = 2;
pub(super) const BITWISE_LEN: u16 = 3;
pub(super) const BITWISE_MASK: u16 = 4;
pub(super) const BITWISE_XOR: u16 = 5;

pub(super) const CMP_SREG: u16 = 1;
pub(super) const CMP_OP: u16 = 2;
pub(super) const CMP_DATA: u16 = 3;
pub(super) const CMP_EQ: u32 = 0;
pub(super) const CMP_NEQ: u32 = 1;

pub(super) const IMMEDIATE_DREG: u16 = 1;
pub(super) const IMMEDIATE_DATA: u16 = 2;

pub(super) const COUNTER_PACKETS: u16 = 2;

pub(super) const CONNLIMIT_COUNT: u16 = 1;
pub(super) const CONNLIMIT_FLAGS: u16 = 2;
/// Over, not up to.
pub(super) const CONNLIMIT_F_INV: u32 = 1;

pub(super) const DYNSET_SET_NAME: u16 = 1;
pub(super) const DYNSET_SET_ID: u16 = 2;
pub(super) const DYNSET_OP: u16 = 3;
pub(super) const DYNSET_SREG_KEY: u16 = 4;
pub(super) const DYNSET_EXPR: u16 = 7;
pub(super) const DYNSET_OP_ADD: u32 = 0;

pub(super) const REJECT_TYPE: u16 = 1;
pub(super) const REJECT_ICMP_CODE: u16 = 2;
pub(super) const REJECT_ICMP_UNREACH: u32 = 0;
pub(super) const REJECT_TCP_RST: u32 = 1;

pub(super) const NAT_TYPE: u16 = 1;
pub(super) const NAT_FAMILY: u16 = 2;
pub(super) const NAT_REG_ADDR_MIN: u16 = 3;
pub(super) const NAT_REG_PROTO_MIN: u16 = 5;
pub(super) const NAT_DNAT: u32 = 1;

// Verdicts, and the family of a translation (linux/netfilter.h).
pub(super) const NF_DROP: u32 = 0;
pub(super) const NF_ACCEPT: u32 = 1;
pub(super) const NFPROTO_IPV4: u32 = 2;

// What a connection is, as bit sets (linux/netfilter/nf_conntrack_common.h).
pub(super) const NEW: u32 = 1 << 3;
pub(super) const ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;
pub(super) const IPS_DST_NAT: u32 = 1 << 5;

/// A kind of address (linux/rtnetlink.h).
pub(super) const RTN_LOCAL: u32 = 2;

// Headers: protocols, and where an address or a port lies, in bytes (RFC 791, 792, 768, 9293).
pub(super) const IPPROTO_ICMP: u8 = 1;
pub(super) const IPPROTO_TCP: u8 = 6;
pub(super) const IPPROTO_UDP: u8 = 17;
pub(super) const IP_SOURCE: u32 = 12;
pub(super) const IP_DESTINATION: u32 = 16;
pub(super) const DESTINATION_PORT: u32 = 2;
/// The type is the first byte.
pub(super) const ICMP_TYPE: u32 = 0;
pub(super) const ICMP_ECHO: u8 = 8;
pub(super) const ICMP_PORT_UNREACH: u8 = 3;
