//! The library that an app links to be switched by Engineer without a failed request.
//!
//! A web service needs one call:
//!
//! ```no_run
//! # #[cfg(feature = "http")]
//! # async fn example(router: axum::Router) -> std::io::Result<()> {
//! let listener = engineer::listen(("0.0.0.0", 8080))?;
//! engineer::http::serve_tower(listener, router).await
//! # }
//! ```
//!
//! [`listen()`] takes the socket that the agent hands over, or else binds one with `SO_REUSEPORT`, so
//! that the same binary runs by itself too. [`http::serve`] says that the app is ready, serves until
//! `SIGTERM`, and then ends without cutting anybody off (see [`http`]). Any other kind of server does
//! the same by [`Incoming`], [`ready`] and [`Shutdown`], and a worker by [`ready`] and [`terminated`]:
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let terminated = engineer::terminated();
//! engineer::ready()?;
//! tokio::select! {
//!     () = terminated => Ok(()),
//!     result = work() => result,
//! }
//! # }
//! # async fn work() -> std::io::Result<()> { Ok(()) }
//! ```
//!
//! What passes between the agent and the app is in [`contract`]: variables, inherited sockets, one
//! datagram socket and `SIGTERM`. There is nothing of it that an app could not do by itself.

pub mod contract;
mod handed;
#[cfg(feature = "http")]
pub mod http;
mod incoming;
mod listen;
mod notify;
mod shutdown;
mod variables;

pub use incoming::{Accepted, Incoming, Open};
pub use listen::{bind_reusable, listen};
pub use notify::{ready, stopping};
pub use shutdown::{Shutdown, terminated};
pub use variables::{app_name, development, instance, project, version};
