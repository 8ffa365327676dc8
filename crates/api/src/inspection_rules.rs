//! `/v1/inspection_rules`.

use std::sync::{Arc, LazyLock};

use bessemer_model::inspection_rule::{self, ACTIONS, MAIN_PHASE, OPERATORS};
use bessemer_model::{InspectionRule, InspectionRuleId, Timestamp};
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch;
use crate::json_schema;
use crate::listing;
use crate::paging::{self, Paging};
use crate::told;

const LIST: [&str; 4] = ["uuid", "priority", "phase", "description"];
const FIELDS: [&str; 10] = [
    "actions",
    "conditions",
    "created_at",
    "description",
    "links",
    "phase",
    "priority",
    "sensitive",
    "updated_at",
    "uuid",
];
const ARGUMENTS: [&str; 7] = [
    "detail", "fields", "limit", "marker", "phase", "sort_dir", "sort_key",
];

static RULE: LazyLock<Value> = LazyLock::new(|| {
    let actions: Vec<&str> = ACTIONS.iter().map(|s| s.op).collect();
    let plain = OPERATORS.iter().map(|s| s.op.to_owned());
    let inverted = OPERATORS.iter().map(|s| format!("!{}", s.op));
    let operators: Vec<String> = plain.chain(inverted).collect();
    let args = json!({"type": ["array", "object"]});
    json!({
        "type": "object",
        "properties": {
            "actions": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["op", "args"],
                    "properties": {"op": {"enum": actions}, "args": &args, "loop": &args},
                },
            },
            "conditions": {
                "type": "array",
                "minItems": 0,
                "items": {
                    "type": "object",
                    "required": ["op", "args"],
                    "properties": {
                        "op": {"enum": operators},
                        "args": &args,
                        "multiple": {"enum": ["any", "all", "first", "last"]},
                        "loop": &args,
                    },
                },
            },
            "description": {"type": ["string", "null"], "maxLength": 255},
            "phase": {"type": ["string", "null"], "maxLength": 16},
            "priority": {"type": "integer", "minimum": 0},
            "sensitive": {"type": ["boolean", "null"]},
            "uuid": {"type": ["string", "null"]},
        },
        "required": ["actions"],
        "additionalProperties": false,
    })
});

static QUERY: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {
            "sort_dir": {"type": "string", "enum": ["asc", "desc"]},
            "sort_key": {"not": {"type": "string", "enum": ["actions", "conditions"]}},
        },
    })
});

static UUID: LazyLock<Value> = LazyLock::new(|| json!({"type": "string", "format": "uuid"}));

pub async fn list(call: Call) -> Outcome {
    let args = Args::of_query(&call, &ARGUMENTS)?;
    json_schema::check("", &QUERY, &listing::query(&args, &ARGUMENTS)?)?;
    let (sort_key, marker) = (args.string("sort_key")?, args.string("marker")?);
    let asked = args.list("fields")?.unwrap_or_default();
    listing::allowed_fields(
        &call,
        asked.iter().map(String::as_str).chain(sort_key.as_deref()),
    )?;
    let (names, detail) = paging::wanted_fields(&call, &args, &LIST)?;
    let paging = Paging::read_with(&call, &args, "id", &[], marker)?;
    listing::known_fields(names.as_deref(), &FIELDS)?;
    let rows = call
        .store()
        .list_inspection_rules(args.string("phase")?.as_deref(), &paging.page())
        .await
        .map_err(|error| paging::list_fault("Rule", error))?;
    let items = rows
        .iter()
        .map(|row| view(&call, row, names.as_deref()))
        .collect();
    let last = rows.last().map(|row| row.id.to_string());
    Ok(listing::page(
        &call,
        "inspection_rules",
        &paging,
        items,
        last,
        detail,
        names.as_deref(),
    ))
}

pub async fn get(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let fields = args.list("fields")?;
    let id = id(&call)?;
    let rule = found(&call, id).await?;
    listing::allowed_fields(&call, fields.iter().flatten().map(String::as_str))?;
    listing::known_fields(fields.as_deref(), &FIELDS)?;
    Ok(Answer::json(&Value::Object(view(
        &call,
        &rule,
        fields.as_deref(),
    ))))
}

pub async fn create(call: Call) -> Outcome {
    let body = body::json(&call.body)?;
    json_schema::check("", &RULE, &body)?;
    let Value::Object(map) = body else {
        return Err(ApiFault::invalid("An inspection rule is a JSON object."));
    };
    let mut rule = InspectionRule {
        id: InspectionRuleId(listing::new_id(&map)?),
        priority: 0,
        description: None,
        sensitive: false,
        phase: None,
        conditions: Vec::new(),
        actions: Vec::new(),
        created_at: Timestamp::now(),
        updated_at: None,
    };
    assign(&mut rule, &map)?;
    told::created(
        &call,
        &rule,
        &map,
        call.store().create_inspection_rule(&rule),
    )
    .await?;
    let location = call.url(&format!("inspection_rules/{}", rule.id));
    Ok(Answer::json(&Value::Object(view(&call, &rule, None))).created(location))
}

