//! Buckets: what is kept of them, and the calls on them.

mod bucket;
mod calls;
mod facts;
mod index;
mod lifecycle;
mod registry;
mod settings;

pub(crate) use calls::{delete, get, insert, list, patch, projection, test_permissions};
pub(crate) use facts::FIELDS;
pub(crate) use registry::Registry;
