//! `/v1/deploy_templates`.

use std::sync::{Arc, LazyLock};

use bessemer_model::{DeployTemplate, DeployTemplateId, TemplateStep, Timestamp, masked};
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch;
use crate::json_schema::{self, COUNT, NAME, STEP_INTERFACES, TRAIT};
use crate::listing;
use crate::paging::{self, Paging};
use crate::told;

const ALLOWED: [&str; 4] = ["extra", "name", "steps", "description"];
const LIST: [&str; 2] = ["uuid", "name"];
const FIELDS: [&str; 7] = [
    "created_at",
    "extra",
    "links",
    "name",
    "steps",
    "updated_at",
    "uuid",
];
const ARGUMENTS: [&str; 6] = [
    "detail", "fields", "limit", "marker", "sort_dir", "sort_key",
];
/// Columns that hold JSON.
const UNSORTABLE: [&str; 2] = ["extra", "steps"];

static STEP: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {
            "args": {"type": "object"},
            "interface": {"type": "string", "enum": STEP_INTERFACES},
            "priority": &*COUNT,
            "step": {"type": "string", "minLength": 1},
        },
        "required": ["interface", "step", "args", "priority"],
        "additionalProperties": false,
    })
});

static TEMPLATE: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {
            "description": {"type": ["string", "null"], "maxLength": 255},
            "extra": {"type": ["object", "null"]},
            "name": &*TRAIT,
            "steps": {"type": "array", "items": &*STEP, "minItems": 1},
            "uuid": {"type": ["string", "null"]},
        },
        "required": ["steps", "name"],
        "additionalProperties": false,
    })
});

static FIELDS_QUERY: LazyLock<Value> = LazyLock::new(|| {
    json!({"type": "array", "items": {"enum": [
        "created_at", "description", "extra", "links", "name", "steps", "updated_at", "uuid",
    ]}})
});

static QUERY: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {
            "fields": &*FIELDS_QUERY,
            "marker": &*NAME,
            "sort_dir": {"type": "string", "enum": ["asc", "desc"]},
        },
    })
});

pub async fn list(call: Call) -> Outcome {
    let args = Args::of_query(&call, &ARGUMENTS)?;
    let marker = args.name("marker")?;
    json_schema::check("", &QUERY, &listing::query(&args, &ARGUMENTS)?)?;
    let sort_key = args.string("sort_key")?;
    listing::allowed_fields(&call, sort_key.as_deref())?;
    let (names, detail) = paging::wanted_fields(&call, &args, &LIST)?;
    let paging = Paging::read_with(&call, &args, "id", &UNSORTABLE, marker)?;
    listing::known_fields(names.as_deref(), &FIELDS)?;
    let rows = call
        .store()
        .list_deploy_templates(&paging.page())
        .await
        .map_err(|error| paging::list_fault("Deploy template", error))?;
    let items = rows
        .iter()
        .map(|row| view(&call, row, names.as_deref()))
        .collect();
    let last = rows.last().map(|row| row.id.to_string());
    Ok(listing::page(
        &call,
        "deploy_templates",
        &paging,
        items,
        last,
        detail,
        names.as_deref(),
    ))
}

pub async fn get(call: Call) -> Outcome {
    let args = Args::of_query(&call, &["fields"])?;
    let ident = ident(&call)?;
    let fields = args.list("fields")?;
    if let Some(fields) = &fields {
        json_schema::check("", &FIELDS_QUERY, &json!(fields))?;
    }
    let template = found(&call, ident).await?;
    listing::known_fields(fields.as_deref(), &FIELDS)?;
    Ok(Answer::json(&Value::Object(view(
        &call,
        &template,
        fields.as_deref(),
    ))))
}

pub async fn create(call: Call) -> Outcome {
    let body = body::json(&call.body)?;
    json_schema::check("template", &TEMPLATE, &body)?;
    let Value::Object(map) = body else {
        return Err(ApiFault::invalid("A deploy template is a JSON object."));
    };
    listing::no_duplicate_steps(listing::items(&map, "steps"))?;
    let mut template = DeployTemplate {
        id: DeployTemplateId(listing::new_id(&map)?),
        name: String::new(),
        extra: Map::new(),
        steps: Vec::new(),
        created_at: Timestamp::now(),
        updated_at: None,
    };
    assign(&mut template, &map)?;
    told::created(
        &call,
        &template,
        &map,
        call.store().create_deploy_template(&template),
    )
    .await?;
    let location = call.url(&format!("deploy_templates/{}", template.id));
    Ok(Answer::json(&Value::Object(view(&call, &template, None))).created(location))
}

