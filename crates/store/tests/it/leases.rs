//! DHCP leases.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use bessemer_model::Timestamp;
use bessemer_store::Store;
use bessemer_store::testing::on_both;

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

#[tokio::test]
async fn never_the_same_address_twice() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let other = Store::open(&settings).await.unwrap();
        let now = Timestamp::now();
        // forty hosts ask twice each, of two controllers, for a range of thirty-two with two held back
        let asked = (0..80u32).map(|n| {
            let store = if n % 2 == 0 { &store } else { &other };
            async move {
                store
                    .lease_address(
                        "net",
                        mac(n / 2),
                        ip(10),
                        ip(41),
                        &[ip(11), ip(12)],
                        HOUR,
                        now,
                    )
                    .await
                    .unwrap()
            }
        });
        let leases = futures_util::future::join_all(asked).await;
        let mut given = HashSet::new();
        let mut hosts = HashSet::new();
        for lease in leases.into_iter().flatten() {
            assert!((ip(10)..=ip(41)).contains(&lease.address));
            assert!(lease.address != ip(11) && lease.address != ip(12));
            given.insert(lease.address);
            hosts.insert((lease.mac, lease.address));
        }
        // as many pairs as addresses: every host has its own
        assert_eq!((given.len(), hosts.len()), (30, 30));
    })
    .await;
}

#[tokio::test]
async fn renewed_expired_declined() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let start = Timestamp::now();
        let ask = async |n: u32, now: Timestamp| {
            store
                .lease_address("net", mac(n), ip(10), ip(12), &[], HOUR, now)
                .await
                .unwrap()
                .map(|lease| lease.address)
        };
        let at = |minutes: u64| start.after(Duration::from_secs(60 * minutes));
        assert_eq!(ask(1, at(0)).await, Some(ip(10)));
        assert_eq!(ask(2, at(1)).await, Some(ip(11)));
        assert_eq!(ask(3, at(2)).await, Some(ip(12)));
        assert_eq!(ask(4, at(3)).await, None);
        // renewed: keeps its address, expires later
        assert_eq!(ask(1, at(30)).await, Some(ip(10)));
        let lease = store.get_lease("net", mac(1)).await.unwrap().unwrap();
        assert_eq!(lease.expires_at, at(90));
        // 2 and 3 have expired, 2 longer ago
        assert_eq!(ask(4, at(70)).await, Some(ip(11)));
        assert!(store.get_lease("net", mac(2)).await.unwrap().is_none());
        assert_eq!(ask(2, at(70)).await, Some(ip(12)));
        assert_eq!(ask(5, at(70)).await, None);
        // given back
        store.release_lease("net", mac(1)).await.unwrap();
        store.release_lease("net", mac(1)).await.unwrap();
        assert_eq!(ask(5, at(70)).await, Some(ip(10)));
        // declined: the host gets another, nobody gets this one until then
        store
            .quarantine_address("net", ip(10), at(100))
            .await
            .unwrap();
        assert_eq!(ask(5, at(71)).await, None);
        store.release_lease("net", mac(4)).await.unwrap();
        assert_eq!(ask(5, at(71)).await, Some(ip(11)));
        assert_eq!(ask(6, at(101)).await, Some(ip(10)));
        // another network is another matter
        let elsewhere = store
            .lease_address("other", mac(1), ip(10), ip(12), &[], HOUR, at(0))
            .await
            .unwrap();
        assert_eq!(elsewhere.unwrap().address, ip(10));
        // the range has moved
        let moved = store
            .lease_address("net", mac(5), ip(20), ip(21), &[], HOUR, at(72))
            .await
            .unwrap();
        assert_eq!(moved.unwrap().address, ip(20));
    })
    .await;
}

#[tokio::test]
async fn leases_go_with_their_node() {
    on_both(async |settings| {
        let store = Store::open(&settings).await.unwrap();
        let node = stored(&store, "n").await;
        store.create_port(&port(node.id, mac(1))).await.unwrap();
        for n in [1, 2] {
            store
                .lease_address("net", mac(n), ip(10), ip(12), &[], HOUR, Timestamp::now())
                .await
                .unwrap();
        }
        store.delete_node(node.id).await.unwrap();
        assert!(store.get_lease("net", mac(1)).await.unwrap().is_none());
        assert!(store.get_lease("net", mac(2)).await.unwrap().is_some());
    })
    .await;
}
