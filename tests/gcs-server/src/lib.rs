//! A Google Cloud Storage server for tests: the JSON API v1 over a folder, with faults on request.
//!
//! ```text
//!   connection ──▶ faults ──▶ route ──▶ service ──▶ buckets, objects, uploads ──▶ Directory
//!       ▲             │                    └──────▶ credentials: tokens, metadata server
//!       └── cut, late, wrong ◀┘
//! ```
//!
//! It answers as the real service is documented to, or it refuses: any path, method, parameter,
//! body field or meaningful header that it does not implement is a 400 whose message names it. A
//! test that passes against it has not been helped by something being overlooked. What it leaves
//! out, and would refuse: access lists, `rewrite`, `copy` and `compose`, holds but the event-based
//! one, encryption keys, other storage classes of objects, content encodings, soft-deleted
//! objects, HTTP conditions by `ETag`, and all of gRPC and the XML API.
//!
//! Where it differs from the real service on purpose: generations do not tell the time (they are a
//! bucket's time of creation in microseconds, and count up), of objects under `fleet/` only the two
//! newest versions are kept, names end where a file's name does (255 bytes, percent-encoded),
//! `projection=full` adds no access lists, sessions of resumable uploads end with the server,
//! self-signed tokens are looked at without checking the signature, a retry is not known by its
//! idempotency token, and the limits on rates are those that the faults are told to enforce.
//!
//! [`Server`] runs on threads of its own, so that plain tests can use it; `engr-gcs-server` runs
//! one by itself.

mod answer;
mod buckets;
mod call;
mod carry_out;
mod checksums;
mod connection;
mod control;
mod credentials;
mod faults;
mod fields;
mod listening;
mod objects;
mod paging;
mod params;
mod preconditions;
mod problem;
mod range;
mod received;
mod route;
mod server;
mod service;
mod stats;
mod tls;
mod uploads;
mod world;

pub use credentials::Tokens;
pub use faults::{Faults, Kind, Match, Outage, Rule};
pub use server::{Log, Options, Server, Tls};
pub use stats::{Counts, Stats};
