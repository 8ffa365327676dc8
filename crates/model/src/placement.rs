//! Which conductor serves a node when nobody works on it: rendezvous hashing, the same on every controller of every version.

use crate::NodeId;

/// FNV-1a over both, mixed so that the last bytes count in the high bits too.
fn weight(host: &str, node: NodeId) -> u64 {
    let mut hash = host
        .as_bytes()
        .iter()
        .chain(node.0.as_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The host among these that serves the node. A host that comes or goes moves only its own share.
pub fn owner<'a>(node: NodeId, hosts: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    hosts
        .into_iter()
        .max_by_key(|host| (weight(host, node), *host))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_are_even_and_only_a_lost_hosts_nodes_move() {
        let hosts = ["one", "two", "three"];
        let mut counts = [0usize; 3];
        for n in 0..3000u128 {
            let node = NodeId(uuid::Uuid::from_u128(n * 0x9e37_79b9_7f4a_7c15_f39c_c060));
            let with = owner(node, hosts).unwrap();
            counts[hosts.iter().position(|h| *h == with).unwrap()] += 1;
            let without = owner(node, hosts.into_iter().filter(|h| *h != "two")).unwrap();
            assert!(with == "two" || with == without);
        }
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
        assert_eq!(owner(NodeId::random(), []), None);
    }
}
