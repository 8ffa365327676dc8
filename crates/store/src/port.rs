//! Ports.

use std::sync::Arc;

use bessemer_model::{MacAddress, NodeId, Port, PortId};

use crate::failure::Failure;
use crate::list::{Conditions, Listed, page_rows};
use crate::node;
use crate::sql::{Connection, Kind, Row, ToValue, Value, args};
use crate::store::{Store, Wakes};
use crate::{Page, PortFilter, StoreError};

macro_rules! port_columns {
    ($($field:ident $column:literal),* $(,)?) => {
        const COLUMN_NAMES: &[&str] = &[$($column),*];

        fn read_port(row: &Row) -> Result<Port, Failure> {
            let mut cursor = row.cursor();
            Ok(Port { $($field: cursor.take()?),* })
        }

        fn values(port: &Port) -> Vec<Value> {
            vec![$(port.$field.to_value()),*]
        }
    };
}

port_columns! {
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
    format!(
        "SELECT {} FROM port WHERE {condition}",
        COLUMN_NAMES.join(", ")
    )
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

async fn check_node(connection: &mut Connection, id: NodeId) -> Result<(), Failure> {
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

impl Store {
    async fn one_port(&self, condition: &str, value: Value) -> Result<Option<Port>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(connection
            .row(select(condition), vec![value], read_port)
            .await?)
    }

    /// # Errors
    /// [`StoreError::Duplicate`] for uuid, address or name; [`StoreError::NotFound`] for its node.
    pub async fn create_port(&self, port: &Port) -> Result<(), StoreError> {
        let port = Arc::new(port.clone());
        self.write("create_port", Wakes::Nobody, move |tx| {
            let port = Arc::clone(&port);
            Box::pin(async move {
                check_node(tx, port.node).await?;
                tx.execute(
                    format!(
                        "INSERT INTO port ({}) VALUES ({})",
                        COLUMN_NAMES.join(", "),
                        crate::sql::placeholders(1, COLUMN_NAMES.len())
                    ),
                    values(&port),
                )
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
        if let Some(project) = &filter.project {
            let arg = conditions.arg(project);
            conditions.and(format!(
                "port.node IN (SELECT of.uuid FROM node of WHERE of.owner = {arg} OR of.lessee = {arg})"
            ));
        }
        let mut connection = self.reader().await?;
        let select = format!("SELECT {} FROM port", COLUMN_NAMES.join(", "));
        Ok(page_rows(
            &mut connection,
            &LISTED,
            conditions,
            page,
            &select,
            read_port,
        )
        .await?)
    }

    /// Writes all columns of an existing port, `updated_at` as the caller set it.
    ///
    /// # Errors
    /// As [`Store::create_port`]; [`StoreError::NotFound`] when the port is gone.
    pub async fn update_port(&self, port: &Port) -> Result<(), StoreError> {
        let port = Arc::new(port.clone());
        self.write("update_port", Wakes::Nobody, move |tx| {
            let port = Arc::clone(&port);
            Box::pin(async move {
                check_node(tx, port.node).await?;
                let mut sql = String::from("UPDATE port SET ");
                for (index, name) in COLUMN_NAMES.iter().enumerate() {
                    if index > 0 {
                        sql.push_str(", ");
                    }
                    sql.push_str(&format!("{name} = ${}", index + 1));
                }
                sql.push_str(" WHERE uuid = $1");
                let changed = tx
                    .execute(sql, values(&port))
                    .await
                    .map_err(|failure| duplicate(failure, &port))?;
                if changed == 0 {
                    return Err(not_found(port.id).into());
                }
                Ok(())
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
