//! Waking at a moment of the core's clock.
//!
//! The runtime's own timers count whole milliseconds, and are late by one or two. A switch waits
//! for three moments one after the other, so it would be late by all of that.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::ClockId;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::switch::Time;

/// The kernel's monotonic clock.
pub fn now() -> Time {
    let now = ClockId::CLOCK_MONOTONIC.now().expect("every Linux has this clock");
    Time::from(now)
}

/// Waits for one moment at a time.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<Timer>,
    /// What the kernel was told.
    at: Option<Time>,
}

#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// One that does not ring. It must be made in the runtime.
    ///
    /// # Errors
    /// When the kernel has no more descriptors.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Timer(TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, flags)?);
        // SAFETY: the timer's descriptor is open until it is dropped, never another one, and dropped
        // by the value that watches it.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE)? };
        Ok(Self { timer, at: None })
    }

    /// It rings at `at`, or not at all; what was set before is forgotten.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set(&mut self, at: Option<Time>) -> io::Result<()> {
        if self.at == at {
            return Ok(());
        }
        let Timer(timer) = self.timer.get_ref();
        match at {
            None => timer.unset()?,
            Some(at) => {
                // Zero would stop it.
                let at = Expiration::OneShot(TimeSpec::from_duration(at.max(Time::from_nanos(1))));
                timer.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
        }
        self.at = at;
        Ok(())
    }

    /// Waits until it rings, which it does once.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn rings(&mut self) -> io::Result<()> {
        let wait = |timer: &Timer| timer.0.wait().map_err(io::Error::from);
        self.timer.async_io(Interest::READABLE, wait).await?;
        self.at = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_once_for_what_was_set_last_and_never_too_early() {
        let mut alarm = Alarm::new().unwrap();
        // What lies behind rings at once, even the clock's first moment.
        for past in [Time::ZERO, now()] {
            alarm.set(Some(past)).unwrap();
            alarm.rings().await.unwrap();
        }
        let at = now() + Time::from_millis(20);
        alarm.set(Some(now())).unwrap();
        alarm.set(Some(at)).unwrap();
        alarm.rings().await.unwrap();
        assert!(now() >= at);
        // It has rung: the same moment rings again only when it is set again.
        assert!(tokio::time::timeout(Time::from_millis(20), alarm.rings()).await.is_err());
        alarm.set(Some(at)).unwrap();
        alarm.rings().await.unwrap();
        alarm.set(Some(now() + Time::from_millis(10))).unwrap();
        alarm.set(None).unwrap();
        assert!(tokio::time::timeout(Time::from_millis(30), alarm.rings()).await.is_err());
    }
}
