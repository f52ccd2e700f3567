//! Whether the newest release is well where it has switched already: its health path is asked for as
//! long as its rollout is watched.

use std::net::SocketAddr;
use std::time::Duration;

use deploy::release::Release;
use deploy::settings::Health;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Agent;
use crate::run::News;
use crate::switch::VersionId;

/// The pause between two questions.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// So many answers in a row that are none make a version unwell: one alone may be a busy moment.
const FAILURES: u32 = 3;

/// A version that is asked.
#[derive(Debug)]
pub(super) struct Watched {
    version: VersionId,
    task: JoinHandle<()>,
    /// Why it is not well, if it is not.
    pub(super) unwell: Option<String>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    /// Why this version is not well.
    pub(super) fn of(&self, version: VersionId) -> Option<&String> {
        self.unwell.as_ref().filter(|_| self.version == version)
    }
}

impl Agent {
    /// Asks whoever is to be asked now, and nobody else.
    pub(super) fn watch_health(&mut self) {
        let serving = self.machine.snapshot().serving.filter(|_| self.part.is_active());
        let newest = self.newest.clone();
        let wanted = serving.zip(newest).filter(|(it, newest)| it.release == newest.number);
        let asked = wanted.and_then(|(it, newest)| {
            let health = newest.settings.health.clone()?;
            Some((it.id, self.address_of(&newest)?, health))
        });
        match asked {
            None => self.watched = None,
            Some((version, address, health)) => {
                if self.watched.as_ref().is_none_or(|watched| watched.version != version) {
                    let task = watch(version, address, health, self.news.clone());
                    let task = tokio::task::spawn_local(task);
                    self.watched = Some(Watched { version, task, unwell: None });
                }
            }
        }
    }

    fn address_of(&self, release: &Release) -> Option<SocketAddr> {
        self.runner.address(release.settings.ports.first().copied()?)
    }

    /// How it is with the version that is watched.
    pub(super) fn heard_of_health(&mut self, version: VersionId, unwell: Option<String>) {
        let Some(watched) = self.watched.as_mut().filter(|it| it.version == version) else {
            return;
        };
        if let Some(why) = &unwell {
            tracing::warn!(why, "the app is not well");
        }
        watched.unwell = unwell;
        self.step(crate::switch::Event::Tick);
    }
}

async fn watch(
    version: VersionId,
    address: SocketAddr,
    health: Health,
    news: mpsc::UnboundedSender<News>,
) {
    let (mut failures, mut is_told) = (0, false);
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let answered = ask(address, &health).await;
        failures = if answered.is_ok() { 0 } else { failures + 1 };
        let word = match answered {
            Ok(()) if is_told => None,
            Err(why) if failures >= FAILURES && !is_told => Some(why),
            _ => continue,
        };
        is_told = word.is_some();
        if news.send(News::Wellness(version, word)).is_err() {
            return;
        }
    }
}

/// Whether it answers as it should; if not, how.
async fn ask(address: SocketAddr, health: &Health) -> Result<(), String> {
    let (path, timeout) = (&health.path, health.timeout);
    let asked = async {
        let (socket, _) = crate::probe::socket(address)?;
        let stream = socket.connect(address).await?;
        crate::probe::ask(stream, path, timeout.0).await
    };
    match tokio::time::timeout(timeout.0, asked).await {
        Ok(Ok(200..=399)) => Ok(()),
        Ok(Ok(status)) => Err(format!("{path} answers {status}")),
        Ok(Err(error)) => Err(format!("{path} does not answer: {error}")),
        Err(_) => Err(format!("{path} does not answer within {timeout}")),
    }
}
