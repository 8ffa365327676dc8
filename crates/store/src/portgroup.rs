//! Port groups.

use std::sync::Arc;

use bessemer_model::{Class, Fault, FaultKind, Portgroup, PortgroupId, Timestamp};

use crate::failure::Failure;
use crate::list::{Conditions, Listed, page_rows};
use crate::port::check_node;
use crate::sql::{Connection, Kind, ToValue, Value, args, insert_into, update_by_uuid, whole_rows};
use crate::store::{Store, Wakes};
use crate::{Page, PortgroupFilter, StoreError};

whole_rows! {
    Portgroup {
        id "uuid",
        node "node",
        address "address",
        name "name",
        extra "extra",
        internal_info "internal_info",
        standalone_ports_supported "standalone_ports_supported",
        mode "mode",
        properties "properties",
        physical_network "physical_network",
        category "category",
        dynamic_portgroup "dynamic_portgroup",
        created_at "created_at",
        updated_at "updated_at",
    }
}

const LISTED: Listed = Listed {
    table: "portgroup",
    ident: "uuid",
    sortable: &[
        ("uuid", "uuid", Kind::Text),
        ("node_uuid", "node", Kind::Text),
        ("node_id", "node", Kind::Text),
        ("address", "address", Kind::Text),
        ("name", "name", Kind::Text),
        (
            "standalone_ports_supported",
            "standalone_ports_supported",
            Kind::Bool,
        ),
        ("mode", "mode", Kind::Text),
        ("physical_network", "physical_network", Kind::Text),
        ("category", "category", Kind::Text),
        ("dynamic_portgroup", "dynamic_portgroup", Kind::Bool),
        ("created_at", "created_at", Kind::Int),
        ("updated_at", "updated_at", Kind::Int),
    ],
};

fn select(condition: &str) -> String {
    format!(
        "SELECT {} FROM portgroup WHERE {condition}",
        COLUMNS.join(", ")
    )
}

fn not_found(id: PortgroupId) -> StoreError {
    StoreError::NotFound {
        what: "Portgroup",
        id: id.to_string(),
    }
}

fn not_empty(text: String) -> Failure {
    Fault::new(FaultKind::Invalid, Class::Never, text).into()
}

fn duplicate(failure: Failure, group: &Portgroup) -> Failure {
    let Failure::Unique(index) = failure else {
        return failure;
    };
    let (field, value) = match index.as_str() {
        "portgroup_uuid_key" => ("uuid", group.id.to_string()),
        "portgroup_address_key" => (
            "address",
            group.address.map(|a| a.to_string()).unwrap_or_default(),
        ),
        "portgroup_name_key" => ("name", group.name.clone().unwrap_or_default()),
        _ => return Failure::Unique(index),
    };
    StoreError::Duplicate {
        what: "portgroup",
        field,
        value,
    }
    .into()
}

pub(crate) async fn load(
    connection: &mut Connection,
    id: PortgroupId,
) -> Result<Option<Portgroup>, Failure> {
    connection.row(select("uuid = $1"), args![id], read).await
}

/// All of a node, in the order of creation.
pub(crate) async fn of_node(
    connection: &mut Connection,
    node: bessemer_model::NodeId,
) -> Result<Vec<Portgroup>, Failure> {
    connection
        .rows(select("node = $1 ORDER BY id"), args![node], read)
        .await
}

/// Writes all columns of an existing port group.
pub(crate) async fn write(connection: &mut Connection, group: &Portgroup) -> Result<(), Failure> {
    let changed = connection
        .execute(update_by_uuid("portgroup", COLUMNS), values(group))
        .await
        .map_err(|failure| duplicate(failure, group))?;
    if changed == 0 {
        return Err(not_found(group.id).into());
    }
    Ok(())
}

async fn has_ports(connection: &mut Connection, id: PortgroupId) -> Result<bool, Failure> {
    let found: Option<i64> = connection
        .row(
            "SELECT id FROM port WHERE portgroup = $1 LIMIT 1",
            args![id],
            |row| row.get(0),
        )
        .await?;
    Ok(found.is_some())
}

