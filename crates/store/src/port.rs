//! Ports.

use std::sync::Arc;

use bessemer_model::{Class, Fault, FaultKind, MacAddress, NodeId, Port, PortId, Timestamp};

use crate::failure::Failure;
use crate::list::{Conditions, Listed, page_rows};
use crate::sql::{Connection, Kind, ToValue, Value, args, insert_into, update_by_uuid, whole_rows};
use crate::store::{Store, Wakes};
use crate::{Page, PortFilter, StoreError, node, portgroup};

whole_rows! {
    Port {
        id "uuid",
        node "node",
        address "address",
        name "name",
        description "description",
        extra "extra",
        internal_info "internal_info",
        local_link_connection "local_link_connection",
        pxe_enabled "pxe_enabled",
        portgroup "portgroup",
        physical_network "physical_network",
        is_smartnic "is_smartnic",
        vendor "vendor",
        category "category",
        available_for_dynamic_portgroup "available_for_dynamic_portgroup",
        created_at "created_at",
        updated_at "updated_at",
    }
}

const LISTED: Listed = Listed {
    table: "port",
    ident: "uuid",
    sortable: &[
        ("uuid", "uuid", Kind::Text),
        ("node_uuid", "node", Kind::Text),
        ("node_id", "node", Kind::Text),
        ("address", "address", Kind::Text),
        ("name", "name", Kind::Text),
        ("description", "description", Kind::Text),
        ("pxe_enabled", "pxe_enabled", Kind::Bool),
        ("portgroup_uuid", "portgroup", Kind::Text),
        ("portgroup_id", "portgroup", Kind::Text),
        ("physical_network", "physical_network", Kind::Text),
        ("is_smartnic", "is_smartnic", Kind::Bool),
        ("vendor", "vendor", Kind::Text),
        ("category", "category", Kind::Text),
        (
            "available_for_dynamic_portgroup",
            "available_for_dynamic_portgroup",
            Kind::Bool,
        ),
        ("created_at", "created_at", Kind::Int),
        ("updated_at", "updated_at", Kind::Int),
    ],
};

fn select(condition: &str) -> String {
    format!("SELECT {} FROM port WHERE {condition}", COLUMNS.join(", "))
}

fn not_found(id: PortId) -> StoreError {
    StoreError::NotFound {
        what: "Port",
        id: id.to_string(),
    }
}

fn duplicate(failure: Failure, port: &Port) -> Failure {
    let Failure::Unique(index) = failure else {
        return failure;
    };
    let (field, value) = match index.as_str() {
        "port_uuid_key" => ("uuid", port.id.to_string()),
        "port_address_key" => ("address", port.address.to_string()),
        "port_name_key" => ("name", port.name.clone().unwrap_or_default()),
        _ => return Failure::Unique(index),
    };
    StoreError::Duplicate {
        what: "port",
        field,
        value,
    }
    .into()
}

pub(crate) async fn check_node(connection: &mut Connection, id: NodeId) -> Result<(), Failure> {
    let found: Option<i64> = connection
        .row("SELECT id FROM node WHERE uuid = $1", args![id], |row| {
            row.get(0)
        })
        .await?;
    match found {
        Some(_) => Ok(()),
        None => Err(node::not_found(id).into()),
    }
}

async fn load(connection: &mut Connection, id: PortId) -> Result<Option<Port>, Failure> {
    connection.row(select("uuid = $1"), args![id], read).await
}

/// All of a node, in the order of creation.
pub(crate) async fn of_node(
    connection: &mut Connection,
    node: NodeId,
) -> Result<Vec<Port>, Failure> {
    connection
        .rows(select("node = $1 ORDER BY id"), args![node], read)
        .await
}

/// Writes all columns of an existing port.
pub(crate) async fn write(connection: &mut Connection, port: &Port) -> Result<(), Failure> {
    let changed = connection
        .execute(update_by_uuid("port", COLUMNS), values(port))
        .await
        .map_err(|failure| duplicate(failure, port))?;
    if changed == 0 {
        return Err(not_found(port.id).into());
    }
    Ok(())
}

