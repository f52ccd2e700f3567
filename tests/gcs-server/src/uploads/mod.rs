//! Uploads, in the three ways that there are.

mod content_range;
mod multipart;
mod resumable;
mod single;

pub(crate) use multipart::object_name as multipart_object_name;
pub(crate) use resumable::{Sessions, cancel, put, start};
pub(crate) use single::{media, multipart};

use crate::call::Call;
use crate::objects::Draft;
use crate::params::Params;
use crate::problem::{Done, Problem};

/// The object's name: in the query or in the metadata, and the same if it is in both.
fn name(params: &mut Params, draft: &Draft) -> Done<String> {
    let name = match (params.filled("name")?, draft.name.clone()) {
        (Some(name), Some(other)) if name != other => {
            let message = format!("Value '{other}' in content does not agree with '{name}'.");
            return Err(Problem::invalid(message));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return Err(Problem::required("name")),
    };
    // Google's rules, of which the folder below enforces none.
    let forbidden = name == "."
        || name == ".."
        || name.len() > 1024
        || name.contains(['\r', '\n'])
        || name.starts_with(".well-known/acme-challenge/");
    if forbidden {
        Err(Problem::invalid(format!("Invalid object name: {name:?}")))
    } else {
        Ok(name)
    }
}

/// Takes the type of the bytes from a header where the metadata says none.
fn type_from_header(call: &Call, header: &str, draft: &mut Draft) {
    if let Some(value) = call.header(header).filter(|value| !value.is_empty()) {
        draft.texts.entry("contentType".to_owned()).or_insert_with(|| value.to_owned());
    }
}
