//! DHCP leases: an address is never given to two hosts, which two unique indexes guard.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bessemer_model::{MacAddress, Timestamp};

use crate::failure::Failure;
use crate::sql::{Connection, args};
use crate::store::{Store, Wakes};
use crate::{DhcpLease, StoreError};

/// What a network may give.
struct Range {
    network: String,
    first: Ipv4Addr,
    last: Ipv4Addr,
    excluded: HashSet<Ipv4Addr>,
}

impl Range {
    fn holds(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address) && !self.excluded.contains(&address)
    }
}

async fn load(
    connection: &mut Connection,
    network: &str,
    mac: MacAddress,
) -> Result<Option<DhcpLease>, Failure> {
    connection
        .row(
            "SELECT network, address, mac, expires_at FROM dhcp_lease WHERE network = $1 AND mac = $2",
            args![network, mac],
            |row| {
                let mut cursor = row.cursor();
                Ok(DhcpLease {
                    network: cursor.take()?,
                    address: cursor.take()?,
                    mac: cursor.take()?,
                    expires_at: cursor.take()?,
                })
            },
        )
        .await
}

async fn quarantined(
    connection: &mut Connection,
    network: &str,
    now: Timestamp,
) -> Result<HashSet<Ipv4Addr>, Failure> {
    let rows = connection
        .rows(
            "SELECT address FROM dhcp_quarantine WHERE network = $1 AND until_at > $2",
            args![network, now],
            |row| row.get(0),
        )
        .await?;
    Ok(rows.into_iter().collect())
}

/// The first address that nobody has had, else the one that expired longest ago.
async fn choose(
    connection: &mut Connection,
    range: &Range,
    bad: &HashSet<Ipv4Addr>,
    now: Timestamp,
) -> Result<Option<Ipv4Addr>, Failure> {
    let taken: Vec<(Ipv4Addr, Timestamp)> = connection
        .rows(
            "SELECT address, expires_at FROM dhcp_lease \
             WHERE network = $1 AND address >= $2 AND address <= $3",
            args![range.network, range.first, range.last],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .await?;
    let usable = |address: Ipv4Addr| range.holds(address) && !bad.contains(&address);
    let used: HashSet<Ipv4Addr> = taken.iter().map(|(address, _)| *address).collect();
    let free = (u32::from(range.first)..=u32::from(range.last))
        .map(Ipv4Addr::from)
        .find(|address| !used.contains(address) && usable(*address));
    Ok(free.or_else(|| {
        taken
            .iter()
            .filter(|(address, expires)| *expires <= now && usable(*address))
            .min_by_key(|(address, expires)| (*expires, *address))
            .map(|(address, _)| *address)
    }))
}

async fn lease(
    connection: &mut Connection,
    range: &Range,
    mac: MacAddress,
    ttl: Duration,
    now: Timestamp,
) -> Result<Option<DhcpLease>, Failure> {
    let network = &range.network;
    let bad = quarantined(connection, network, now).await?;
    let expires_at = now.after(ttl);
    if let Some(lease) = load(connection, network, mac).await? {
        if range.holds(lease.address) && !bad.contains(&lease.address) {
            connection
                .execute(
                    "UPDATE dhcp_lease SET expires_at = $1 WHERE network = $2 AND mac = $3",
                    args![expires_at, network, mac],
                )
                .await?;
            return Ok(Some(DhcpLease {
                expires_at,
                ..lease
            }));
        }
        // The range has moved, or another host answers there.
        remove(connection, network, mac).await?;
    }
    let Some(address) = choose(connection, range, &bad, now).await? else {
        return Ok(None);
    };
    connection
        .execute(
            "DELETE FROM dhcp_lease WHERE network = $1 AND address = $2 AND expires_at <= $3",
            args![network, address, now],
        )
        .await?;
    connection
        .execute(
            "INSERT INTO dhcp_lease (network, address, mac, expires_at) VALUES ($1, $2, $3, $4)",
            args![network, address, mac, expires_at],
        )
        .await
        .map_err(|failure| match failure {
            Failure::Unique(_) => Failure::Again("the address was given at the same time".into()),
            other => other,
        })?;
    Ok(Some(DhcpLease {
        network: network.clone(),
        address,
        mac,
        expires_at,
    }))
}

async fn remove(
    connection: &mut Connection,
    network: &str,
    mac: MacAddress,
) -> Result<(), Failure> {
    connection
        .execute(
            "DELETE FROM dhcp_lease WHERE network = $1 AND mac = $2",
            args![network, mac],
        )
        .await?;
    Ok(())
}

impl Store {
    /// The address of this MAC in this network: the one it has (renewed), or the first free (or longest
    /// expired) of the range; never the same address twice. `None` when the range is exhausted.
    #[allow(clippy::too_many_arguments)] // the range is the caller's settings, not a thing of its own
    pub async fn lease_address(
        &self,
        network: &str,
        mac: MacAddress,
        first: Ipv4Addr,
        last: Ipv4Addr,
        excluded: &[Ipv4Addr],
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<DhcpLease>, StoreError> {
        let range = Arc::new(Range {
            network: network.to_owned(),
            first,
            last,
            excluded: excluded.iter().copied().collect(),
        });
        Ok(self
            .write("lease_address", Wakes::Nobody, move |tx| {
                let range = Arc::clone(&range);
                Box::pin(async move { lease(tx, &range, mac, ttl, now).await })
            })
            .await?)
    }

    /// Same, but only looks.
    pub async fn get_lease(
        &self,
        network: &str,
        mac: MacAddress,
    ) -> Result<Option<DhcpLease>, StoreError> {
        Ok(load(&mut self.reader().await?, network, mac).await?)
    }

    /// No lease is as good.
    pub async fn release_lease(&self, network: &str, mac: MacAddress) -> Result<(), StoreError> {
        let network: Arc<str> = network.into();
        self.write("release_lease", Wakes::Nobody, move |tx| {
            let network = Arc::clone(&network);
            Box::pin(async move { remove(tx, &network, mac).await })
        })
        .await?;
        Ok(())
    }

    /// Address that another host answered for (DHCPDECLINE): not given again before `until`.
    pub async fn quarantine_address(
        &self,
        network: &str,
        address: Ipv4Addr,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let network: Arc<str> = network.into();
        self.write("quarantine_address", Wakes::Nobody, move |tx| {
            let network = Arc::clone(&network);
            Box::pin(async move {
                tx.execute(
                    "DELETE FROM dhcp_quarantine WHERE network = $1 AND until_at <= $2",
                    args![&*network, Timestamp::now()],
                )
                .await?;
                tx.execute(
                    "DELETE FROM dhcp_lease WHERE network = $1 AND address = $2",
                    args![&*network, address],
                )
                .await?;
                tx.execute(
                    "INSERT INTO dhcp_quarantine (network, address, until_at) VALUES ($1, $2, $3) \
                     ON CONFLICT (network, address) DO UPDATE SET until_at = excluded.until_at",
                    args![&*network, address, until],
                )
                .await
            })
        })
        .await?;
        Ok(())
    }
}
