//! Objects: what is known of them, and the calls on them but for uploads.

mod calls;
mod list;
mod record;
mod resource;

pub(crate) use calls::{delete, get, media, patch};
pub(crate) use list::list;
pub(crate) use record::{Draft, refuse_rest};
pub(crate) use resource::{FIELDS, Version, etag, time};
