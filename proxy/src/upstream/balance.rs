//! Which of several endpoints is next. Pure but for counters: no lock, nothing
//! allocated.
//!
//! Round robin is the smooth weighted one, whose sequence is worked out when
//! the pool changes; a consistent hash is the highest of random weights
//! (rendezvous hashing), by which a key moves only when its endpoint goes or
//! another comes to outbid it; least connections is the less busy of two.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// In which order targets of these weights take their turns.
pub fn smooth_sequence(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights
        .iter()
        .copied()
        .fold(0, greatest_common_divisor)
        .max(1);
    let weights = weights.iter().map(|weight| i64::from(weight / divisor));
    let mut standing: Vec<(i64, i64)> = weights.map(|weight| (weight, 0)).collect();
    let total: i64 = standing.iter().map(|(weight, _)| weight).sum();
    let turns = (0..total).filter_map(|_| {
        for (weight, standing) in &mut standing {
            *standing += *weight;
        }
        // The first of equals.
        let most = standing.iter().map(|(_, standing)| *standing).max()?;
        let at = standing
            .iter()
            .position(|(_, standing)| *standing == most)?;
        standing.get_mut(at)?.1 -= total;
        u16::try_from(at).ok()
    });
    turns.collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}

/// Takes turns until one of `count` will do: so that what stands out is not
/// always its neighbour's burden. At last, whichever will do.
pub fn in_turn<T>(
    turn: &AtomicUsize,
    count: usize,
    mut take: impl FnMut(usize) -> Option<T>,
) -> Option<T> {
    for _ in 0..count {
        if let Some(taken) = take(turn.fetch_add(1, Relaxed).checked_rem(count)?) {
            return Some(taken);
        }
    }
    // Others have taken turns at the same time.
    (0..count).find_map(take)
}

/// What a candidate bids for a key: the highest gets it, each as often as its
/// weight says.
pub fn bid(key: u64, candidate: u64, weight: f64) -> f64 {
    // 53 bits, as many as a float has; never 0, whose logarithm is none.
    let random = (scatter(key ^ candidate) >> 11) as f64 + 0.5;
    let uniform = random / (1_u64 << 53) as f64;
    weight / -uniform.ln()
}

/// FNV-1a, scattered: the same on every instance and after every start.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    scatter(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The last step of splitmix64: each bit of the result depends on all.
pub fn scatter(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_smooth_and_as_many_as_the_weights_say() {
        assert_eq!(*smooth_sequence(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*smooth_sequence(&[20, 20]), [0, 1]);
        assert_eq!(*smooth_sequence(&[7]), [0]);
        assert!(smooth_sequence(&[]).is_empty());
        let weights = [3, 100, 41];
        let sequence = smooth_sequence(&weights);
        for (target, weight) in weights.iter().enumerate() {
            let turns = sequence.iter().filter(|at| usize::from(**at) == target);
            assert_eq!(turns.count(), *weight as usize);
        }
    }

    #[test]
    fn what_is_out_is_no_burden_on_its_neighbour() {
        let turn = AtomicUsize::new(0);
        let mut taken = [0; 4];
        for _ in 0..300 {
            let at = in_turn(&turn, 4, |at| (at != 1).then_some(at)).unwrap();
            taken[at] += 1;
        }
        assert_eq!(taken, [100, 0, 100, 100]);
        assert_eq!(in_turn(&turn, 4, |_| None::<()>), None);
        assert_eq!(in_turn(&turn, 0, Some), None);
    }

    fn owner(key: u64, candidates: &[(u64, f64)]) -> usize {
        let bids = candidates.iter().map(|(id, weight)| bid(key, *id, *weight));
        let highest = bids
            .enumerate()
            .max_by(|one, other| one.1.total_cmp(&other.1));
        highest.unwrap().0
    }

    fn candidates(weights: &[f64]) -> Vec<(u64, f64)> {
        let ids = (0..).map(|at: u32| stable_hash(format!("10.0.0.{at}:80").as_bytes()));
        ids.zip(weights.iter().copied()).collect()
    }

    #[test]
    fn keys_are_shared_out_by_weight() {
        let candidates = candidates(&[1.0, 2.0, 1.0]);
        let mut owned = [0_u32; 3];
        for key in 0..40_000 {
            owned[owner(scatter(key), &candidates)] += 1;
        }
        for (owned, expected) in owned.iter().zip([10_000, 20_000, 10_000]) {
            assert!(owned.abs_diff(expected) < expected / 20, "{owned:?}");
        }
    }

    #[test]
    fn only_the_keys_of_what_goes_move() {
        let all = candidates(&[1.0; 5]);
        for key in (0..10_000).map(scatter) {
            let before = owner(key, &all);
            let after = owner(key, &all[..4]);
            assert!(before == 4 || before == after);
        }
    }

    #[test]
    fn a_key_has_the_same_owner_on_every_instance() {
        assert_eq!(stable_hash(b""), 14_087_677_454_934_409_008);
        let all = candidates(&[1.0; 5]);
        let owners: Vec<usize> = (0..8).map(|key| owner(scatter(key), &all)).collect();
        assert_eq!(owners, [1, 2, 2, 1, 1, 4, 1, 0]);
    }
}
