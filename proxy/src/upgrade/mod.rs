//! A new process takes the place of a running one, and no request notices.
//!
//! Both meet at a Unix socket of the running one, the *incumbent*. The
//! *successor* comes once it has checked its configuration; it gets the
//! listening sockets themselves, serves on them, and says so; only then does
//! the incumbent drain. Both accept in between, and what waits in the kernel's
//! queue waits on. Whatever fails before that word: the incumbent goes on.
//!
//! Pingora's own transfer ends the old process even where the new one got
//! nothing, and carries 32 sockets.

mod channel;
mod control;
mod incumbent;
pub mod notify;
mod successor;

pub use control::{Control, Place};
pub use incumbent::Incumbent;
pub use successor::{Succession, When};

/// One line a message. What either side does not know, it refuses.
mod word {
    /// Of the successor: hand over at once, or on SIGQUIT. The number is that
    /// of this protocol.
    pub const NOW: &str = "knoxcall-upgrade 1 now";
    pub const ON_QUIT: &str = "knoxcall-upgrade 1 quit";
    /// Of the successor: it serves.
    pub const READY: &str = "ready";
    /// Of the incumbent, with a socket each: a listening one; the one they meet
    /// at.
    pub const LISTENER: &str = "listener";
    pub const CONTROL: &str = "control";
    /// Of the incumbent: that was all of them; then its process id.
    pub const END: &str = "end ";
    /// Of the incumbent: it drains from here on.
    pub const YOURS: &str = "yours";
    /// Of the incumbent: then why not.
    pub const NO: &str = "no: ";
}
