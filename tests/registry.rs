//! The registry through the real program: its REST interface, its rules, its command line.

#[path = "registry/command.rs"]
mod command;
#[path = "registry/crash.rs"]
mod crash;
#[path = "registry/hostile.rs"]
mod hostile;
#[path = "registry/mirror.rs"]
mod mirror;
#[path = "registry/oci.rs"]
mod oci;
#[path = "registry/outside.rs"]
mod outside;
#[path = "registry/parts.rs"]
mod parts;
#[path = "registry/rest.rs"]
mod rest;
#[path = "registry/rules.rs"]
mod rules;
#[path = "registry/signed.rs"]
mod signed;
#[path = "registry/tls.rs"]
mod tls;
