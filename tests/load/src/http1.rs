//! HTTP/1.1: at most one connection, at most one request on it.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use crate::Plan;
use crate::answer::{self, Answer};
use crate::client::Exchanged;
use crate::failure::Failed;
use crate::stream::{Connector, Stream};
use crate::tally::Connections;

#[derive(Debug)]
pub(crate) struct Http1 {
    connector: Connector,
    head: String,
    keep_alive: bool,
    kept: Option<Stream>,
}

impl Http1 {
    pub(crate) fn new(plan: &Arc<Plan>, connector: &Connector, keep_alive: bool) -> Self {
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: {connection}\r\nX-Request-Id: ",
            plan.path, plan.address
        );
        Self { connector: connector.clone(), head, keep_alive, kept: None }
    }

    pub(crate) async fn exchange(
        &mut self,
        id: &str,
        connections: &mut Connections,
    ) -> Result<Exchanged, Failed> {
        let mut stream = match self.kept(connections).await {
            Some(stream) => stream,
            None => {
                let stream = self.connector.connect().await?;
                connections.opened += 1;
                stream
            }
        };
        let request = format!("{}{id}\r\n\r\n", self.head);
        stream.write_all(request.as_bytes()).await.map_err(Failed::io)?;
        stream.flush().await.map_err(Failed::io)?;
        let Answer { status, body, keeps, echo } = answer::read(&mut stream).await?;
        if self.keep_alive {
            if keeps {
                self.kept = Some(stream);
            } else {
                connections.told_to_close += 1;
            }
        }
        Ok(Exchanged { status, body, echo })
    }

    /// The kept connection, unless the server has ended it by now: then nothing was on it that
    /// could have failed.
    async fn kept(&mut self, connections: &mut Connections) -> Option<Stream> {
        let mut stream = self.kept.take()?;
        if stream.is_open().await {
            return Some(stream);
        }
        connections.closed_idle += 1;
        None
    }

    pub(crate) fn give_up(&mut self) {
        self.kept = None;
    }
}