pub async fn patch(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let ident = crate::args::uuid("inspection_rule_uuid", &Value::from(call.param("rule")))?;
    let patch = json_patch::read(&call)?;
    let id: InspectionRuleId = ident.parse().map_err(|_| missing(&ident))?;
    let before = found(&call, id).await?;
    let mut wanted = before.clone();
    patched(&mut wanted, &patch)?;
    let write = call.store().update_inspection_rule(
        id,
        Arc::new(move |rule: &mut InspectionRule| {
            patched(rule, &patch).map_err(ApiFault::into_fault)
        }),
    );
    let after = told::updated(&call, &before, &wanted, write).await?;
    Ok(Answer::json(&Value::Object(view(&call, &after, None))))
}

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let id = id(&call)?;
    let rule = found(&call, id).await?;
    told::deleted(&call, &rule, call.store().delete_inspection_rule(id)).await?;
    Ok(Answer::no_content())
}

fn patched(rule: &mut InspectionRule, patch: &[json_patch::Operation]) -> Result<(), ApiFault> {
    let unset = json_patch::values(patch, "/sensitive")
        .first()
        .is_some_and(|flag| !flag.is_null() && flag.as_bool() != Some(true));
    if rule.sensitive && unset {
        return Err(json_patch::refused(
            patch,
            "Inspection rules cannot have the sensitive flag unset.",
        ));
    }
    let was_sensitive = rule.sensitive;
    let Value::Object(mut document) = json!({
        "uuid": rule.id,
        "priority": rule.priority,
        "description": rule.description,
        "sensitive": rule.sensitive,
        "phase": rule.phase,
        "conditions": rule.conditions,
        "actions": rule.actions,
    }) else {
        return Ok(());
    };
    json_patch::apply(&mut document, patch)?;
    let mut document = Value::Object(document);
    json_schema::prune(&RULE, &mut document);
    json_schema::check("patch", &RULE, &document)?;
    let Value::Object(document) = document else {
        return Ok(());
    };
    if document.get("uuid").and_then(Value::as_str) != Some(rule.id.to_string().as_str()) {
        return Err(ApiFault::invalid(
            "Cannot overwrite UUID for an existing inspection rule.",
        ));
    }
    assign(rule, &document)?;
    // however the flag was touched: what was hidden stays so
    rule.sensitive |= was_sensitive;
    Ok(())
}

/// Takes over what the schema has found right, when the rest is right too.
fn assign(rule: &mut InspectionRule, map: &Map<String, Value>) -> Result<(), ApiFault> {
    rule.priority = map
        .get("priority")
        .and_then(json_schema::whole)
        .unwrap_or(0);
    rule.description = listing::text(map, "description");
    rule.sensitive = map
        .get("sensitive")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    rule.phase = match map.get("phase") {
        None => Some(MAIN_PHASE.to_owned()),
        Some(phase) => phase.as_str().map(str::to_owned),
    };
    rule.conditions = listing::items(map, "conditions").to_vec();
    rule.actions = listing::items(map, "actions").to_vec();
    inspection_rule::check(
        rule.phase.as_deref(),
        rule.priority,
        &rule.conditions,
        &rule.actions,
        false,
    )?;
    Ok(())
}

fn missing(id: impl std::fmt::Display) -> ApiFault {
    ApiFault::not_found(format!("Rule {id} could not be found."))
}

fn id(call: &Call) -> Result<InspectionRuleId, ApiFault> {
    let text = call.param("rule");
    json_schema::check("", &UUID, &Value::from(text))?;
    text.parse().map_err(|_| missing(text))
}

async fn found(call: &Call, id: InspectionRuleId) -> Result<InspectionRule, ApiFault> {
    call.store()
        .get_inspection_rule(id)
        .await?
        .ok_or_else(|| missing(id))
}

/// An operation as clients see it: what else it was stored with is left out.
fn shown(operation: &Value, condition: bool) -> Value {
    let mut map = Map::new();
    for key in ["op", "args"] {
        map.insert(
            key.into(),
            operation.get(key).cloned().unwrap_or(Value::Null),
        );
    }
    let over = operation.get("loop").filter(|over| match over {
        Value::Array(items) => !items.is_empty(),
        Value::Object(items) => !items.is_empty(),
        _ => false,
    });
    if let Some(over) = over {
        map.insert("loop".into(), over.clone());
        if condition {
            let multiple = operation.get("multiple").cloned();
            map.insert("multiple".into(), multiple.unwrap_or_else(|| "any".into()));
        }
    }
    Value::Object(map)
}

fn view(call: &Call, rule: &InspectionRule, fields: Option<&[String]>) -> Map<String, Value> {
    let operations = |all: &[Value], condition: bool| -> Value {
        if rule.sensitive {
            return Value::Null;
        }
        all.iter().map(|one| shown(one, condition)).collect()
    };
    let whole = json!({
        "uuid": rule.id,
        "created_at": rule.created_at,
        "updated_at": rule.updated_at,
        "description": rule.description,
        "priority": rule.priority,
        "sensitive": rule.sensitive,
        "phase": rule.phase,
        "conditions": operations(&rule.conditions, true),
        "actions": operations(&rule.actions, false),
        "links": call.links(&format!("inspection_rules/{}", rule.id)),
    });
    match whole {
        Value::Object(map) => listing::cut(map, fields),
        _ => Map::new(),
    }
}
