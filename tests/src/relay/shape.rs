//! When a packet comes out of a link. Pure.

use std::time::{Duration, Instant};

/// What a link does to packets, in each direction.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// From one end to the other: half of a round trip.
    pub delay: Duration,
    /// Bits a second. None: as fast as it goes.
    pub rate: Option<u64>,
    /// The longest that a packet may wait for its turn; one that would have to wait longer is
    /// lost.
    pub queue: Duration,
}

impl Shape {
    /// A link that has a delay alone.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, rate: None, queue: Duration::ZERO }
    }
}

/// One direction's packets.
#[derive(Debug)]
pub(super) struct Queue {
    shape: Shape,
    /// When the last packet's last bit has been sent.
    free: Option<Instant>,
}

impl Queue {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, free: None }
    }

    /// When a packet that came `now` is to come out. None: it is lost.
    pub(super) fn put(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate) = self.shape.rate else { return Some(now + self.shape.delay) };
        let begins = self.free.map_or(now, |free| free.max(now));
        if begins - now > self.shape.queue {
            return None;
        }
        let nanos = bytes as u64 * 8 * 1_000_000_000 / rate;
        let free = begins + Duration::from_nanos(nanos);
        self.free = Some(free);
        Some(free + self.shape.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn packets_take_their_turn_and_are_lost_where_the_queue_is_full() {
        // 1,000 bytes take a millisecond.
        let shape = Shape { delay: 10 * MS, rate: Some(8_000_000), queue: 3 * MS };
        let (mut queue, now) = (Queue::new(shape), Instant::now());
        let mut put = |at| queue.put(now + at * MS, 1_000).map(|out| out - now);
        assert_eq!(put(0), Some(11 * MS));
        assert_eq!([put(0), put(0), put(0)], [12, 13, 14].map(|ms| Some(ms * MS)));
        assert_eq!(put(0), None, "it would wait for 4 ms");
        assert_eq!(put(1), Some(15 * MS), "there is room again");
        assert_eq!(put(20), Some(31 * MS), "an idle link saves nothing up");
    }

    #[test]
    fn without_a_rate_there_is_the_delay_alone() {
        let (mut queue, now) = (Queue::new(Shape::delay(5 * MS)), Instant::now());
        for _ in 0..3 {
            assert_eq!(queue.put(now, 1_000_000), Some(now + 5 * MS));
        }
    }
}
