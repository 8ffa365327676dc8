//! A node's ports and port groups together: what a change of several of them goes through.

use std::sync::Arc;

use bessemer_model::{NodeId, Timestamp};

use crate::store::{Store, Wakes};
use crate::{Network, NetworkChange, StoreError, TimelineEvent, node, port, portgroup, timeline};

impl Store {
    /// A node with its ports and port groups, each in the order of creation.
    pub async fn get_network(&self, id: NodeId) -> Result<Option<Network>, StoreError> {
        let mut connection = self.reader().await?;
        let Some(node) = node::load(&mut connection, id).await? else {
            return Ok(None);
        };
        Ok(Some(Network {
            node,
            ports: port::of_node(&mut connection, id).await?,
            portgroups: portgroup::of_node(&mut connection, id).await?,
        }))
    }

    /// Changes ports and port groups of a node in one transaction; what differs afterwards is written.
    ///
    /// # Errors
    /// `Locked` while a lease is held; `Refused` with what the change refuses; [`StoreError::NotFound`],
    /// [`StoreError::Duplicate`].
    pub async fn change_network(
        &self,
        id: NodeId,
        change: NetworkChange,
        timeline: Vec<TimelineEvent>,
    ) -> Result<Network, StoreError> {
        let events: Arc<[TimelineEvent]> = timeline.into();
        Ok(self
            .write("change_network", Wakes::Nobody, move |tx| {
                let (change, events) = (Arc::clone(&change), Arc::clone(&events));
                Box::pin(async move {
                    let node = node::require(tx, id).await?;
                    node::refuse_locked(tx, id).await?;
                    let before = Network {
                        node,
                        ports: port::of_node(tx, id).await?,
                        portgroups: portgroup::of_node(tx, id).await?,
                    };
                    let mut after = before.clone();
                    change(&mut after)?;
                    let now = Timestamp::now();
                    for row in &mut after.ports {
                        if !before.ports.contains(row) {
                            row.updated_at = Some(now);
                            port::write(tx, row).await?;
                        }
                    }
                    for row in &mut after.portgroups {
                        if !before.portgroups.contains(row) {
                            row.updated_at = Some(now);
                            portgroup::write(tx, row).await?;
                        }
                    }
                    timeline::insert(tx, id, &events).await?;
                    Ok(after)
                })
            })
            .await?)
    }
}
