//! A thread in a network of its own.

use std::fmt;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};

type Task = Box<dyn FnOnce() + Send>;

/// The thread. The network goes with it and with what it has started there.
pub struct Far {
    tasks: Option<mpsc::Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Far {
    /// One whose network has nothing but a loopback that is down.
    ///
    /// # Errors
    /// When no network of one's own is allowed here.
    pub fn new() -> anyhow::Result<Self> {
        let (tasks, todo) = mpsc::channel::<Task>();
        let (tell, told) = mpsc::channel();
        let thread = super::thread("far").spawn(move || {
            let apart = unshare(CloneFlags::CLONE_NEWNET);
            let is_apart = apart.is_ok();
            // The one who started it waits for this.
            let _ = tell.send(apart);
            if is_apart {
                todo.into_iter().for_each(|task| task());
            }
        })?;
        told.recv().context("the far thread has ended")??;
        Ok(Self { tasks: Some(tasks), thread: Some(thread) })
    }

    /// Runs something there, and waits for it.
    ///
    /// # Errors
    /// When it panics, or something before it did.
    pub fn run<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (tell, told) = mpsc::channel();
        let task: Task = Box::new(move || {
            let _ = tell.send(run());
        });
        let tasks = self.tasks.as_ref().context("the far thread is to end")?;
        tasks.send(task).ok().context("the far thread has ended")?;
        told.recv().context("the far thread has panicked")
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was told by the task that it befell.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Far")
    }
}
