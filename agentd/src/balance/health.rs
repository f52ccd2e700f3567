//! Asks an agent whether its instance serves, again and again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::pool::Pool;

/// How often each agent is asked.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// How long an answer may take. A busy machine must not make its agents look dead.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// More than any answer has; it is read only to keep the connection.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What is known of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Its agent says that it serves.
    Serving,
    /// Its agent says that it does not.
    NotServing,
    /// Its agent does not answer, or was not asked yet.
    Silent,
}

impl Health {
    /// The word in the log.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::NotServing => "not serving",
            Self::Silent => "no answer",
        }
    }
}

type Connection = SendRequest<Empty<Bytes>>;

/// Keeps the health of instance `name` in `pool` up to date, until the task is aborted.
pub(super) async fn check(name: String, agent: SocketAddr, pool: Arc<Pool>) {
    let mut every = interval(ASK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept: Option<Connection> = None;
    loop {
        every.tick().await;
        let health = match timeout(ANSWER_WITHIN, ask(agent, &mut kept)).await {
            Ok(Ok(StatusCode::OK)) => Health::Serving,
            Ok(Ok(_)) => Health::NotServing,
            Ok(Err(_)) | Err(_) => {
                kept = None;
                Health::Silent
            }
        };
        pool.set_health(&name, health);
    }
}

/// Asks once, on the kept connection if there is one that works.
async fn ask(agent: SocketAddr, kept: &mut Option<Connection>) -> io::Result<StatusCode> {
    if let Some(mut connection) = kept.take()
        && let Ok(status) = ask_on(&mut connection, agent).await
    {
        *kept = Some(connection);
        return Ok(status);
    }
    // The agent may have ended between two questions and be back by now.
    let mut connection = connect(agent).await?;
    let status = ask_on(&mut connection, agent).await.map_err(io::Error::other)?;
    *kept = Some(connection);
    Ok(status)
}

async fn connect(agent: SocketAddr) -> io::Result<Connection> {
    let stream = TcpStream::connect(agent).await?;
    stream.set_nodelay(true)?;
    let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Its end shows in the sender, and the sender's end ends it.
    tokio::spawn(driver);
    Ok(sender)
}

async fn ask_on(
    connection: &mut Connection,
    agent: SocketAddr,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    connection.ready().await?;
    let request = Request::get("/health")
        .header("Host", agent.to_string())
        .header("User-Agent", "engineer-balancer")
        .body(Empty::new())?;
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?;
    Ok(status)
}
