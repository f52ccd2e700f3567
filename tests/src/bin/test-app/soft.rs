//! Serving with the library's end.

use std::io;

use engineer::http::Server;
use futures_util::future::try_join_all;
use hyper::service::service_fn;

use crate::answer::{App, answer};
use crate::clock;
use crate::ports::Port;

/// Serves all ports until `SIGTERM`, and to a soft end.
pub(crate) async fn serve(ports: Vec<Port>, app: App) -> io::Result<()> {
    for Port { listener, .. } in &ports {
        println!("ready on {}", listener.local_addr()?);
    }
    clock::tell("ready");
    try_join_all(ports.into_iter().map(|port| serve_port(port, app.clone()))).await.map(drop)
}

async fn serve_port(port: Port, app: App) -> io::Result<()> {
    let service = service_fn(move |request| answer(app.clone(), request));
    let server = Server::new(port.listener);
    match port.tls {
        Some(tls) => server.serve_over(move |stream| tls.accept(stream), service).await,
        None => server.serve(service).await,
    }
}
