//! Chassis.

use std::sync::Arc;

use bessemer_model::{Chassis, ChassisId, Class, Fault, FaultKind};

use crate::failure::Failure;
use crate::list::{Conditions, Listed, page_rows};
use crate::sql::{Connection, Kind, Row, args};
use crate::store::{Store, Wakes};
use crate::{Page, StoreError};

const COLUMNS: &str = "uuid, description, extra, created_at, updated_at";

const LISTED: Listed = Listed {
    table: "chassis",
    ident: "uuid",
    sortable: &[
        ("uuid", "uuid", Kind::Text),
        ("description", "description", Kind::Text),
        ("created_at", "created_at", Kind::Int),
        ("updated_at", "updated_at", Kind::Int),
    ],
};

fn read_chassis(row: &Row) -> Result<Chassis, Failure> {
    let mut cursor = row.cursor();
    Ok(Chassis {
        id: cursor.take()?,
        description: cursor.take()?,
        extra: cursor.take()?,
        created_at: cursor.take()?,
        updated_at: cursor.take()?,
    })
}

pub(crate) fn not_found(id: ChassisId) -> StoreError {
    StoreError::NotFound {
        what: "Chassis",
        id: id.to_string(),
    }
}

pub(crate) async fn load(
    connection: &mut Connection,
    id: ChassisId,
) -> Result<Option<Chassis>, Failure> {
    connection
        .row(
            format!("SELECT {COLUMNS} FROM chassis WHERE uuid = $1"),
            args![id],
            read_chassis,
        )
        .await
}

impl Store {
    /// # Errors
    /// [`StoreError::Duplicate`] of the uuid.
    pub async fn create_chassis(&self, chassis: &Chassis) -> Result<(), StoreError> {
        let chassis = Arc::new(chassis.clone());
        let id = chassis.id;
        let result = self
            .write("create_chassis", Wakes::Nobody, move |tx| {
                let c = Arc::clone(&chassis);
                Box::pin(async move {
                    tx.execute(
                        format!("INSERT INTO chassis ({COLUMNS}) VALUES ($1, $2, $3, $4, $5)"),
                        args![c.id, c.description, c.extra, c.created_at, c.updated_at],
                    )
                    .await
                })
            })
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(Failure::Unique(_)) => Err(StoreError::Duplicate {
                what: "chassis",
                field: "uuid",
                value: id.to_string(),
            }),
            Err(other) => Err(other.into()),
        }
    }

    pub async fn get_chassis(&self, id: ChassisId) -> Result<Option<Chassis>, StoreError> {
        Ok(load(&mut self.reader().await?, id).await?)
    }

    pub async fn list_chassis(&self, page: &Page) -> Result<Vec<Chassis>, StoreError> {
        let mut connection = self.reader().await?;
        Ok(page_rows(
            &mut connection,
            &LISTED,
            Conditions::default(),
            page,
            &format!("SELECT {COLUMNS} FROM chassis"),
            read_chassis,
        )
        .await?)
    }

    /// Writes all columns of an existing chassis but `created_at`.
    pub async fn update_chassis(&self, chassis: &Chassis) -> Result<(), StoreError> {
        let chassis = Arc::new(chassis.clone());
        self.write("update_chassis", Wakes::Nobody, move |tx| {
            let c = Arc::clone(&chassis);
            Box::pin(async move {
                let changed = tx
                    .execute(
                        "UPDATE chassis SET description = $1, extra = $2, updated_at = $3 WHERE uuid = $4",
                        args![c.description, c.extra, c.updated_at, c.id],
                    )
                    .await?;
                if changed == 0 {
                    return Err(not_found(c.id).into());
                }
                Ok(())
            })
        })
        .await?;
        Ok(())
    }

    /// `Refused` (400) while nodes belong to it.
    pub async fn delete_chassis(&self, id: ChassisId) -> Result<(), StoreError> {
        self.write("delete_chassis", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                let node: Option<i64> = tx
                    .row(
                        "SELECT id FROM node WHERE chassis_uuid = $1 LIMIT 1",
                        args![id],
                        |row| row.get(0),
                    )
                    .await?;
                if node.is_some() {
                    return Err(Fault::new(
                        FaultKind::Invalid,
                        Class::Never,
                        format!("Chassis {id} contains nodes; move or delete them first."),
                    )
                    .into());
                }
                let gone = tx
                    .execute("DELETE FROM chassis WHERE uuid = $1", args![id])
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
