//! Serving as an app does that links no library for its end: hyper's own graceful shutdown, at once.

use std::io;
use std::pin::pin;

use futures_util::future::try_join_all;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::answer::{App, answer};
use crate::ports::Port;
use crate::websocket;

/// Serves all ports until `SIGTERM`, then stops accepting and shuts every connection down
/// gracefully, at once.
pub(crate) async fn serve(ports: Vec<Port>, app: App) -> io::Result<()> {
    for Port { listener, .. } in &ports {
        println!("ready on {}", listener.local_addr()?);
    }
    try_join_all(ports.into_iter().map(|port| serve_port(port, app.clone()))).await?;
    websocket::closed().await;
    Ok(())
}

async fn serve_port(Port { listener, tls }: Port, app: App) -> io::Result<()> {
    let mut terminated = pin!(engineer::terminated());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn(shake_hands(stream, tls.clone(), app.clone()));
            }
            // Takes away what has ended, so that it does not pile up.
            Some(_) = connections.join_next() => {}
            () = &mut terminated => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn shake_hands(stream: TcpStream, tls: Option<TlsAcceptor>, app: App) {
    let Some(tls) = tls else { return serve_connection(stream, app).await };
    // What fails on a connection is its client's to count.
    if let Ok(stream) = tls.accept(stream).await {
        serve_connection(stream, app).await;
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, app: App) {
    let service = service_fn(move |request| answer(app.clone(), request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = engineer::terminated() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