/// A port that joins a port group, or changes its physical network within one: all ports of a group are of one
/// node and in one physical network. The first one with a physical network gives it to a group that has none.
async fn join_portgroup(
    connection: &mut Connection,
    port: &Port,
    before: Option<&Port>,
) -> Result<(), Failure> {
    let Some(id) = port.portgroup else {
        return Ok(());
    };
    let same = before.is_some_and(|before| {
        before.portgroup == port.portgroup
            && before.physical_network == port.physical_network
            && before.node == port.node
    });
    if same {
        return Ok(());
    }
    let group = portgroup::load(connection, id)
        .await?
        .ok_or_else(|| StoreError::NotFound {
            what: "Portgroup",
            id: id.to_string(),
        })?;
    if group.node != port.node {
        return Err(Fault::invalid(
            "Port can not be added to a portgroup belonging to a different node.",
        )
        .into());
    }
    let others: Vec<Option<String>> = connection
        .rows(
            "SELECT DISTINCT physical_network FROM port WHERE portgroup = $1 AND uuid <> $2",
            args![id, port.id],
            |row| row.get(0),
        )
        .await?;
    let shown = |network: &Option<String>| network.clone().unwrap_or_else(|| "None".to_owned());
    let theirs = match others.as_slice() {
        [] => match (&group.physical_network, &port.physical_network) {
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                connection
                    .execute(
                        "UPDATE portgroup SET physical_network = $1, updated_at = $2 WHERE uuid = $3",
                        args![port.physical_network, Timestamp::now(), id],
                    )
                    .await?;
                return Ok(());
            }
            (theirs, _) => theirs.clone(),
        },
        [one] => one.clone(),
        several => {
            let mut names: Vec<String> = several.iter().map(shown).collect();
            names.sort_unstable();
            return Err(Fault::new(
                FaultKind::Internal,
                Class::Never,
                format!(
                    "Port group {id} has member ports with inconsistent physical networks ({}). All ports in a port group must have the same physical network.",
                    names.join(", ")
                ),
            )
            .into());
        }
    };
    if theirs == port.physical_network {
        return Ok(());
    }
    Err(Fault::conflict(format!(
        "Port with physical network {} cannot become a member of port group {id} which has ports in physical network {}.",
        shown(&port.physical_network),
        shown(&theirs)
    ))
    .into())
}

impl Store {
    async fn one_port(&self, condition: &str, value: Value) -> Result<Option<Port>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection.row(select(condition), vec![value], read).await?)
    }

    /// # Errors
    /// [`StoreError::Duplicate`] for uuid, address or name; [`StoreError::NotFound`] for its node or port
    /// group; `Refused` for a port group of another node or another physical network.
    pub async fn create_port(&self, port: &Port) -> Result<(), StoreError> {
        let port = Arc::new(port.clone());
        self.write("create_port", Wakes::Nobody, move |tx| {
            let port = Arc::clone(&port);
            Box::pin(async move {
                check_node(tx, port.node).await?;
                join_portgroup(tx, &port, None).await?;
                tx.execute(insert_into("port", COLUMNS), values(&port))
                    .await
                    .map_err(|failure| duplicate(failure, &port))?;
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    pub async fn get_port(&self, id: PortId) -> Result<Option<Port>, StoreError> {
        self.one_port("uuid = $1", id.to_value()).await
    }

    pub async fn find_port_by_mac(&self, mac: MacAddress) -> Result<Option<Port>, StoreError> {
        self.one_port("address = $1", mac.to_value()).await
    }

    /// By UUID or name.
    pub async fn find_port(&self, ident: &str) -> Result<Option<Port>, StoreError> {
        match ident.parse::<PortId>() {
            Ok(id) => self.get_port(id).await,
            Err(_) => self.one_port("name = $1", ident.to_value()).await,
        }
    }

    /// # Errors
    /// As [`Store::list_node_rows`].
    pub async fn list_ports(
        &self,
        filter: &PortFilter,
        page: &Page,
    ) -> Result<Vec<Port>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.equals("port.node", filter.node);
        conditions.equals("port.address", filter.address);
        conditions.equals("port.portgroup", filter.portgroup);
        if let Some(text) = &filter.description_contains {
            conditions.contains("port.description", text);
        }
        conditions.on_node(
            "port.node",
            filter.shards.as_deref(),
            filter.conductor_groups.as_deref(),
            filter.project.as_deref(),
        );
        let mut connection = self.reader().await?;
        let select = format!("SELECT {} FROM port", COLUMNS.join(", "));
        Ok(page_rows(&mut connection, &LISTED, conditions, page, &select, read).await?)
    }

    /// Writes what a client may change of an existing port (`internal_info` stays as it is), `updated_at` as the
    /// caller set it.
    ///
    /// # Errors
    /// As [`Store::create_port`]; [`StoreError::NotFound`] when the port is gone.
    pub async fn update_port(&self, port: &Port) -> Result<(), StoreError> {
        let port = Arc::new(port.clone());
        self.write("update_port", Wakes::Nobody, move |tx| {
            let mut port = Port::clone(&port);
            Box::pin(async move {
                check_node(tx, port.node).await?;
                let before = load(tx, port.id).await?.ok_or_else(|| not_found(port.id))?;
                join_portgroup(tx, &port, Some(&before)).await?;
                port.internal_info = before.internal_info;
                port.created_at = before.created_at;
                write(tx, &port).await
            })
        })
        .await?;
        Ok(())
    }

    pub async fn delete_port(&self, id: PortId) -> Result<(), StoreError> {
        self.write("delete_port", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                let gone = tx
                    .execute("DELETE FROM port WHERE uuid = $1", args![id])
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