pub async fn patch(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let ident = ident(&call)?;
    let patch = json_patch::read(&call)?;
    json_patch::only(&patch, &ALLOWED)?;
    let before = found(&call, ident).await?;
    let mut wanted = before.clone();
    patched(&mut wanted, &patch)?;
    let write = call.store().update_deploy_template(
        before.id,
        Arc::new(move |template: &mut DeployTemplate| {
            patched(template, &patch).map_err(ApiFault::into_fault)
        }),
    );
    let after = told::updated(&call, &before, &wanted, write).await?;
    Ok(Answer::json(&Value::Object(view(&call, &after, None))))
}

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let ident = ident(&call)?;
    let template = found(&call, ident).await?;
    told::deleted(
        &call,
        &template,
        call.store().delete_deploy_template(template.id),
    )
    .await?;
    Ok(Answer::no_content())
}

fn patched(template: &mut DeployTemplate, patch: &[json_patch::Operation]) -> Result<(), ApiFault> {
    let Value::Object(mut document) = json!({
        "name": template.name,
        "extra": template.extra,
        "steps": template.steps,
    }) else {
        return Ok(());
    };
    let before = listing::items(&document, "steps").to_vec();
    json_patch::apply(&mut document, patch)?;
    if let Some(Value::Array(steps)) = document.get_mut("steps") {
        for step in steps.iter_mut() {
            json_schema::prune(&STEP, step);
            json_schema::check("patch", &STEP, step)?;
        }
        listing::keep_step_secrets(steps, &before);
    }
    let document = Value::Object(document);
    json_schema::check("patch", &TEMPLATE, &document)?;
    let Value::Object(document) = document else {
        return Ok(());
    };
    listing::no_duplicate_steps(listing::items(&document, "steps"))?;
    assign(template, &document)
}

/// Takes over what the schema has found right.
fn assign(template: &mut DeployTemplate, map: &Map<String, Value>) -> Result<(), ApiFault> {
    template.name = listing::text(map, "name").unwrap_or_default();
    template.extra = listing::object(map, "extra");
    template.steps = listing::items(map, "steps")
        .iter()
        .filter_map(Value::as_object)
        .map(|step| {
            Ok(TemplateStep {
                interface: listing::text(step, "interface").unwrap_or_default(),
                step: listing::text(step, "step").unwrap_or_default(),
                args: listing::object(step, "args"),
                priority: listing::count("priority", step.get("priority"))?,
            })
        })
        .collect::<Result<_, ApiFault>>()?;
    Ok(())
}

fn ident(call: &Call) -> Result<&str, ApiFault> {
    listing::ident(call, "template", "template_ident")
}

async fn found(call: &Call, ident: &str) -> Result<DeployTemplate, ApiFault> {
    let mut found = call.store().find_deploy_template(ident).await?;
    if found.is_none() && call.json_suffix {
        let whole = format!("{ident}.json");
        found = call.store().find_deploy_template(&whole).await?;
    }
    found.ok_or_else(|| ApiFault::not_found(format!("Deploy template {ident} could not be found.")))
}

fn view(call: &Call, template: &DeployTemplate, fields: Option<&[String]>) -> Map<String, Value> {
    let steps: Vec<Value> = template
        .steps
        .iter()
        .map(|step| {
            json!({
                "interface": step.interface,
                "step": step.step,
                "args": masked(&Value::Object(step.args.clone())),
                "priority": step.priority,
            })
        })
        .collect();
    let whole = json!({
        "uuid": template.id,
        "created_at": template.created_at,
        "updated_at": template.updated_at,
        "name": template.name,
        "extra": template.extra,
        "links": call.links(&format!("deploy_templates/{}", template.id)),
        "steps": steps,
    });
    match whole {
        Value::Object(map) => listing::cut(map, fields),
        _ => Map::new(),
    }
}
