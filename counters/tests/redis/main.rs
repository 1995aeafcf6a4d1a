//! State that instances share in a real Redis. The tests start their own
//! servers; `redis-server` must be installed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "also in what tests call"
)]

mod limits;
mod nonces;
mod server;
