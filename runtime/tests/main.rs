//! Tests of the runtime against the kernel: a real keeper, real sandboxes, seen from outside.

mod house;
mod keeper;
mod sandbox;
mod secrets;
mod support;
