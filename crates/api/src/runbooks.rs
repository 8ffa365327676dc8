//! `/v1/runbooks`, with their traits.

use std::sync::{Arc, LazyLock};

use bessemer_model::{Runbook, RunbookId, RunbookStep, Timestamp, masked};
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::body;
use crate::call::{Answer, Call, Outcome};
use crate::fault::ApiFault;
use crate::json_patch;
use crate::json_schema::{self, COUNT, STEP_INTERFACES, TRAIT};
use crate::listing;
use crate::paging::{self, Paging};
use crate::told;
use crate::traits;

/// The version in which runbooks got traits, a description and free names.
pub const TRAITS_SINCE: u16 = 112;

const ALLOWED: [&str; 7] = [
    "disable_ramdisk",
    "extra",
    "name",
    "owner",
    "public",
    "steps",
    "description",
];
const LIST: [&str; 2] = ["uuid", "name"];
const FIELDS: [&str; 12] = [
    "created_at",
    "disable_ramdisk",
    "extra",
    "links",
    "name",
    "owner",
    "public",
    "steps",
    "updated_at",
    "uuid",
    "description",
    "traits",
];
/// The last of [`FIELDS`] and [`ALLOWED`] that came with [`TRAITS_SINCE`].
const NEW_FIELDS: usize = 2;
const ARGUMENTS: [&str; 7] = [
    "detail", "fields", "limit", "marker", "project", "sort_dir", "sort_key",
];
/// Columns that hold JSON.
const UNSORTABLE: [&str; 3] = ["extra", "steps", "traits"];

static STEP: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {
            "args": {"type": "object"},
            "interface": {"type": "string", "enum": STEP_INTERFACES},
            "step": {"type": "string", "minLength": 1},
            "order": &*COUNT,
        },
        "required": ["interface", "step", "order"],
        "additionalProperties": false,
    })
});

fn schema(name: &Value, described: bool) -> Value {
    let mut schema = json!({
        "type": "object",
        "properties": {
            "uuid": {"type": ["string", "null"]},
            "name": name,
            "steps": {"type": "array", "items": &*STEP, "minItems": 1},
            "disable_ramdisk": {"type": ["boolean", "null"]},
            "extra": {"type": ["object", "null"]},
            "public": {"type": ["boolean", "null"]},
            "owner": {"type": ["string", "null"], "maxLength": 255},
        },
        "required": ["steps", "name"],
        "additionalProperties": false,
    });
    if described && let Some(properties) = schema.get_mut("properties") {
        properties["description"] = json!({"type": ["string", "null"], "maxLength": 255});
    }
    schema
}

static RUNBOOK: LazyLock<Value> = LazyLock::new(|| schema(&TRAIT, false));

/// Also what every patch is checked by: older clients may patch what has a newer name.
static RUNBOOK_WITH_TRAITS: LazyLock<Value> = LazyLock::new(|| {
    let name = json!({
        "type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[A-Za-z0-9\-._~]+$",
    });
    schema(&name, true)
});

static TRAITS: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "type": "object",
        "properties": {"traits": {"type": "array", "items": &*TRAIT}},
        "additionalProperties": false,
    })
});

fn has_traits(call: &Call) -> bool {
    call.at_least(TRAITS_SINCE)
}