impl Store {
    async fn one_portgroup(
        &self,
        condition: &str,
        value: Value,
    ) -> Result<Option<Portgroup>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection.row(select(condition), vec![value], read).await?)
    }

    /// # Errors
    /// [`StoreError::Duplicate`] for uuid, address or name; [`StoreError::NotFound`] for its node.
    pub async fn create_portgroup(&self, group: &Portgroup) -> Result<(), StoreError> {
        let group = Arc::new(group.clone());
        self.write("create_portgroup", Wakes::Nobody, move |tx| {
            let group = Arc::clone(&group);
            Box::pin(async move {
                check_node(tx, group.node).await?;
                tx.execute(insert_into("portgroup", COLUMNS), values(&group))
                    .await
                    .map_err(|failure| duplicate(failure, &group))?;
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    pub async fn get_portgroup(&self, id: PortgroupId) -> Result<Option<Portgroup>, StoreError> {
        self.one_portgroup("uuid = $1", id.to_value()).await
    }

    /// By UUID or name.
    pub async fn find_portgroup(&self, ident: &str) -> Result<Option<Portgroup>, StoreError> {
        match ident.parse::<PortgroupId>() {
            Ok(id) => self.get_portgroup(id).await,
            Err(_) => self.one_portgroup("name = $1", ident.to_value()).await,
        }
    }

    /// # Errors
    /// As [`Store::list_node_rows`].
    pub async fn list_portgroups(
        &self,
        filter: &PortgroupFilter,
        page: &Page,
    ) -> Result<Vec<Portgroup>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.equals("portgroup.node", filter.node);
        conditions.equals("portgroup.address", filter.address);
        conditions.on_node(
            "portgroup.node",
            filter.shards.as_deref(),
            filter.conductor_groups.as_deref(),
            filter.project.as_deref(),
        );
        let mut connection = self.reader().await?;
        let select = format!("SELECT {} FROM portgroup", COLUMNS.join(", "));
        Ok(page_rows(&mut connection, &LISTED, conditions, page, &select, read).await?)
    }

    /// Writes what a client may change of an existing port group (`internal_info` stays as it is). Another
    /// physical network becomes that of its ports.
    ///
    /// # Errors
    /// As [`Store::create_portgroup`]; [`StoreError::NotFound`] when it is gone; `Refused` for another node
    /// while it has ports.
    pub async fn update_portgroup(&self, group: &Portgroup) -> Result<(), StoreError> {
        let group = Arc::new(group.clone());
        self.write("update_portgroup", Wakes::Nobody, move |tx| {
            let mut group = Portgroup::clone(&group);
            Box::pin(async move {
                check_node(tx, group.node).await?;
                let before = load(tx, group.id)
                    .await?
                    .ok_or_else(|| not_found(group.id))?;
                if before.node != group.node && has_ports(tx, group.id).await? {
                    return Err(not_empty(format!(
                        "Portgroup {} can not be associated with node {} because there are ports associated with this portgroup.",
                        group.id, group.node
                    )));
                }
                group.internal_info = before.internal_info;
                group.created_at = before.created_at;
                write(tx, &group).await?;
                if before.physical_network != group.physical_network {
                    tx.execute(
                        "UPDATE port SET physical_network = $1, updated_at = $2 WHERE portgroup = $3 \
                         AND COALESCE(physical_network, '') <> COALESCE($1, '')",
                        args![group.physical_network, Timestamp::now(), group.id],
                    )
                    .await?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    /// # Errors
    /// [`StoreError::NotFound`]; `Refused` while it has ports.
    pub async fn delete_portgroup(&self, id: PortgroupId) -> Result<(), StoreError> {
        self.write("delete_portgroup", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                if has_ports(tx, id).await? {
                    return Err(not_empty(format!(
                        "Cannot complete the requested action because portgroup {id} contains ports."
                    )));
                }
                let gone = tx
                    .execute("DELETE FROM portgroup WHERE uuid = $1", args![id])
                    .await?;
                if gone == 0 {
                    return Err(not_found(id).into());
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }
}
