//! Finds rows that contradict each other or cannot be read, and says what to do about each.
//!
//! Most of what is looked for cannot come from this program: foreign keys, unique indexes and transactions guard it. It
//! comes from disks that lie, from hands in the database, from half-copied files. A repair is only made where nothing
//! that anybody could want is lost; each tests its condition again within its own transaction, so that a check may run
//! beside the service.

use std::collections::BTreeMap;
use std::sync::Arc;

use bessemer_model::provision::{StateKind, transition};
use bessemer_model::{
    AllocationState, Event, Fault, Node, NodeHealthFault, NodeId, Object, PowerState,
    ProvisionState, RunbookStep, TemplateStep, Timestamp,
};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::failure::Failure;
use crate::node;
use crate::secrets;
use crate::sql::{Connection, Kind, Value, args};
use crate::store::{Store, Wakes};
use crate::{OperationStatus, SignalKind, StoreError, TimelineEvent, TimelineSource, document};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What and where, a sentence without a full stop.
    pub what: String,
    /// What to do about it.
    pub advice: String,
    pub repair: Repair,
    /// Nothing is wrong, but something can be done.
    pub is_notice: bool,
}

/// Whether it was mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Only a person can tell what is right.
    ByHand,
    /// `--fix` does it.
    Possible,
    Done,
}

const OPEN: &str = "status IN ('ready', 'running', 'waiting')";
const IDLE: &str = "NOT EXISTS (SELECT 1 FROM operation o WHERE o.node = node.uuid \
                    AND o.status IN ('ready', 'running', 'waiting'))";

/// Tables whose rows belong to a node.
const OF_NODES: [&str; 12] = [
    "port",
    "portgroup",
    "volume_connector",
    "volume_target",
    "operation",
    "timeline",
    "history",
    "boot",
    "inventory",
    "bios_setting",
    "firmware_component",
    "allocation",
];

/// A query whose rows are findings, each with up to two texts for its sentence.
struct Rule {
    sql: String,
    /// `{0}` and `{1}` are the texts.
    what: String,
    advice: &'static str,
    fix: Option<String>,
    is_notice: bool,
}

impl Rule {
    fn new(sql: impl Into<String>, what: impl Into<String>, advice: &'static str) -> Self {
        Self {
            sql: sql.into(),
            what: what.into(),
            advice,
            fix: None,
            is_notice: false,
        }
    }

    fn fix(mut self, sql: impl Into<String>) -> Self {
        self.fix = Some(sql.into());
        self
    }

    fn notice(mut self) -> Self {
        self.is_notice = true;
        self
    }
}

fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for table in OF_NODES {
        let orphan = format!(
            "{table}.node IS NOT NULL AND NOT EXISTS (SELECT 1 FROM node n WHERE n.uuid = {table}.node)"
        );
        rules.push(
            Rule::new(
                format!(
                    "SELECT node, CAST(COUNT(*) AS TEXT) FROM {table} WHERE {orphan} GROUP BY node"
                ),
                format!("{{1}} rows of table {table} belong to node {{0}}, which does not exist"),
                "they are of no use without it, and --fix removes them; if the node itself is missed, restore a backup",
            )
            .fix(format!("DELETE FROM {table} WHERE {orphan}")),
        );
    }
    rules.extend([
        Rule::new(
            "SELECT operation, CAST(COUNT(*) AS TEXT) FROM signal WHERE NOT EXISTS (SELECT 1 FROM operation o \
             WHERE o.uuid = signal.operation) GROUP BY operation",
            "{1} signals are to operation {0}, which does not exist",
            "nobody will read them; --fix removes them",
        )
        .fix("DELETE FROM signal WHERE NOT EXISTS (SELECT 1 FROM operation o WHERE o.uuid = signal.operation)"),
        Rule::new(
            format!("SELECT operation, CAST(COUNT(*) AS TEXT) FROM signal WHERE EXISTS (SELECT 1 FROM operation \
             WHERE operation.uuid = signal.operation AND NOT ({OPEN})) GROUP BY operation"),
            "{1} signals are to operation {0}, which has ended",
            "nobody will read them; --fix removes them",
        )
        .fix(format!("DELETE FROM signal WHERE EXISTS (SELECT 1 FROM operation WHERE operation.uuid = signal.operation \
              AND NOT ({OPEN}))")),
        Rule::new(
            "SELECT CAST(id AS TEXT), '' FROM node_document WHERE NOT EXISTS (SELECT 1 FROM node n WHERE n.id = node_document.id)",
            "the stored document of row {0} has no node",
            "--fix removes it",
        )
        .fix("DELETE FROM node_document WHERE NOT EXISTS (SELECT 1 FROM node n WHERE n.id = node_document.id)"),
        Rule::new(
            format!("SELECT uuid, reservation FROM node WHERE reservation IS NOT NULL AND {IDLE}"),
            "node {0} is reserved by {1}, but no operation of it is open",
            "clients wait for it in vain; --fix frees it",
        )
        .fix(format!("UPDATE node SET reservation = NULL WHERE reservation IS NOT NULL AND {IDLE}")),
        Rule::new(
            format!("SELECT uuid, target_power_state FROM node WHERE target_power_state IS NOT NULL AND {IDLE}"),
            "node {0} is on its way to {1}, but no operation of it is open",
            "nobody works on it; --fix clears the target, then ask for the power state again",
        )
        .fix(format!("UPDATE node SET target_power_state = NULL WHERE target_power_state IS NOT NULL AND {IDLE}")),
        Rule::new(
            format!("SELECT uuid, provision_state FROM node WHERE (clean_step <> '{{}}' OR deploy_step <> '{{}}' \
                     OR service_step <> '{{}}') AND {IDLE}"),
            "node {0} ({1}) shows a step that is running, but no operation of it is open",
            "--fix clears the step",
        )
        .fix(format!("UPDATE node SET clean_step = '{{}}', deploy_step = '{{}}', service_step = '{{}}' \
                      WHERE (clean_step <> '{{}}' OR deploy_step <> '{{}}' OR service_step <> '{{}}') AND {IDLE}"))
        .notice(),
        Rule::new(
            "SELECT uuid, portgroup FROM port WHERE portgroup IS NOT NULL AND NOT EXISTS (SELECT 1 FROM portgroup g \
             WHERE g.uuid = port.portgroup)",
            "port {0} is in port group {1}, which does not exist",
            "take it out (`baremetal port unset --port-group`) or put it into another (`baremetal port set --port-group`)",
        ),
        Rule::new(
            "SELECT port.uuid, port.portgroup FROM port JOIN portgroup ON portgroup.uuid = port.portgroup \
             WHERE portgroup.node <> port.node",
            "port {0} is in port group {1} of another node",
            "put it into a port group of its own node (`baremetal port set --port-group`)",
        ),
        Rule::new(
            "SELECT uuid, chassis_uuid FROM node WHERE chassis_uuid IS NOT NULL AND NOT EXISTS (SELECT 1 FROM chassis c \
             WHERE c.uuid = node.chassis_uuid)",
            "node {0} is in chassis {1}, which does not exist",
            "take it out (`baremetal node unset --chassis-uuid`) or create the chassis with this UUID",
        ),
        Rule::new(
            "SELECT uuid, parent_node FROM node WHERE parent_node IS NOT NULL AND NOT EXISTS (SELECT 1 FROM node p \
             WHERE p.uuid = node.parent_node OR p.name = node.parent_node)",
            "the parent of node {0} is {1}, which does not exist",
            "set another (`baremetal node set --parent-node`) or none (`baremetal node unset --parent-node`)",
        ),
        Rule::new(
            "SELECT uuid, allocation_uuid FROM node WHERE allocation_uuid IS NOT NULL AND NOT EXISTS (SELECT 1 \
             FROM allocation a WHERE a.uuid = node.allocation_uuid)",
            "node {0} belongs to allocation {1}, which does not exist",
            "--fix clears the reference; the instance is not touched",
        )
        .fix("UPDATE node SET allocation_uuid = NULL WHERE allocation_uuid IS NOT NULL AND NOT EXISTS (SELECT 1 \
              FROM allocation a WHERE a.uuid = node.allocation_uuid)"),
        Rule::new(
            "SELECT uuid, '' FROM allocation WHERE state = 'active' AND node IS NULL",
            "allocation {0} is active, but has no node",
            "delete it (`baremetal allocation delete`) and allocate anew",
        ),
        Rule::new(
            "SELECT allocation.uuid, allocation.node FROM allocation JOIN node ON node.uuid = allocation.node \
             WHERE allocation.state = 'active' AND (node.allocation_uuid IS NULL OR node.allocation_uuid <> allocation.uuid)",
            "allocation {0} has node {1}, which knows nothing of it",
            "see what the node is used for (`baremetal node show`); then delete the allocation, or undeploy the node",
        ),
        Rule::new(
            "SELECT hostname, session FROM conductor WHERE NOT EXISTS (SELECT 1 FROM session s WHERE s.uuid = conductor.session)",
            "conductor {0} has a session that does not exist",
            "--fix removes the entry; the conductor makes a new one when it starts",
        )
        .fix("DELETE FROM conductor WHERE NOT EXISTS (SELECT 1 FROM session s WHERE s.uuid = conductor.session)"),
        Rule::new(
            format!("SELECT node, CAST(COUNT(*) AS TEXT) FROM operation WHERE {OPEN} GROUP BY node HAVING COUNT(*) > 1"),
            "node {0} has {1} open operations, and one is the most",
            "restore a backup: the index that guards this is damaged",
        ),
    ]);
    rules
}

