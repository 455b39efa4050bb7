//! Owns consistent hashing, point for point as nginx and lua-resty-balancer do it, so that a fleet
//! that moves to this proxy keeps its warm caches (`docs/apisix.md` §3.2). Must not know: endpoints.

use crate::upstream::turns::scaled;

/// Points for one unit of weight.
const POINTS_PER_WEIGHT: u64 = 160;

/// The ring: points in rising order, each with its owner.
#[derive(Debug)]
pub(super) struct Ring(Box<[(u32, u32)]>);

impl Ring {
    /// `members` are (id, weight), the id being host, nul, port. At most about `limit` points.
    pub(super) fn new<'m>(members: impl Iterator<Item = (&'m str, u32)>, limit: usize) -> Self {
        let (ids, weights): (Vec<&str>, Vec<u32>) = members.unzip();
        let units = (limit as u64 / POINTS_PER_WEIGHT).max(1);
        let weights = scaled(&weights, usize::try_from(units).unwrap_or(usize::MAX));
        let mut points = Vec::new();
        for ((owner, id), weight) in (0_u32..).zip(ids).zip(weights) {
            // The register after the id is not finished: each point goes on from it, with the
            // point before as four more bytes.
            let base = update(!0, id.as_bytes());
            let mut previous = 0_u32;
            for _ in 0..weight * POINTS_PER_WEIGHT {
                previous = !update(base, &previous.to_le_bytes());
                points.push((previous, owner));
            }
        }
        points.sort_unstable();
        Self(points.into())
    }

    /// Owners from the key's own onwards; one may come up more than once.
    pub(super) fn walk(&self, key: &str) -> impl Iterator<Item = u32> {
        let hash = !update(!0, key.as_bytes());
        // The owner is the greatest point that is not above the key; below all points, the first.
        let at = self.0.partition_point(|(point, _)| *point <= hash);
        let (before, after) = self.0.split_at(at.saturating_sub(1));
        after.iter().chain(before).map(|(_, owner)| *owner)
    }
}

/// CRC-32 (IEEE 802.3, reflected) of more bytes, on a register that is neither begun nor finished.
fn update(register: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(register, |register, byte| {
        let index = (register ^ u32::from(*byte)) & 0xff;
        TABLE[index as usize] ^ (register >> 8)
    })
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                0xedb8_8320 ^ (value >> 1)
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: usize = 1 << 20;

    fn ring(members: &[(&str, u32)]) -> Ring {
        Ring::new(members.iter().copied(), PLENTY)
    }

    /// The check value of CRC-32.
    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(!update(!0, b"123456789"), 0xcbf4_3926);
    }

    /// The first points of an id are crc(id + 0000), crc(id + that point), and so on: to go on from
    /// the unfinished register is to checksum the id and four bytes together.
    #[test]
    fn points_chain_as_in_nginx() {
        let ring = ring(&[("127.0.0.1\x001980", 1)]);
        assert_eq!(ring.0.len(), 160);
        let mut previous = 0_u32;
        for _ in 0..160 {
            let whole = [b"127.0.0.1\x001980".as_slice(), &previous.to_le_bytes()].concat();
            previous = !update(!0, &whole);
            assert!(ring.0.iter().any(|(point, _)| *point == previous));
        }
    }

    #[test]
    fn the_owner_is_the_greatest_point_not_above_the_key() {
        let ring = ring(&[("a\080", 1), ("b\080", 1), ("c\080", 2)]);
        for key in (0..1_000).map(|n| format!("key-{n}")) {
            let hash = !update(!0, key.as_bytes());
            let owner = ring.0.iter().rfind(|(point, _)| *point <= hash);
            let want = owner.or(ring.0.first()).map(|(_, owner)| *owner);
            assert_eq!(ring.walk(&key).next(), want, "{key}");
        }
    }

    #[test]
    fn taking_one_member_out_moves_only_its_keys() {
        let all = ring(&[("a\080", 1), ("b\080", 1), ("c\080", 1)]);
        let less = ring(&[("a\080", 1), ("b\080", 1)]);
        for key in (0..1_000).map(|n| format!("key-{n}")) {
            let before = all.walk(&key).next();
            if before != Some(2) {
                assert_eq!(less.walk(&key).next(), before, "{key}");
            }
        }
    }

    #[test]
    fn weights_are_divided_and_bounded() {
        assert_eq!(ring(&[("a", 10), ("b", 20)]).0.len(), 3 * 160);
        let bounded = Ring::new([("a", 1_000_000), ("b", 999_999)].into_iter(), 16_000);
        assert!(bounded.0.len() <= 16_000);
        assert_eq!(ring(&[]).walk("key").next(), None);
    }
}
