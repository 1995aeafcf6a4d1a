//! WebSocket frames (RFC 6455, section 5.2) as they go by: where they begin and
//! end, and what of them may leave. Pure code: bytes in, bytes out.
//!
//! Nothing is refused: two ends that speak something else to each other are
//! followed as one stream.

mod frames;
mod guard;
#[cfg(test)]
mod tests;

pub use frames::{Frames, Head, Step, close_frame, masked_close_frame};
pub use guard::{MessageGuard, Uninspectable};

/// The ends of a WebSocket are going away (RFC 6455, section 7.4.1).
pub const GOING_AWAY: u16 = 1001;
/// What came is not what was agreed on.
pub const PROTOCOL_ERROR: u16 = 1002;