/// What a column's text must be.
type Parses = fn(&str) -> bool;

fn parses<T: DeserializeOwned>(text: &str) -> bool {
    serde_json::from_str::<T>(text).is_ok()
}

const OBJECT: Parses = parses::<Object>;
const ANY: Parses = parses::<Json>;
const NAMES: Parses = parses::<Vec<String>>;
const LIST: Parses = parses::<Vec<Json>>;

/// Table, its key, the column that names a row to a reader, and what must parse.
type Texts = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, Parses)],
);

const TEXTS: &[Texts] = &[
    (
        "node",
        "id",
        "uuid",
        &[
            ("driver_info", OBJECT),
            ("properties", OBJECT),
            ("extra", OBJECT),
            ("instance_info", OBJECT),
            ("driver_internal_info", OBJECT),
            ("network_data", OBJECT),
            ("raid_config", OBJECT),
            ("target_raid_config", OBJECT),
            ("clean_step", OBJECT),
            ("deploy_step", OBJECT),
            ("service_step", OBJECT),
            ("traits", NAMES),
            ("provision_state", |t| ProvisionState::parse(t).is_some()),
            ("target_provision_state", |t| {
                ProvisionState::parse(t).is_some()
            }),
            ("power_state", |t| PowerState::parse(t).is_some()),
            ("target_power_state", |t| PowerState::parse(t).is_some()),
            ("fault", |t| NodeHealthFault::parse(t).is_some()),
        ],
    ),
    ("chassis", "id", "uuid", &[("extra", OBJECT)]),
    ("outbox", "id", "message_id", &[("payload", ANY)]),
    (
        "port",
        "id",
        "uuid",
        &[
            ("extra", OBJECT),
            ("internal_info", OBJECT),
            ("local_link_connection", OBJECT),
        ],
    ),
    (
        "portgroup",
        "id",
        "uuid",
        &[
            ("extra", OBJECT),
            ("internal_info", OBJECT),
            ("properties", OBJECT),
        ],
    ),
    ("volume_connector", "id", "uuid", &[("extra", OBJECT)]),
    (
        "volume_target",
        "id",
        "uuid",
        &[("extra", OBJECT), ("properties", OBJECT)],
    ),
    (
        "operation",
        "id",
        "uuid",
        &[
            ("args", ANY),
            ("data", ANY),
            ("status", |t| {
                OperationStatus::ALL.iter().any(|s| s.as_str() == t)
            }),
        ],
    ),
    (
        "signal",
        "id",
        "operation",
        &[
            ("payload", ANY),
            ("kind", |t| SignalKind::ALL.iter().any(|k| k.as_str() == t)),
        ],
    ),
    ("conductor", "id", "hostname", &[("catalogue", ANY)]),
    (
        "allocation",
        "id",
        "uuid",
        &[
            ("traits", NAMES),
            ("candidate_nodes", NAMES),
            ("extra", OBJECT),
            ("state", |t| AllocationState::parse(t).is_some()),
        ],
    ),
    (
        "deploy_template",
        "id",
        "uuid",
        &[("extra", OBJECT), ("steps", parses::<Vec<TemplateStep>>)],
    ),
    (
        "runbook",
        "id",
        "uuid",
        &[
            ("extra", OBJECT),
            ("steps", parses::<Vec<RunbookStep>>),
            ("traits", NAMES),
        ],
    ),
    (
        "inspection_rule",
        "id",
        "uuid",
        &[("conditions", LIST), ("actions", LIST)],
    ),
    (
        "inventory",
        "node",
        "node",
        &[("inventory", OBJECT), ("plugin_data", OBJECT)],
    ),
    ("timeline", "id", "node", &[("data", ANY)]),
];

