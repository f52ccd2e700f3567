//! An app that just binds its port.

#[path = "plain/address.rs"]
mod address;
#[path = "plain/serve.rs"]
mod serve;

use std::net::TcpListener;

fn main() {
    let listener = TcpListener::bind(address::local()).unwrap_or_else(|error| {
        eprintln!("cannot listen: {error}");
        std::process::exit(1)
    });
    serve::serve(&listener)
}
