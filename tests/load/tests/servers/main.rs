//! The load generator, against servers that misbehave in one way each.

mod bed;
mod http1;
mod http2;
mod tls;
mod websocket;
