//! Lists: filters, order and keyset paging, the same for every resource.
//!
//! NULLs sort first, text by code point (`COLLATE "C"` on PostgreSQL, SQLite's own order), and the internal
//! row id breaks ties; descending is exactly the reverse. Rows that have no value to sort by stand together
//! at one end, so a page that continues behind a marker is up to three *stretches* of rows, each of which is a
//! range of an index where there is one. A page costs one statement per stretch and one to find its marker, however
//! long it is.

use bessemer_model::Fault;

use crate::failure::Failure;
use crate::sql::{Connection, Kind, Row, ToValue, Value};
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
#[derive(Debug, Clone, Default)]
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

    /// Of rows that belong to a node (`column` is its uuid): the node is in one of these shards or conductor
    /// groups, or its owner or lessee is this project.
    pub(crate) fn on_node(
        &mut self,
        column: &str,
        shards: Option<&[String]>,
        conductor_groups: Option<&[String]>,
        project: Option<&str>,
    ) {
        let mut inner = Self {
            terms: Vec::new(),
            args: std::mem::take(&mut self.args),
        };
        if let Some(shards) = shards {
            inner.one_of("of.shard", shards);
        }
        if let Some(groups) = conductor_groups {
            inner.one_of("of.conductor_group", groups);
        }
        if let Some(project) = project {
            let arg = inner.arg(project);
            inner.and(format!("(of.owner = {arg} OR of.lessee = {arg})"));
        }
        self.args = std::mem::take(&mut inner.args);
        if !inner.terms.is_empty() {
            self.and(format!(
                "{column} IN (SELECT of.uuid FROM node of{})",
                inner.text()
            ));
        }
    }

    /// The `WHERE` of all terms, with a space before it; empty without terms.
    pub(crate) fn text(&self) -> String {
        if self.terms.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.terms.join(" AND "))
        }
    }
}

/// Rows of a page that one statement reads.
pub(crate) struct Stretch {
    /// What stands behind the `FROM`, without the limit.
    clause: String,
    args: Vec<Value>,
}

impl Stretch {
    /// Everything behind the `FROM`, for at most `limit` rows.
    pub(crate) fn limited(self, limit: u32) -> (String, Vec<Value>) {
        let (mut clause, mut args) = (self.clause, self.args);
        args.push(Value::Int(limit.into()));
        clause.push_str(&format!(" LIMIT ${}", args.len()));
        (clause, args)
    }
}

/// How many rows a page may have.
pub(crate) fn page_limit(page: &Page) -> u32 {
    page.limit.clamp(1, 1000)
}

/// How rows are ordered, and which of them a stretch holds.
struct Order<'l> {
    table: &'l str,
    /// `None`: by the row id alone.
    column: Option<&'l str>,
    /// The column has a value in every row, and each another one.
    unique: bool,
    ascending: bool,
}

impl Order<'_> {
    fn beyond(&self) -> &'static str {
        if self.ascending { ">" } else { "<" }
    }

    /// `ORDER BY` of rows that have a value to sort by, or of all rows.
    fn by_value(&self) -> String {
        let (table, ascending) = (self.table, self.ascending);
        let (order, nulls) = if ascending {
            ("ASC", "NULLS FIRST")
        } else {
            ("DESC", "NULLS LAST")
        };
        match self.column {
            None => format!(" ORDER BY {table}.id {order}"),
            Some(column) if self.unique => format!(" ORDER BY {table}.{column} {order}"),
            Some(column) => {
                format!(" ORDER BY {table}.{column} {order} {nulls}, {table}.id {order}")
            }
        }
    }

    fn stretch(&self, conditions: Conditions, by: String) -> Stretch {
        Stretch {
            clause: conditions.text() + &by,
            args: conditions.args,
        }
    }

    /// Everything, from the start.
    fn whole(&self, conditions: Conditions) -> Stretch {
        self.stretch(conditions, self.by_value())
    }

    /// Rows behind the row id `id`, in the order of row ids: those without a value, or all of them when
    /// nothing else is sorted by.
    fn behind_id(&self, mut conditions: Conditions, id: Option<i64>) -> Stretch {
        let table = self.table;
        if let Some(column) = self.column {
            conditions.is_null(&format!("{table}.{column}"), true);
        }
        if let Some(id) = id {
            let id = conditions.arg(id);
            conditions.and(format!("{table}.id {} {id}", self.beyond()));
        }
        let order = if self.ascending { "ASC" } else { "DESC" };
        self.stretch(conditions, format!(" ORDER BY {table}.id {order}"))
    }

    /// Rows with this value and a greater row id, then rows with greater values. Two stretches, because SQLite
    /// does not take a comparison of both together for a range of an index.
    fn behind_value(
        &self,
        conditions: Conditions,
        column: &str,
        value: Value,
        id: i64,
    ) -> Vec<Stretch> {
        let (table, beyond) = (self.table, self.beyond());
        let mut greater = conditions.clone();
        let arg = greater.push(value.clone());
        greater.and(format!("{table}.{column} {beyond} {arg}"));
        let greater = self.whole(greater);
        if self.unique {
            return vec![greater];
        }
        let mut equal = conditions;
        let (value, id) = (equal.push(value), equal.arg(id));
        equal.and(format!("{table}.{column} = {value}"));
        equal.and(format!("{table}.id {beyond} {id}"));
        let order = if self.ascending { "ASC" } else { "DESC" };
        let equal = self.stretch(equal, format!(" ORDER BY {table}.id {order}"));
        vec![equal, greater]
    }

    /// Rows that have a value, from the start.
    fn valued(&self, mut conditions: Conditions, column: &str) -> Stretch {
        conditions.is_null(&format!("{}.{column}", self.table), false);
        self.whole(conditions)
    }
}

/// The stretches of a page, in order.
pub(crate) async fn stretches(
    connection: &mut Connection,
    listed: &Listed,
    conditions: Conditions,
    page: &Page,
) -> Result<Vec<Stretch>, Failure> {
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
    let order = Order {
        table,
        column: sorted.map(|(_, column, _)| *column),
        unique: sorted.is_some_and(|(_, column, _)| *column == listed.ident),
        ascending: page.direction == SortDirection::Ascending,
    };
    let Some(marker) = &page.marker else {
        return Ok(vec![order.whole(conditions)]);
    };
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
    Ok(match (sorted, value) {
        (None, _) => vec![order.behind_id(conditions, Some(id))],
        (Some((_, column, _)), Value::Null(_)) if order.ascending => vec![
            order.behind_id(conditions.clone(), Some(id)),
            order.valued(conditions, column),
        ],
        (Some(_), Value::Null(_)) => vec![order.behind_id(conditions, Some(id))],
        (Some((_, column, _)), value) => {
            let mut all = order.behind_value(conditions.clone(), column, value, id);
            if !order.ascending && !order.unique {
                all.push(order.behind_id(conditions, None));
            }
            all
        }
    })
}

/// The rows of a page; `select` is everything up to the table's name.
pub(crate) async fn page_rows<T>(
    connection: &mut Connection,
    listed: &Listed,
    conditions: Conditions,
    page: &Page,
    select: &str,
    read: impl Fn(&Row) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut left = page_limit(page);
    let mut out = Vec::new();
    for stretch in stretches(connection, listed, conditions, page).await? {
        let (clause, args) = stretch.limited(left);
        let rows = connection
            .rows(format!("{select}{clause}"), args, &read)
            .await?;
        left = left.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        if out.is_empty() {
            out = rows;
        } else {
            out.extend(rows);
        }
        if left == 0 {
            break;
        }
    }
    Ok(out)
}
