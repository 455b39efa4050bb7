//! Owns IP addresses and CIDR blocks as APISIX writes them. Must not know: what they are for.

use std::net::IpAddr;

use ipnet::IpNet;

/// An address, which is a block of one, or a CIDR block.
pub(crate) fn block(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(block) => Some(block.trunc()),
        Err(_) => text.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

/// Whether an address is in one of the blocks. An IPv4 address that came in on an IPv6 socket counts
/// as what it is.
pub(crate) fn within(blocks: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    blocks.iter().any(|block| block.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_blocks_are_both_blocks() {
        let blocks: Vec<_> = ["10.0.0.9/8", "::1", "192.168.1.1"]
            .into_iter()
            .map(|text| block(text).unwrap())
            .collect();
        for (ip, inside) in [
            ("10.200.0.1", true),
            ("::ffff:10.1.1.1", true),
            ("::1", true),
            ("192.168.1.1", true),
            ("192.168.1.2", false),
        ] {
            assert_eq!(within(&blocks, ip.parse().unwrap()), inside, "{ip}");
        }
        assert!(block("10.0.0.0/33").is_none());
        assert!(block("host").is_none());
    }
}
