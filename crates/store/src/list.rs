//! Lists: filters, order and keyset paging, the same for every resource.
//!
//! NULLs sort first, text by code point (`COLLATE "C"` on PostgreSQL, SQLite's own order), and the internal
//! row id breaks ties; descending is exactly the reverse. A page costs one statement, two with a marker.

use bessemer_model::Fault;

use crate::failure::Failure;
use crate::sql::{Connection, Kind, ToValue, Value};
use crate::{Page, SortDirection, StoreError};

/// A table as lists see it.
pub(crate) struct Listed {
    pub(crate) table: &'static str,
    /// The column that a marker names.
    pub(crate) ident: &'static str,
    /// What a client may sort by: the API's name, the column, its type.
    pub(crate) sortable: &'static [(&'static str, &'static str, Kind)],
}

/// Conditions of a `WHERE` with their arguments.
#[derive(Default)]
pub(crate) struct Conditions {
    terms: Vec<String>,
    pub(crate) args: Vec<Value>,
}

impl Conditions {
    /// Keeps an argument; its placeholder.
    pub(crate) fn arg(&mut self, value: impl ToValue) -> String {
        self.push(value.to_value())
    }

    fn push(&mut self, value: Value) -> String {
        self.args.push(value);
        format!("${}", self.args.len())
    }

    pub(crate) fn and(&mut self, term: impl Into<String>) {
        self.terms.push(term.into());
    }

    /// `column = value` when there is a value to compare with.
    pub(crate) fn equals(&mut self, column: &str, value: Option<impl ToValue>) {
        if let Some(value) = value {
            let arg = self.arg(value);
            self.and(format!("{column} = {arg}"));
        }
    }

    /// `column IN (…)`; an empty list matches nothing.
    pub(crate) fn one_of<T: ToValue>(&mut self, column: &str, values: &[T]) {
        if values.is_empty() {
            self.and("1 = 0");
            return;
        }
        let args: Vec<_> = values.iter().map(|value| self.arg(value)).collect();
        self.and(format!("{column} IN ({})", args.join(", ")));
    }

    pub(crate) fn is_null(&mut self, column: &str, null: bool) {
        let not = if null { "" } else { "NOT " };
        self.and(format!("{column} IS {not}NULL"));
    }

    /// The column contains the text, ASCII letters of either case being the same.
    pub(crate) fn contains(&mut self, column: &str, text: &str) {
        let mut pattern = String::from("%");
        for c in text.chars() {
            if matches!(c, '%' | '_' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c.to_ascii_lowercase());
        }
        pattern.push('%');
        let arg = self.arg(pattern);
        self.and(format!("LOWER({column}) LIKE {arg} ESCAPE '\\'"));
    }

    fn text(&self) -> String {
        if self.terms.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.terms.join(" AND "))
        }
    }
}

/// Everything behind the `FROM` of a page's statement, with its arguments.
pub(crate) async fn page_clause(
    connection: &mut Connection,
    listed: &Listed,
    mut conditions: Conditions,
    page: &Page,
) -> Result<(String, Vec<Value>), Failure> {
    let table = listed.table;
    let sorted = match page.sort_key.as_deref() {
        None | Some("id") => None,
        Some(key) => Some(
            listed
                .sortable
                .iter()
                .find(|(name, ..)| *name == key)
                .ok_or_else(|| {
                    Fault::invalid(format!(
                        "The sort_key value \"{key}\" is an invalid field for sorting"
                    ))
                })?,
        ),
    };
    let ascending = page.direction == SortDirection::Ascending;
    let (beyond, order, nulls) = if ascending {
        (">", "ASC", "NULLS FIRST")
    } else {
        ("<", "DESC", "NULLS LAST")
    };
    if let Some(marker) = &page.marker {
        let (column, kind) = sorted.map_or(("id", Kind::Int), |(_, column, kind)| (*column, *kind));
        let found = connection
            .row(
                format!(
                    "SELECT id, {column} FROM {table} WHERE {} = $1",
                    listed.ident
                ),
                vec![marker.to_value()],
                |row| Ok((row.get::<i64>(0)?, row.value(1, kind)?)),
            )
            .await?;
        let Some((id, value)) = found else {
            return Err(StoreError::NotFound {
                what: "Marker",
                id: marker.clone(),
            }
            .into());
        };
        let id = conditions.arg(id);
        let tie = format!("{table}.id {beyond} {id}");
        let term = match (sorted, value) {
            (None, _) => tie,
            (Some(_), Value::Null(_)) if ascending => {
                format!("(({table}.{column} IS NULL AND {tie}) OR {table}.{column} IS NOT NULL)")
            }
            (Some(_), Value::Null(_)) => format!("({table}.{column} IS NULL AND {tie})"),
            (Some(_), value) => {
                let value = conditions.push(value);
                let or_null = if ascending {
                    String::new()
                } else {
                    format!(" OR {table}.{column} IS NULL")
                };
                format!(
                    "({table}.{column} {beyond} {value} OR ({table}.{column} = {value} AND {tie}){or_null})"
                )
            }
        };
        conditions.and(term);
    }
    let limit = conditions.arg(i64::from(page.limit.clamp(1, 1000)));
    let by = match sorted {
        Some((_, column, _)) => format!("{table}.{column} {order} {nulls}, "),
        None => String::new(),
    };
    let sql = format!(
        "{} ORDER BY {by}{table}.id {order} LIMIT {limit}",
        conditions.text()
    );
    Ok((sql, conditions.args))
}
