//! Who may do what, and where the tokens come from: an OAuth2 token endpoint, impersonation, and a
//! virtual machine's metadata server.

mod iam;
mod jwt;
mod metadata;
mod oauth;
mod tokens;

pub(crate) use iam::generate_access_token;
pub(crate) use metadata::metadata;
pub(crate) use oauth::token;
pub use tokens::Tokens;
