//! Pages of lists: limit, marker, order, and the link to what follows.

use bessemer_store::{Page, SortDirection, StoreError};

use crate::args::Args;
use crate::call::Call;
use crate::fault::ApiFault;

/// Names of the arguments that every list has.
pub const ARGUMENTS: [&str; 4] = ["marker", "limit", "sort_key", "sort_dir"];

/// The page that a client asks for.
#[derive(Debug, Clone)]
pub struct Paging {
    pub limit: u32,
    pub marker: Option<String>,
    pub sort_key: String,
    pub descending: bool,
}

impl Paging {
    /// `unsortable` are the columns that hold JSON.
    ///
    /// # Errors
    /// 400 with upstream's sentences.
    pub fn read(
        call: &Call,
        args: &Args,
        default_key: &str,
        unsortable: &[&str],
    ) -> Result<Self, ApiFault> {
        let marker = args.uuid("marker")?;
        Self::read_with(call, args, default_key, unsortable, marker)
    }

    /// As [`Paging::read`], for lists whose markers are not UUIDs.
    pub fn read_with(
        call: &Call,
        args: &Args,
        default_key: &str,
        unsortable: &[&str],
        marker: Option<String>,
    ) -> Result<Self, ApiFault> {
        let most = call.config().api.max_limit.clamp(1, 1000);
        let limit = match args.integer("limit")? {
            None => most,
            Some(n) if n <= 0 => return Err(ApiFault::invalid("Limit must be positive")),
            Some(n) => u32::try_from(n).unwrap_or(u32::MAX).min(most),
        };
        let sort_key = args
            .string("sort_key")?
            .unwrap_or_else(|| default_key.to_owned());
        let descending = match args.string("sort_dir")?.as_deref() {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(other) => {
                return Err(ApiFault::invalid(format!(
                    "Invalid sort direction: {other}. Acceptable values are 'asc' or 'desc'"
                )));
            }
        };
        if unsortable.contains(&sort_key.as_str()) {
            return Err(unsortable_fault(&sort_key));
        }
        Ok(Self {
            limit,
            marker,
            sort_key,
            descending,
        })
    }

    pub fn page(&self) -> Page {
        Page {
            limit: self.limit,
            marker: self.marker.clone(),
            // an empty one is none, but stays in the link
            sort_key: Some(self.sort_key.clone()).filter(|key| !key.is_empty()),
            direction: if self.descending {
                SortDirection::Descending
            } else {
                SortDirection::Ascending
            },
        }
    }

    /// The link to the next page; `None` when this one is not full. `path` is below `/v1`; `filters` are kept.
    pub fn next(
        &self,
        call: &Call,
        path: &str,
        count: usize,
        last: Option<&str>,
        filters: &[(&str, String)],
    ) -> Option<String> {
        self.next_page(call, path, filters).after(count, last?)
    }

    /// As [`Paging::next`], for a list that is not read yet.
    pub fn next_page(&self, call: &Call, path: &str, filters: &[(&str, String)]) -> NextPage {
        let mut url = format!(
            "{}?sort_key={}&sort_dir={}",
            call.url(path),
            self.sort_key,
            if self.descending { "desc" } else { "asc" }
        );
        for (name, value) in filters {
            url.push('&');
            url.push_str(name);
            url.push('=');
            url.push_str(value);
        }
        url.push_str(&format!("&limit={}&marker=", self.limit));
        NextPage {
            url,
            limit: usize::try_from(self.limit).unwrap_or(usize::MAX),
        }
    }
}

/// A link to the next page that waits for its marker.
pub struct NextPage {
    url: String,
    limit: usize,
}

impl NextPage {
    /// The link behind a page of `count` that ends with `last`; `None` when the page is not full.
    pub fn after(mut self, count: usize, last: &str) -> Option<String> {
        if count != self.limit {
            return None;
        }
        self.url.push_str(last);
        Some(self.url)
    }
}

pub fn unsortable_fault(key: &str) -> ApiFault {
    ApiFault::invalid(format!(
        "The sort_key value {key} is an invalid field for sorting"
    ))
}

/// A refusal of the store to list; a marker that does not exist is a resource that does not.
pub fn list_fault(resource: &str, error: StoreError) -> ApiFault {
    match error {
        StoreError::NotFound { what: "Marker", id } => {
            ApiFault::not_found(format!("{resource} {id} could not be found."))
        }
        other => other.into(),
    }
}

/// A boolean as it stands in a link.
pub fn shown(flag: bool) -> String {
    if flag { "True".into() } else { "False".into() }
}

/// Which fields a list shows: those asked for, all of them with `detail`, or the default.
///
/// # Errors
/// 406 for `fields` before 1.8, 400 for both at once or for `detail` before 1.43.
pub fn wanted_fields(
    call: &Call,
    args: &Args,
    default: &[&str],
) -> Result<(Option<Vec<String>>, Option<bool>), ApiFault> {
    let fields = args.list("fields")?;
    let detail = args.boolean("detail")?;
    if fields.is_some() && !call.at_least(8) {
        return Err(ApiFault::not_acceptable());
    }
    if let Some(flag) = detail
        && !call.at_least(43)
    {
        return Err(ApiFault::invalid(format!(
            "Invalid query parameter ?detail={} received.",
            shown(flag)
        )));
    }
    match (fields, detail) {
        (Some(_), Some(true)) => Err(ApiFault::invalid(
            "Can not specify ?detail=True and fields in the same request.",
        )),
        (None, Some(true)) => Ok((None, detail)),
        (None, _) => Ok((
            Some(default.iter().map(|f| (*f).to_owned()).collect()),
            detail,
        )),
        (fields, _) => Ok((fields, detail)),
    }
}
