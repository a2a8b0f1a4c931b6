//! Tests of networks against the kernel. The host of each test is itself a network namespace; traffic is real; `ip` and
//! `nft` are asked what there is.

mod foreign;
mod host;
mod life;
mod spread;
mod traffic;
