//! Points in time (whole microseconds, UTC) and calendar days.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::ParseError;

/// A point in time in whole microseconds since 1970-01-01T00:00:00Z, as PostgreSQL keeps it.
/// Text form: RFC 3339 with six fractional digits and `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The same point as a `chrono` value. Times outside chrono's range (some 262,000 years)
    /// become the epoch; none can be written through [`crate::Event::decode`].
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).unwrap_or_default()
    }

    /// The UTC calendar day.
    pub fn day(self) -> Day {
        Day(self.to_utc().date_naive())
    }

    /// This point moved by `delta`; stays put at the ends of the range.
    pub fn plus(self, delta: TimeDelta) -> Self {
        let end = if delta < TimeDelta::zero() { i64::MIN } else { i64::MAX };
        let micros = delta.num_microseconds().unwrap_or(end);
        Self(self.0.saturating_add(micros))
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Timestamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        DateTime::parse_from_rfc3339(text)
            .map(|time| Self(time.timestamp_micros()))
            .map_err(|_| ParseError::new("a time", text))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

/// A UTC calendar day. Text form `2026-11-23`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub NaiveDate);

impl Day {
    /// The day `days` later (earlier when negative); stays put at the ends of the calendar.
    pub fn plus(self, days: i64) -> Self {
        Self(TimeDelta::try_days(days).and_then(|delta| self.0.checked_add_signed(delta)).unwrap_or(self.0))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Day {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .map(Self)
            .ok()
            .filter(|day| day.to_string() == text)
            .ok_or_else(|| ParseError::new("a day", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_time_stops_at_the_ends() {
        let time = Timestamp::from_micros(7);
        assert_eq!(time.plus(TimeDelta::seconds(-1)).micros(), -999_993);
        assert_eq!(time.plus(TimeDelta::MAX).micros(), i64::MAX);
        assert_eq!(time.plus(TimeDelta::MIN).micros(), i64::MIN + 7);
    }
}
