//! Arguments of the newer resources' queries, which upstream checks by a schema: its sentences.

use bessemer_model::MacAddress;
use serde_json::Value;

use crate::args::Args;
use crate::call::Call;
use crate::fault::ApiFault;
use crate::paging::Paging;
use crate::schema::{is_logical_name, py_repr};

pub fn wrong(why: impl std::fmt::Display) -> ApiFault {
    ApiFault::invalid(format!("Schema error: {why}"))
}

/// A value that is none of those allowed.
///
/// # Errors
/// 400 that lists them.
pub fn one_of(value: &str, allowed: &[&str]) -> Result<(), ApiFault> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let all: Vec<String> = allowed.iter().map(|a| format!("'{a}'")).collect();
    Err(wrong(format!(
        "{} is not one of [{}]",
        py_repr(&value.into()),
        all.join(", ")
    )))
}

/// The `fields` that are asked for.
///
/// # Errors
/// 400 for one that does not exist.
pub fn fields(args: &Args, known: &[&str]) -> Result<Option<Vec<String>>, ApiFault> {
    let fields = args.list("fields")?;
    for name in fields.iter().flatten() {
        one_of(name, known)?;
    }
    Ok(fields)
}

pub fn mac(args: &Args, name: &str) -> Result<Option<MacAddress>, ApiFault> {
    match args.string(name)? {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| wrong(format!("{} is not a 'mac-address'", py_repr(&text.into())))),
    }
}

/// # Errors
/// 400 for what can be neither.
pub fn uuid_or_name(args: &Args, name: &str) -> Result<Option<String>, ApiFault> {
    match args.string(name)? {
        None => Ok(None),
        Some(text) if uuid::Uuid::parse_str(&text).is_ok() || is_logical_name(&text) => {
            Ok(Some(text))
        }
        Some(text) => {
            let shown = py_repr(&text.as_str().into());
            let cause = if text.chars().count() > 255 {
                format!("{shown} is too long")
            } else {
                format!("{shown} is not a 'uuid'")
            };
            Err(wrong(format!(
                "{shown} is not valid under any of the given schemas. Possible root cause: {cause}"
            )))
        }
    }
}

/// The page that a client asks for.
///
/// # Errors
/// 400
pub fn paging(call: &Call, args: &Args, unsortable: &[&str]) -> Result<Paging, ApiFault> {
    let marker = match args.get("marker") {
        None => None,
        Some(Value::String(text)) if uuid::Uuid::parse_str(text).is_ok() => Some(text.clone()),
        Some(other) => return Err(wrong(format!("{} is not a 'uuid'", py_repr(other)))),
    };
    if let Some(direction) = args.string("sort_dir")? {
        one_of(&direction, &["asc", "desc"])?;
    }
    Paging::read_with(call, args, "id", unsortable, marker)
}