/// The names that this version has, of a list that ends with the newer ones.
fn known<'n>(call: &Call, names: &'n [&'n str], newer: usize) -> &'n [&'n str] {
    let newer = if has_traits(call) { 0 } else { newer };
    names
        .get(..names.len().saturating_sub(newer))
        .unwrap_or(names)
}

pub async fn list(call: Call) -> Outcome {
    let args = Args::of_query(&call, &ARGUMENTS)?;
    let marker = args.name("marker")?;
    // a boolean for upstream, which then looks for a project that is called so
    let wanted = args.boolean("project")?.filter(|given| *given);
    let project = call.list_project("runbook", wanted.map(|_| "True"))?;
    let sort_key = args.string("sort_key")?;
    let asked = args.list("fields")?.unwrap_or_default();
    listing::allowed_fields(
        &call,
        asked.iter().map(String::as_str).chain(sort_key.as_deref()),
    )?;
    let (names, detail) = paging::wanted_fields(&call, &args, &LIST)?;
    let paging = Paging::read_with(&call, &args, "id", &UNSORTABLE, marker)?;
    listing::known_fields(names.as_deref(), known(&call, &FIELDS, NEW_FIELDS))?;
    let rows = call
        .store()
        .list_runbooks(project.as_deref(), &paging.page())
        .await
        .map_err(|error| paging::list_fault("Runbook", error))?;
    let items = rows
        .iter()
        .map(|row| view(&call, row, names.as_deref()))
        .collect();
    let last = rows.last().map(|row| row.id.to_string());
    Ok(listing::page(
        &call,
        "runbooks",
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
    let runbook = found(&call, ident).await?;
    call.authorize_runbook("baremetal:runbook:get", runbook.owner.as_deref())
        .or_else(|refused| if runbook.public { Ok(()) } else { Err(refused) })?;
    listing::allowed_fields(&call, fields.iter().flatten().map(String::as_str))?;
    listing::known_fields(fields.as_deref(), known(&call, &FIELDS, NEW_FIELDS))?;
    Ok(Answer::json(&Value::Object(view(
        &call,
        &runbook,
        fields.as_deref(),
    ))))
}

pub async fn create(call: Call) -> Outcome {
    call.authorize("baremetal:runbook:create")?;
    let body = body::json(&call.body)?;
    let schema = if has_traits(&call) {
        &*RUNBOOK_WITH_TRAITS
    } else {
        &*RUNBOOK
    };
    json_schema::check("runbook", schema, &body)?;
    let Value::Object(map) = body else {
        return Err(ApiFault::invalid("A runbook is a JSON object."));
    };
    listing::no_duplicate_steps(listing::items(&map, "steps"))?;
    let mut runbook = Runbook {
        id: RunbookId(listing::new_id(&map)?),
        name: String::new(),
        description: None,
        public: false,
        owner: None,
        disable_ramdisk: false,
        extra: Map::new(),
        steps: Vec::new(),
        traits: Vec::new(),
        created_at: Timestamp::now(),
        updated_at: None,
    };
    assign(&mut runbook, &map)?;
    steps_authorized(&call, &runbook.steps)?;
    if call.of_project() {
        let own = call.caller.project_id.clone();
        if runbook.owner.is_some() && runbook.owner != own {
            return Err(ApiFault::invalid(
                "Cannot create a runbook as a project scoped admin with an owner other than your own project.",
            ));
        }
        if own.is_some() && runbook.public {
            return Err(ApiFault::invalid(
                "Cannot create a public runbook as a project scoped admin.",
            ));
        }
        runbook.owner = own;
    }
    told::created(&call, &runbook, &map, call.store().create_runbook(&runbook)).await?;
    let location = call.url(&format!("runbooks/{}", runbook.id));
    Ok(Answer::json(&Value::Object(view(&call, &runbook, None))).created(location))
}

pub async fn patch(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let ident = ident(&call)?;
    let patch = json_patch::read(&call)?;
    json_patch::only(&patch, known(&call, &ALLOWED, 1))?;
    let runbook = found(&call, ident).await?;
    for policy in policies(&patch) {
        call.authorize_runbook(policy, runbook.owner.as_deref())?;
    }
    let mut wanted = runbook.clone();
    patched(&mut wanted, &patch)?;
    if call.policed() && json_patch::touches(&patch, "/steps") {
        steps_authorized(&call, &wanted.steps)?;
    }
    let write = call.store().update_runbook(
        runbook.id,
        Arc::new(move |runbook: &mut Runbook| {
            patched(runbook, &patch).map_err(ApiFault::into_fault)
        }),
    );
    let after = told::updated(&call, &runbook, &wanted, write).await?;
    Ok(Answer::json(&Value::Object(view(&call, &after, None))))
}

pub async fn delete(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let ident = ident(&call)?;
    let runbook = found(&call, ident).await?;
    call.authorize_runbook("baremetal:runbook:delete", runbook.owner.as_deref())?;
    told::deleted(&call, &runbook, call.store().delete_runbook(runbook.id)).await?;
    Ok(Answer::no_content())
}

pub async fn list_traits(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let runbook = found(&call, call.param("runbook")).await?;
    call.authorize_runbook("baremetal:runbook:get", runbook.owner.as_deref())?;
    Ok(Answer::json(&json!({"traits": runbook.traits})))
}

pub async fn replace_traits(call: Call) -> Outcome {
    let body = body::json(&call.body)?;
    json_schema::check("body", &TRAITS, &body)?;
    let Value::Object(body) = body else {
        return Err(ApiFault::invalid("The traits are a JSON object."));
    };
    if !body.contains_key("traits") {
        to_change(&call).await?;
        return Err(one_or_all());
    }
    let names = listing::texts(&body, "traits");
    change_traits(&call, move |_| names.clone()).await?;
    Ok(Answer::no_content())
}

pub async fn add_trait(call: Call) -> Outcome {
    let name = call.param("trait").to_owned();
    json_schema::check("trait", &TRAIT, &Value::from(name.as_str()))?;
    let body = body::json(&call.body)?;
    json_schema::check("body", &TRAITS, &body)?;
    if body.as_object().is_some_and(|body| !body.is_empty()) {
        to_change(&call).await?;
        return Err(one_or_all());
    }
    let added = name.clone();
    change_traits(&call, move |runbook| {
        let mut names = runbook.traits.clone();
        names.push(added.clone());
        names
    })
    .await?;
    let runbook = call.param("runbook");
    Ok(Answer::no_content().at(call.url(&format!("runbooks/{runbook}/traits/{name}"))))
}

pub async fn remove_trait(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    let name = call.param("trait").to_owned();
    change_traits(&call, move |runbook| {
        let mut names = runbook.traits.clone();
        names.retain(|n| *n != name);
        names
    })
    .await?;
    Ok(Answer::no_content())
}

pub async fn remove_traits(call: Call) -> Outcome {
    Args::of_query(&call, &[])?;
    change_traits(&call, |_| Vec::new()).await?;
    Ok(Answer::no_content())
}

/// The runbook of the path, when the caller may change it.
async fn to_change(call: &Call) -> Result<Runbook, ApiFault> {
    let runbook = found(call, call.param("runbook")).await?;
    call.authorize_runbook("baremetal:runbook:update", runbook.owner.as_deref())?;
    Ok(runbook)
}

/// Whether the policy lets the caller ask for these steps at all.
fn steps_authorized(call: &Call, steps: &[RunbookStep]) -> Result<(), ApiFault> {
    steps
        .iter()
        .try_for_each(|step| call.authorize_step(&step.interface, &step.step, None))
}

/// The policies that a patch needs.
fn policies(patch: &[json_patch::Operation]) -> Vec<&'static str> {
    let mut all: Vec<&'static str> = patch
        .iter()
        .map(|operation| match operation.root().as_str() {
            "owner" => "baremetal:runbook:update:owner",
            "public" => "baremetal:runbook:update:public",
            _ => "baremetal:runbook:update",
        })
        .collect();
    if all.is_empty() {
        all.push("baremetal:runbook:update");
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn one_or_all() -> ApiFault {
    ApiFault::invalid(
        "A single runbook trait may be added via PUT /v1/runbooks/<runbook identifier>/traits/<trait> with no body, or all runbook traits may be replaced via PUT /v1/runbooks/<runbook identifier>/traits with the list of traits specified in the request body.",
    )
}

async fn change_traits(
    call: &Call,
    names: impl Fn(&Runbook) -> Vec<String> + Send + Sync + 'static,
) -> Result<(), ApiFault> {
    let id = to_change(call).await?.id;
    call.store()
        .update_runbook_traits(
            id,
            Arc::new(move |runbook: &mut Runbook| {
                runbook.traits = traits::sorted(names(runbook));
                Ok(())
            }),
        )
        .await?;
    Ok(())
}

fn patched(runbook: &mut Runbook, patch: &[json_patch::Operation]) -> Result<(), ApiFault> {
    let gives = |path: &str| json_patch::values(patch, path);
    let (owner, public) = (gives("/owner"), gives("/public"));
    let will_be_public = match public.first() {
        Some(flag) => flag.as_bool() == Some(true),
        None => runbook.public,
    };
    if !owner.is_empty() && will_be_public {
        return Err(json_patch::refused(
            patch,
            "There cannot be an owner for a public runbook",
        ));
    }
    let Value::Object(mut document) = json!({
        "name": runbook.name,
        "description": runbook.description,
        "public": runbook.public,
        "owner": runbook.owner.as_ref().filter(|_| public.is_empty()),
        "disable_ramdisk": runbook.disable_ramdisk,
        "extra": runbook.extra,
        "steps": runbook.steps,
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
    json_schema::check("patch", &RUNBOOK_WITH_TRAITS, &document)?;
    let Value::Object(document) = document else {
        return Ok(());
    };
    listing::no_duplicate_steps(listing::items(&document, "steps"))?;
    assign(runbook, &document)
}

/// Takes over what the schema has found right.
fn assign(runbook: &mut Runbook, map: &Map<String, Value>) -> Result<(), ApiFault> {
    let flag = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or(false);
    runbook.name = listing::text(map, "name").unwrap_or_default();
    runbook.description = listing::text(map, "description");
    runbook.public = flag("public");
    runbook.owner = listing::text(map, "owner");
    runbook.disable_ramdisk = flag("disable_ramdisk");
    runbook.extra = listing::object(map, "extra");
    runbook.steps = listing::items(map, "steps")
        .iter()
        .filter_map(Value::as_object)
        .map(|step| {
            Ok(RunbookStep {
                interface: listing::text(step, "interface").unwrap_or_default(),
                step: listing::text(step, "step").unwrap_or_default(),
                args: listing::object(step, "args"),
                order: listing::count("order", step.get("order"))?,
            })
        })
        .collect::<Result<_, ApiFault>>()?;
    Ok(())
}

fn ident(call: &Call) -> Result<&str, ApiFault> {
    listing::ident(call, "runbook", "runbook_ident")
}

/// The runbook of this UUID or name.
///
/// # Errors
/// 400 for what can be neither, 404.
pub async fn found(call: &Call, ident: &str) -> Result<Runbook, ApiFault> {
    if uuid::Uuid::parse_str(ident).is_err() && !crate::schema::is_logical_name(ident) {
        return Err(ApiFault::invalid(format!(
            "Expected a logical name or UUID but received {ident}."
        )));
    }
    call.store()
        .find_runbook(ident)
        .await?
        .ok_or_else(|| ApiFault::not_found(format!("Runbook {ident} could not be found.")))
}

fn view(call: &Call, runbook: &Runbook, fields: Option<&[String]>) -> Map<String, Value> {
    let steps: Vec<Value> = runbook
        .steps
        .iter()
        .map(|step| {
            json!({
                "interface": step.interface,
                "step": step.step,
                "args": masked(&Value::Object(step.args.clone())),
                "order": step.order,
            })
        })
        .collect();
    let whole = json!({
        "uuid": runbook.id,
        "created_at": runbook.created_at,
        "updated_at": runbook.updated_at,
        "name": runbook.name,
        "extra": runbook.extra,
        "public": runbook.public,
        "owner": runbook.owner,
        "disable_ramdisk": runbook.disable_ramdisk,
        "links": call.links(&format!("runbooks/{}", runbook.id)),
        "steps": steps,
    });
    let Value::Object(mut map) = whole else {
        return Map::new();
    };
    if has_traits(call) {
        map.insert("description".into(), runbook.description.clone().into());
        map.insert("traits".into(), runbook.traits.clone().into());
    }
    listing::cut(map, fields)
}
