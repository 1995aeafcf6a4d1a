//! Sets and maps of address blocks (CIDR, RFC 4632), as sorted ranges: a
//! look-up is one binary search however many blocks there are.
//!
//! IPv4-mapped IPv6 (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2) is IPv4, in
//! blocks and in questions.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// Is an address inside of any block?
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CidrSet {
    v4: Box<[Range<u32, ()>]>,
    v6: Box<[Range<u128, ()>]>,
}

impl CidrSet {
    pub fn new(blocks: impl IntoIterator<Item = IpNet>) -> Self {
        let map = CidrMap::new(blocks.into_iter().map(|block| (block, ())));
        Self {
            v4: merged(&map.v4),
            v6: merged(&map.v6),
        }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => find(&self.v4, v4.to_bits()).is_some(),
            IpAddr::V6(v6) => find(&self.v6, v6.to_bits()).is_some(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// Blocks with a value each; the most specific block answers, the first one
/// among equals.
#[derive(Clone, Debug)]
pub struct CidrMap<T> {
    v4: Box<[Range<u32, u32>]>,
    v6: Box<[Range<u128, u32>]>,
    values: Box<[T]>,
}

impl<T> Default for CidrMap<T> {
    fn default() -> Self {
        Self {
            v4: Box::default(),
            v6: Box::default(),
            values: Box::default(),
        }
    }
}

impl<T> CidrMap<T> {
    pub fn new(blocks: impl IntoIterator<Item = (IpNet, T)>) -> Self {
        let (mut v4, mut v6, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (position, (block, value)) in (0..).zip(blocks) {
            values.push(value);
            match canonical(block) {
                IpNet::V4(net) => v4.push(Range {
                    first: net.network().to_bits(),
                    last: net.broadcast().to_bits(),
                    value: position,
                }),
                IpNet::V6(net) => v6.push(Range {
                    first: net.network().to_bits(),
                    last: net.broadcast().to_bits(),
                    value: position,
                }),
            }
        }
        Self {
            v4: disjoint(v4),
            v6: disjoint(v6),
            values: values.into(),
        }
    }

    pub fn get(&self, address: IpAddr) -> Option<&T> {
        let position = match address.to_canonical() {
            IpAddr::V4(v4) => find(&self.v4, v4.to_bits())?,
            IpAddr::V6(v6) => find(&self.v6, v6.to_bits())?,
        };
        self.values.get(usize::try_from(*position).ok()?)
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Addresses from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Range<A, V> {
    first: A,
    last: A,
    value: V,
}

/// An address as a number.
trait Bits: Copy + Ord {
    fn next(self) -> Option<Self>;
    fn previous(self) -> Option<Self>;
}

impl Bits for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Bits for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

fn find<A: Bits, V>(ranges: &[Range<A, V>], address: A) -> Option<&V> {
    let after = ranges.partition_point(|range| range.first <= address);
    let candidate = ranges.get(after.checked_sub(1)?)?;
    (address <= candidate.last).then_some(&candidate.value)
}

/// Blocks are nested or apart, never across each other: an outer block is cut
/// where inner ones begin, and goes on where they end.
fn disjoint<A: Bits>(mut blocks: Vec<Range<A, u32>>) -> Box<[Range<A, u32>]> {
    blocks.sort_by(|a, b| {
        a.first
            .cmp(&b.first)
            .then(b.last.cmp(&a.last))
            .then(a.value.cmp(&b.value))
    });
    blocks.dedup_by(|later, kept| later.first == kept.first && later.last == kept.last);
    let mut cut = Cut {
        done: Vec::with_capacity(blocks.len()),
        open: Vec::new(),
    };
    for block in blocks {
        cut.close_before(block.first);
        cut.interrupt(block.first);
        cut.open.push(block);
    }
    cut.close_all();
    cut.done.into()
}

struct Cut<A> {
    done: Vec<Range<A, u32>>,
    /// Outermost first; `first` is where the part not yet done begins.
    open: Vec<Range<A, u32>>,
}

impl<A: Bits> Cut<A> {
    fn close_before(&mut self, first: A) {
        while self.open.last().is_some_and(|inner| inner.last < first) {
            self.close_innermost();
        }
    }

    fn close_all(&mut self) {
        while !self.open.is_empty() {
            self.close_innermost();
        }
    }

    fn close_innermost(&mut self) {
        let Some(inner) = self.open.pop() else { return };
        if inner.first <= inner.last {
            self.done.push(inner);
        }
        let Some(next) = inner.last.next() else {
            // The last address there is: nothing remains of the outer ones.
            self.open.clear();
            return;
        };
        if let Some(outer) = self.open.last_mut() {
            outer.first = outer.first.max(next);
        }
    }

    fn interrupt(&mut self, first: A) {
        let Some(outer) = self.open.last() else {
            return;
        };
        if let Some(last) = first.previous()
            && outer.first <= last
        {
            self.done.push(Range {
                first: outer.first,
                last,
                value: outer.value,
            });
        }
    }
}

fn merged<A: Bits, V>(ranges: &[Range<A, V>]) -> Box<[Range<A, ()>]> {
    let mut merged: Vec<Range<A, ()>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(before) if before.last.next() == Some(range.first) => before.last = range.last,
            Some(_) | None => {
                merged.push(Range {
                    first: range.first,
                    last: range.last,
                    value: (),
                });
            }
        }
    }
    merged.into()
}

fn canonical(block: IpNet) -> IpNet {
    match block {
        IpNet::V6(net) if net.prefix_len() >= 96 => net
            .network()
            .to_ipv4_mapped()
            .and_then(|v4: Ipv4Addr| Ipv4Net::new(v4, net.prefix_len() - 96).ok())
            .map_or(block, IpNet::V4),
        IpNet::V4(_) | IpNet::V6(_) => block,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use ipnet::Ipv6Net;
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn contains_both_ends_of_a_block_and_nothing_beyond() {
        let set = CidrSet::new([net("10.1.2.0/24")]);
        assert!(set.contains(ip("10.1.2.0")));
        assert!(set.contains(ip("10.1.2.255")));
        assert!(!set.contains(ip("10.1.1.255")));
        assert!(!set.contains(ip("10.1.3.0")));
    }

    #[test]
    fn an_empty_set_contains_nothing() {
        let set = CidrSet::new([]);
        assert!(set.is_empty());
        assert!(!set.contains(ip("0.0.0.0")));
        assert!(!set.contains(ip("::")));
    }

    #[test]
    fn the_whole_address_space_is_a_block() {
        let set = CidrSet::new([net("0.0.0.0/0"), net("::/0")]);
        for text in ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff::ffff"] {
            assert!(set.contains(ip(text)), "{text}");
        }
    }

    #[test]
    fn every_ipv6_address_is_not_every_ipv4_address() {
        let set = CidrSet::new([net("::/0")]);
        assert!(!set.contains(ip("192.0.2.1")));
        assert!(!set.contains(ip("::ffff:192.0.2.1")));
    }

    #[test]
    fn a_mapped_ipv6_address_is_its_ipv4_address() {
        let set = CidrSet::new([net("192.0.2.0/24")]);
        assert!(set.contains(ip("::ffff:192.0.2.9")));
        let mapped = CidrSet::new([net("::ffff:192.0.2.0/120")]);
        assert!(mapped.contains(ip("192.0.2.9")));
        assert!(!mapped.contains(ip("192.0.3.9")));
    }

    #[test]
    fn the_most_specific_block_answers() {
        let map = CidrMap::new([
            (net("0.0.0.0/0"), "all"),
            (net("10.0.0.0/8"), "ten"),
            (net("10.1.0.0/16"), "ten-one"),
            (net("10.1.0.0/16"), "again"),
            (net("255.255.255.255/32"), "last"),
        ]);
        assert_eq!(map.get(ip("10.1.9.9")), Some(&"ten-one"));
        assert_eq!(map.get(ip("10.2.0.0")), Some(&"ten"));
        assert_eq!(map.get(ip("11.0.0.0")), Some(&"all"));
        assert_eq!(map.get(ip("255.255.255.255")), Some(&"last"));
        assert_eq!(map.get(ip("255.255.255.254")), Some(&"all"));
        assert_eq!(map.get(ip("::1")), None);
    }

    fn blocks() -> impl Strategy<Value = Vec<IpNet>> {
        // Few distinct leading bits, so that blocks nest and touch.
        let v4 = (0u32..64, 0u8..=32, any::<u32>()).prop_map(|(high, length, low)| {
            let bits = (high << 26) | (low & 0x3);
            IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(bits), length).unwrap())
        });
        let v6 = (0u128..8, 0u8..=128).prop_map(|(high, length)| {
            IpNet::V6(Ipv6Net::new(Ipv6Addr::from_bits(high << 125), length).unwrap())
        });
        proptest::collection::vec(prop_oneof![3 => v4, 1 => v6], 0..24)
    }

    /// Addresses at the edges of blocks, where mistakes are.
    fn edges(blocks: &[IpNet]) -> Vec<IpAddr> {
        let mut edges = vec![ip("0.0.0.0"), ip("255.255.255.255"), ip("::")];
        for block in blocks {
            edges.extend([block.network(), block.broadcast()]);
            match block {
                IpNet::V4(net) => edges.extend([
                    IpAddr::V4(Ipv4Addr::from_bits(net.network().to_bits().wrapping_sub(1))),
                    IpAddr::V4(Ipv4Addr::from_bits(
                        net.broadcast().to_bits().wrapping_add(1),
                    )),
                ]),
                IpNet::V6(net) => edges.extend([
                    IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits().wrapping_sub(1))),
                    IpAddr::V6(Ipv6Addr::from_bits(
                        net.broadcast().to_bits().wrapping_add(1),
                    )),
                ]),
            }
        }
        // A mapped address is IPv4 here and IPv6 to ipnet.
        edges
            .into_iter()
            .filter(|edge| edge.to_canonical() == *edge)
            .collect()
    }

    proptest! {
        #[test]
        fn a_set_agrees_with_a_linear_scan(blocks in blocks(), extra in any::<u32>()) {
            let set = CidrSet::new(blocks.clone());
            let mut asked = edges(&blocks);
            asked.push(IpAddr::V4(Ipv4Addr::from_bits(extra)));
            for address in asked {
                let expected = blocks.iter().any(|block| block.contains(&address));
                prop_assert_eq!(set.contains(address), expected, "{} in {:?}", address, blocks);
            }
        }

        #[test]
        fn a_map_gives_the_longest_prefix(blocks in blocks()) {
            let map = CidrMap::new(blocks.iter().copied().zip(0usize..));
            for address in edges(&blocks) {
                let longest = blocks
                    .iter()
                    .filter(|block| block.contains(&address))
                    .map(IpNet::prefix_len)
                    .max();
                let found = map.get(address).map(|at| blocks[*at]);
                prop_assert_eq!(found.map(|block| block.prefix_len()), longest);
                prop_assert!(found.is_none_or(|block| block.contains(&address)));
            }
        }
    }
}
