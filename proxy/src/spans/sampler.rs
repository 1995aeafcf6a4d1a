//! Which of the traces that begin here are exported, told from the trace id
//! alone: its last 56 bits are random, and every instance comes to the same
//! answer (<https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/>).

/// As many random bits as a trace id is sure to have.
const BITS: u32 = 56;

/// Traces whose random bits are at least so much.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    threshold: u64,
}

impl Sampler {
    /// From 0, none, to 1, all.
    pub fn new(ratio: f64) -> Self {
        let rejected = (1.0 - ratio) * (1_u64 << BITS) as f64;
        // A float that is out of range becomes the nearest integer.
        let threshold = rejected as u64;
        Self { threshold }
    }

    pub fn takes(self, trace_id: u128) -> bool {
        let mask = (1 << BITS) - 1;
        (trace_id as u64 & mask) >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::edge::context::RequestId;

    /// Of a trace that begins here. An id of `Uuid::now_v7` would not do: it has
    /// a counter where the random bits are.
    fn trace_id() -> u128 {
        RequestId::at(SystemTime::now()).uuid().as_u128()
    }

    fn taken(ratio: f64, of: usize) -> usize {
        let sampler = Sampler::new(ratio);
        let ids = (0..of).map(|_| trace_id());
        ids.filter(|id| sampler.takes(*id)).count()
    }

    #[test]
    fn takes_all_or_none_at_the_ends() {
        assert_eq!(taken(1.0, 1000), 1000);
        assert_eq!(taken(0.0, 1000), 0);
    }

    #[test]
    fn takes_about_the_share_that_it_is_told() {
        // More than ten standard deviations on either side.
        let quarter = taken(0.25, 10_000);
        assert!((2_000..3_000).contains(&quarter), "{quarter}");
    }

    #[test]
    fn what_a_small_share_takes_a_larger_one_takes_as_well() {
        let (small, large) = (Sampler::new(0.1), Sampler::new(0.5));
        for _ in 0..1000 {
            let id = trace_id();
            assert!(!small.takes(id) || large.takes(id));
        }
    }
}