const AT_ONCE: u32 = 100;

/// Rows of a table, page by page, as the texts of some columns.
async fn scan(
    connection: &mut Connection,
    table: &str,
    key: (&str, Kind),
    columns: &[&str],
    mut row: impl FnMut(Vec<Option<String>>),
) -> Result<(), Failure> {
    let (key, kind) = key;
    let mut last: Option<Value> = None;
    loop {
        let (behind, args) = match last.take() {
            None => (String::new(), Vec::new()),
            Some(value) => (format!(" WHERE {key} > $1"), vec![value]),
        };
        let sql = format!(
            "SELECT {key}, {} FROM {table}{behind} ORDER BY {key} LIMIT {AT_ONCE}",
            columns.join(", ")
        );
        let mut count = 0;
        let keys = connection
            .rows(sql, args, |found| {
                count += 1;
                let texts = (1..=columns.len())
                    .map(|index| found.get::<Option<String>>(index))
                    .collect::<Result<Vec<_>, _>>()?;
                row(texts);
                found.value(0, kind)
            })
            .await?;
        last = keys.into_iter().last();
        if count < AT_ONCE || last.is_none() {
            return Ok(());
        }
    }
}

impl Store {
    /// Looks at the whole database; with `fix` mends what is safe to mend.
    ///
    /// # Errors
    /// When the database does not answer, or a repair cannot be written.
    pub async fn check(&self, fix: bool) -> Result<Vec<Finding>, StoreError> {
        let mut findings = Vec::new();
        self.check_file(&mut findings).await?;
        self.check_texts(&mut findings).await?;
        for rule in rules() {
            self.check_rule(rule, fix, &mut findings).await?;
        }
        self.check_states(fix, &mut findings).await?;
        self.check_secrets(&mut findings).await?;
        self.check_documents(fix, &mut findings).await?;
        Ok(findings)
    }

    /// What SQLite itself finds in its file. PostgreSQL has `pg_amcheck` for that.
    async fn check_file(&self, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let mut connection = self.reader().await?;
        if connection.is_postgres() {
            return Ok(());
        }
        let said: Vec<String> = connection
            .rows("PRAGMA integrity_check(20)", Vec::new(), |row| row.get(0))
            .await?;
        findings.extend(said.into_iter().filter(|line| line != "ok").map(|line| Finding {
            what: format!("the file of the database is damaged: {line}"),
            advice: "stop the service, keep a copy of the file, restore the last backup, and check the disk".into(),
            repair: Repair::ByHand,
            is_notice: false,
        }));
        Ok(())
    }

