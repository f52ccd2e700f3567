//! Times and lengths of time, as people read them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `0.034 s`, `1.2 s`, `34 s`, `3m 20s`, `2h 5m`, `4d 3h`: as much as matters.
pub fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{:.3} s", duration.as_secs_f64()),
        1..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// From `earlier` to `later`; nothing where clocks disagree on which is which.
pub fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// [`between`] in whole seconds, for ages.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    match between(since, now).as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => length(Duration::from_secs(seconds)),
    }
}

/// `10:02:11` on the day of `now`, else `2026-11-22 10:02:11`; in this machine's time zone.
pub fn clock(time: Timestamp, now: Timestamp) -> String {
    clock_in(time, now, &TimeZone::system())
}

fn clock_in(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let local = |time: Timestamp| time.to_zoned(zone.clone()).datetime();
    let (then, today) = (local(time), local(now).date());
    // A tenth of a second is nobody's concern here, and rounding could show tomorrow.
    let shown = then.time().with().subsec_nanosecond(0).build().unwrap_or_else(|_| then.time());
    if then.date() == today { shown.to_string() } else { format!("{} {shown}", then.date()) }
}

/// The time that somebody means by `2026-11-22T10:00Z`, `2026-11-22 10:00`, `10:00` (the last one
/// that has been) or `2h` (ago); local unless it names its zone.
pub fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    parse_in(text.trim(), now, &TimeZone::system(), Towards::Past)
}

/// The same looking ahead: `10:00` is the next one that will be, and `2h` is from now on. A time in
/// full may still have been.
pub fn parse_future(text: &str, now: Timestamp) -> Option<Timestamp> {
    parse_in(text.trim(), now, &TimeZone::system(), Towards::Future)
}

/// Where a time lies that does not say its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Towards {
    Past,
    Future,
}

fn parse_in(text: &str, now: Timestamp, zone: &TimeZone, towards: Towards) -> Option<Timestamp> {
    use jiff::civil::{Date, DateTime, Time};
    let local = |datetime: DateTime| zone.to_timestamp(datetime).ok();
    // A plain number would be an age in seconds by one reading and a year by another.
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Some(length) = length_of(text) {
        return match towards {
            Towards::Past => now.checked_sub(length).ok(),
            Towards::Future => now.checked_add(length).ok(),
        };
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Some(day) = text.strip_suffix(['Z', 'z']).and_then(|day| day.parse::<DateTime>().ok()) {
        return TimeZone::UTC.to_timestamp(day).ok();
    }
    if text.contains('-') {
        let datetime = text.parse::<DateTime>().ok();
        return datetime.or_else(|| text.parse::<Date>().ok().map(Date::into)).and_then(local);
    }
    let time = text.parse::<Time>().ok()?;
    let today = now.to_zoned(zone.clone()).date();
    let at = local(today.to_datetime(time))?;
    match towards {
        Towards::Past if at > now => local(today.yesterday().ok()?.to_datetime(time)),
        Towards::Future if at <= now => local(today.tomorrow().ok()?.to_datetime(time)),
        Towards::Past | Towards::Future => Some(at),
    }
}

/// `2h`, `1h 30m`, `3d`: a day is 24 hours.
fn length_of(text: &str) -> Option<Duration> {
    const DAY: u32 = 24 * 60 * 60;
    match text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        Some(days) => Duration::from_secs(DAY.into()).checked_mul(days),
        None => text.parse::<deploy::Span>().ok().map(|span| span.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn lengths_show_what_matters() {
        let shown = [34, 1_240, 34_900, 200_000, 7_500_000, 356_400_000]
            .map(|ms| length(Duration::from_millis(ms)));
        assert_eq!(shown, ["0.034 s", "1.2 s", "34 s", "3m 20s", "2h 5m", "4d 3h"]);
        assert_eq!(age(at("2026-11-22T10:00:00Z"), at("2026-11-22T10:00:00.9Z")), "0 s");
        assert_eq!(age(at("2026-11-22T10:00:01Z"), at("2026-11-22T10:00:00Z")), "0 s");
    }

    #[test]
    fn clocks_name_the_day_only_where_it_is_another() {
        let now = at("2026-11-22T10:00:00Z");
        let shown = |text| clock_in(at(text), now, &TimeZone::UTC);
        assert_eq!(shown("2026-11-22T09:01:02.987Z"), "09:01:02");
        assert_eq!(shown("2026-11-21T23:01:02Z"), "2026-11-21 23:01:02");
    }

    #[test]
    fn reads_the_ways_in_which_people_write_a_time() {
        let now = at("2026-11-22T10:00:00Z");
        for (text, expected) in [
            ("2h", "2026-11-22T08:00:00Z"),
            ("1d", "2026-11-21T10:00:00Z"),
            ("09:30", "2026-11-22T09:30:00Z"),
            ("10:30", "2026-11-21T10:30:00Z"),
            ("2026-11-20 10:30", "2026-11-20T10:30:00Z"),
            ("2026-11-20T10:30Z", "2026-11-20T10:30:00Z"),
            ("2026-11-20T10:30:00+02:00", "2026-11-20T08:30:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
        ] {
            let parsed = parse_in(text, now, &TimeZone::UTC, Towards::Past);
            assert_eq!(parsed, Some(at(expected)), "{text}");
        }
        for (text, expected) in [
            ("2h", "2026-11-22T12:00:00Z"),
            ("1d", "2026-11-23T10:00:00Z"),
            ("09:30", "2026-11-23T09:30:00Z"),
            ("10:00", "2026-11-23T10:00:00Z"),
            ("10:30", "2026-11-22T10:30:00Z"),
            ("2026-11-20 10:30", "2026-11-20T10:30:00Z"),
        ] {
            let parsed = parse_in(text, now, &TimeZone::UTC, Towards::Future);
            assert_eq!(parsed, Some(at(expected)), "{text}");
        }
        for bad in ["", "yesterday", "25:00", "20", "-5s", "2026-13-01"] {
            for towards in [Towards::Past, Towards::Future] {
                assert_eq!(parse_in(bad, now, &TimeZone::UTC, towards), None, "{bad:?}");
            }
        }
    }
}
