//! The server over the wire, by a plain HTTP client.

mod bench;
mod buckets;
mod credentials;
mod faults;
mod honesty;
mod lasting;
mod objects;
mod outages;
mod resumable;
mod rust_client;
mod uploads;