    async fn check_texts(&self, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let mut connection = self.reader().await?;
        for (table, key, label, columns) in TEXTS {
            let kind = if *key == "id" { Kind::Int } else { Kind::Text };
            let mut names = vec![*label];
            names.extend(columns.iter().map(|(name, _)| *name));
            scan(&mut connection, table, (key, kind), &names, |texts| {
                let mut texts = texts.into_iter();
                let row = texts.next().flatten().unwrap_or_default();
                for ((column, parses), text) in columns.iter().zip(texts) {
                    // what may be null is; what must not be has a constraint
                    if text.as_deref().is_none_or(*parses) {
                        continue;
                    }
                    findings.push(Finding {
                        what: format!("column {column} of {table} {row} cannot be read"),
                        advice: "whatever reads this row fails; restore a backup, or write a right value into the column by \
                                 hand (an empty dictionary is {}, an empty list [])"
                            .into(),
                        repair: Repair::ByHand,
                        is_notice: false,
                    });
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn check_rule(
        &self,
        rule: Rule,
        fix: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), StoreError> {
        let found: Vec<(Option<String>, Option<String>)> = self
            .reader()
            .await?
            .rows(rule.sql, Vec::new(), |row| Ok((row.get(0)?, row.get(1)?)))
            .await?;
        if found.is_empty() {
            return Ok(());
        }
        let mut repair = match rule.fix {
            Some(_) => Repair::Possible,
            None => Repair::ByHand,
        };
        if let (Some(sql), true) = (rule.fix, fix) {
            let sql: Arc<str> = sql.into();
            self.write("check", Wakes::Nobody, move |tx| {
                let sql = sql.to_string();
                Box::pin(async move { tx.execute(sql, Vec::new()).await })
            })
            .await?;
            repair = Repair::Done;
        }
        for (first, second) in found {
            findings.push(Finding {
                what: rule
                    .what
                    .replace("{0}", first.as_deref().unwrap_or("(none)"))
                    .replace("{1}", second.as_deref().unwrap_or("(none)")),
                advice: rule.advice.to_owned(),
                repair,
                is_notice: rule.is_notice,
            });
        }
        Ok(())
    }

    /// Nodes in a state that somebody must work at, and nobody does.
    async fn check_states(&self, fix: bool, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let idle: Vec<(String, String)> = self
            .reader()
            .await?
            .rows(
                format!("SELECT uuid, provision_state FROM node WHERE {IDLE}"),
                Vec::new(),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .await?;
        for (id, state) in idle {
            let Some(stuck) = ProvisionState::parse(&state).filter(|s| way_out(*s).is_some())
            else {
                continue;
            };
            let failed = way_out(stuck)
                .and_then(|event| transition(stuck, event).ok())
                .map_or_else(String::new, |row| format!(" ({})", row.to));
            let mut finding = Finding {
                what: format!("node {id} is in \"{state}\", but no operation of it is open"),
                advice: format!(
                    "it would stay there for ever; --fix puts it into its failed state{failed}, from which it can be \
                     managed, deployed or undeployed again; the node itself is not touched"
                ),
                repair: Repair::Possible,
                is_notice: false,
            };
            if fix && let Ok(node) = id.parse() {
                match self.fail_stuck(node).await {
                    Ok(()) => finding.repair = Repair::Done,
                    Err(StoreError::Sealed { what, .. }) => {
                        finding.advice =
                            format!("first the secret {what} must be readable (see there)");
                        finding.repair = Repair::ByHand;
                    }
                    Err(other) => return Err(other),
                }
            }
            findings.push(finding);
        }
        Ok(())
    }

    async fn fail_stuck(&self, id: NodeId) -> Result<(), StoreError> {
        self.write("check", Wakes::Nobody, move |tx| {
            Box::pin(async move {
                let before = node::require(tx, id).await?;
                node::refuse_open(tx, id).await?;
                let change: crate::NodeChange = Arc::new(move |node: &mut Node| {
                    let stuck = node.provision_state;
                    let Some(event) = way_out(stuck) else {
                        return Ok(());
                    };
                    let row = transition(stuck, event)
                        .map_err(|refused| Fault::internal(refused.to_string()))?;
                    node.provision_state = row.to;
                    node.last_error = Some(format!(
                        "Node {} was in \"{stuck}\" although nothing worked on it any more; `bessemer db check` ended that.",
                        node.id
                    ));
                    for step in [
                        &mut node.clean_step,
                        &mut node.deploy_step,
                        &mut node.service_step,
                    ] {
                        step.clear();
                    }
                    Ok(())
                });
                let event = TimelineEvent {
                    at: Timestamp::now(),
                    source: TimelineSource::Engine,
                    text: "`bessemer db check --fix` found no open operation of this node".into(),
                    data: None,
                };
                node::apply(tx, before, Some(None), &change, &[event]).await
            })
        })
        .await?;
        Ok(())
    }

    async fn check_secrets(&self, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
        let keys = Arc::clone(self.keys());
        let mut connection = self.reader().await?;
        let known: Vec<String> = connection
            .rows(
                "SELECT key_id FROM secret_key ORDER BY key_id",
                Vec::new(),
                |row| row.get(0),
            )
            .await?;
        for id in known.iter().filter(|id| keys.ids().all(|have| have != *id)) {
            findings.push(Finding {
                what: format!("secrets of this database may be encrypted under key {id}, which is not configured"),
                advice: "the service does not start without it: add it to [database] encryption_key_file or \
                         encryption_keys, behind the first key; if it is lost for good, `bessemer db rotate-secrets \
                         --forget-unreadable` removes what cannot be read"
                    .into(),
                repair: Repair::ByHand,
                is_notice: false,
            });
        }
        let mut columns = vec!["uuid"];
        columns.extend(secrets::COLUMNS);
        let (mut plain, mut old) = (0, 0);
        scan(&mut connection, "node", ("id", Kind::Int), &columns, |texts| {
            let mut texts = texts.into_iter();
            let id = texts.next().flatten().unwrap_or_default();
            for (column, text) in secrets::COLUMNS.iter().zip(texts) {
                // what is not JSON is found elsewhere
                let Some(object) = text.and_then(|t| serde_json::from_str::<Object>(&t).ok()) else {
                    continue;
                };
                let survey = keys.survey(&id, column, &object);
                plain += survey.plain;
                old += survey.other_key;
                for (member, why) in survey.unreadable {
                    findings.push(Finding {
                        what: format!("the secret {member} of node {id} cannot be decrypted"),
                        advice: format!(
                            "{why}; if it is lost, `bessemer db rotate-secrets --forget-unreadable` removes it, and \
                             `baremetal node set` sets it anew"
                        ),
                        repair: Repair::ByHand,
                        is_notice: false,
                    });
                }
            }
        })
        .await?;
        let notice = |count: usize, what: &str| Finding {
            what: format!("{count} secrets of nodes are {what}"),
            advice: "`bessemer db rotate-secrets` encrypts them under the first key".into(),
            repair: Repair::ByHand,
            is_notice: true,
        };
        if plain > 0 && !keys.is_empty() {
            findings.push(notice(plain, "not encrypted, although a key is configured"));
        }
        if old > 0 {
            findings.push(notice(old, "encrypted under a key that is not the first"));
        }
        Ok(())
    }

    /// The stored document of every node against its columns.
    async fn check_documents(
        &self,
        fix: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), StoreError> {
        let mut connection = self.reader().await?;
        let rows: Vec<(i64, String)> = connection
            .rows("SELECT id, uuid FROM node ORDER BY id", Vec::new(), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .await?;
        let mut wrong = BTreeMap::new();
        for (row, id) in rows {
            let Ok(uuid) = id.parse::<NodeId>() else {
                findings.push(Finding {
                    what: format!("a node has the UUID {id}, which is none"),
                    advice: "nothing can be done with this row through the API; restore a backup, or remove it by hand".into(),
                    repair: Repair::ByHand,
                    is_notice: false,
                });
                continue;
            };
            let stored: Option<Vec<u8>> = connection
                .row(
                    "SELECT document FROM node_document WHERE id = $1",
                    args![row],
                    |found| found.get(0),
                )
                .await?;
            // What cannot be read is found elsewhere, with its reason; what is gone meanwhile is nobody's.
            let Ok(Some(node)) = node::load(&mut connection, uuid).await else {
                continue;
            };
            if stored != Some(document::encode(&node)) {
                wrong.insert(row, uuid);
            }
        }
        drop(connection);
        for (row, uuid) in wrong {
            let repair = if fix {
                self.write("check", Wakes::Nobody, move |tx| {
                    Box::pin(async move {
                        let node = node::require(tx, uuid).await?;
                        tx.execute(
                            "INSERT INTO node_document (id, document) VALUES ($1, $2) \
                             ON CONFLICT (id) DO UPDATE SET document = excluded.document",
                            args![row, document::encode(&node)],
                        )
                        .await
                    })
                })
                .await?;
                Repair::Done
            } else {
                Repair::Possible
            };
            findings.push(Finding {
                what: format!("lists do not show node {uuid} as its columns say"),
                advice: "--fix makes its stored document anew".into(),
                repair,
                is_notice: false,
            });
        }
        Ok(())
    }
}

/// What leads out of a state in which nobody works; `None` for states that may stay.
fn way_out(state: ProvisionState) -> Option<Event> {
    match state.kind() {
        StateKind::Transient | StateKind::Wait => Some(Event::Fail),
        StateKind::Hold => Some(Event::Abort),
        StateKind::Stable | StateKind::Failure => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every state that needs a worker has a way out that the table knows.
    #[test]
    fn nothing_stays_stuck() {
        for state in ProvisionState::ALL {
            if let Some(event) = way_out(state) {
                let row = transition(state, event).unwrap();
                assert!(way_out(row.to).is_none(), "{state} -> {}", row.to);
            }
        }
    }
}
