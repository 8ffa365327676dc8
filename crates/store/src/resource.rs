//! What the resources with a table of their own and no tie to the engine have in common.

use std::sync::Arc;

use bessemer_model::notification::Told;
use bessemer_model::{Fault, Timestamp};

use crate::Page;
use crate::StoreError;
use crate::failure::Failure;
use crate::list::{Conditions, Listed, page_rows};
use crate::outbox;
use crate::sql::{Connection, Row, ToValue, Value, placeholders};

/// A change as a re-runnable function: it runs inside the transaction on the row as it is then, maybe
/// several times, and must have no effect but on its argument.
pub type Change<T> = Arc<dyn Fn(&mut T) -> Result<(), Fault> + Send + Sync>;

/// A row of such a table.
pub(crate) trait Resource: Sized + Clone + PartialEq + Told {
    const LISTED: Listed;
    /// As it begins a sentence.
    const WHAT: &'static str;
    /// With its article, as it stands within a sentence.
    const A_WHAT: &'static str;
    /// In the order of [`Resource::read`] and [`Resource::values`]; the first is `uuid`.
    const COLUMNS: &'static [&'static str];

    fn read(row: &Row) -> Result<Self, Failure>;
    fn values(&self) -> Vec<Value>;
    fn id(&self) -> Value;
    fn name(&self) -> Option<&str>;
    fn set_updated_at(&mut self, at: Timestamp);
}

/// Implements [`Resource`] for a type whose fields are columns.
macro_rules! resource {
    ($type:ident $table:literal $what:literal $a_what:literal
     name $name:expr;
     columns { $($field:ident $column:literal),* $(,)? }
     sortable { $($key:literal $sorted:literal $kind:ident),* $(,)? }) => {
        impl $crate::resource::Resource for $type {
            const LISTED: $crate::list::Listed = $crate::list::Listed {
                table: $table,
                ident: "uuid",
                sortable: &[$(($key, $sorted, $crate::sql::Kind::$kind)),*],
            };
            const WHAT: &'static str = $what;
            const A_WHAT: &'static str = $a_what;
            const COLUMNS: &'static [&'static str] = &[$($column),*];

            fn read(row: &$crate::sql::Row) -> Result<Self, $crate::failure::Failure> {
                let mut cursor = row.cursor();
                Ok(Self { $($field: cursor.take()?),* })
            }

            fn values(&self) -> Vec<$crate::sql::Value> {
                vec![$($crate::sql::ToValue::to_value(&self.$field)),*]
            }

            fn id(&self) -> $crate::sql::Value {
                $crate::sql::ToValue::to_value(&self.id)
            }

            fn name(&self) -> Option<&str> {
                let name: fn(&Self) -> Option<&str> = $name;
                name(self)
            }

            fn set_updated_at(&mut self, at: bessemer_model::Timestamp) {
                self.updated_at = Some(at);
            }
        }
    };
}
pub(crate) use resource;

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        _ => String::new(),
    }
}

pub(crate) fn not_found<T: Resource>(id: impl ToString) -> StoreError {
    StoreError::NotFound {
        what: T::WHAT,
        id: id.to_string(),
    }
}

fn duplicate<T: Resource>(failure: Failure, row: &T) -> Failure {
    let Failure::Unique(index) = failure else {
        return failure;
    };
    let table = T::LISTED.table;
    let (field, value) = match index.strip_prefix(table) {
        Some("_uuid_key") => ("uuid", shown(&row.id())),
        Some("_name_key") => ("name", row.name().unwrap_or_default().to_owned()),
        _ => return Failure::Unique(index),
    };
    StoreError::Duplicate {
        what: T::A_WHAT,
        field,
        value,
    }
    .into()
}

fn select<T: Resource>() -> String {
    format!("SELECT {} FROM {}", T::COLUMNS.join(", "), T::LISTED.table)
}

pub(crate) async fn insert<T: Resource>(
    connection: &mut Connection,
    row: &T,
) -> Result<(), Failure> {
    let sql = format!(
        "INSERT INTO {} ({}) VALUES ({})",
        T::LISTED.table,
        T::COLUMNS.join(", "),
        placeholders(1, T::COLUMNS.len())
    );
    connection
        .execute(sql, row.values())
        .await
        .map_err(|failure| duplicate(failure, row))?;
    Ok(())
}

/// The row with this uuid.
pub(crate) async fn load<T: Resource>(
    connection: &mut Connection,
    id: impl ToValue,
) -> Result<Option<T>, Failure> {
    load_by(connection, "uuid", id.to_value()).await
}

pub(crate) async fn load_by<T: Resource>(
    connection: &mut Connection,
    column: &str,
    value: Value,
) -> Result<Option<T>, Failure> {
    connection
        .row(
            format!("{} WHERE {column} = $1", select::<T>()),
            vec![value],
            T::read,
        )
        .await
}

/// By UUID, else by name: what looks like a UUID is never looked up as a name.
pub(crate) async fn find<T: Resource>(
    connection: &mut Connection,
    ident: &str,
) -> Result<Option<T>, Failure> {
    match uuid::Uuid::parse_str(ident) {
        Ok(id) => load(connection, id).await,
        Err(_) => load_by(connection, "name", ident.to_value()).await,
    }
}

pub(crate) async fn page<T: Resource>(
    connection: &mut Connection,
    conditions: Conditions,
    page: &Page,
) -> Result<Vec<T>, Failure> {
    page_rows(
        connection,
        &T::LISTED,
        conditions,
        page,
        &select::<T>(),
        T::read,
    )
    .await
}

/// All rows that meet the conditions, in the order of creation.
pub(crate) async fn all<T: Resource>(
    connection: &mut Connection,
    condition: &str,
    args: Vec<Value>,
) -> Result<Vec<T>, Failure> {
    connection
        .rows(
            format!("{} WHERE {condition} ORDER BY id", select::<T>()),
            args,
            T::read,
        )
        .await
}

/// Reads a row, changes it and writes it back, all in the transaction at hand.
pub(crate) async fn update<T: Resource>(
    connection: &mut Connection,
    id: impl ToValue,
    change: &Change<T>,
) -> Result<T, Failure> {
    let id = id.to_value();
    let before = load_by::<T>(connection, "uuid", id.clone())
        .await?
        .ok_or_else(|| not_found::<T>(shown(&id)))?;
    let mut after = before.clone();
    change(&mut after).map_err(Failure::from)?;
    if after == before {
        outbox::stored(connection, &after);
        return Ok(after);
    }
    after.set_updated_at(Timestamp::now());
    let mut sql = format!("UPDATE {} SET ", T::LISTED.table);
    for (index, name) in T::COLUMNS.iter().enumerate().skip(1) {
        if index > 1 {
            sql.push_str(", ");
        }
        sql.push_str(&format!("{name} = ${}", index + 1));
    }
    sql.push_str(" WHERE uuid = $1");
    let mut values = after.values();
    if let Some(first) = values.first_mut() {
        *first = id;
    }
    connection
        .execute(sql, values)
        .await
        .map_err(|failure| duplicate(failure, &after))?;
    outbox::stored(connection, &after);
    Ok(after)
}

pub(crate) async fn delete<T: Resource>(
    connection: &mut Connection,
    id: impl ToValue,
) -> Result<(), Failure> {
    let id = id.to_value();
    let gone = connection
        .execute(
            format!("DELETE FROM {} WHERE uuid = $1", T::LISTED.table),
            vec![id.clone()],
        )
        .await?;
    if gone == 0 {
        return Err(not_found::<T>(shown(&id)).into());
    }
    Ok(())
}
