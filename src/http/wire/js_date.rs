//! Times as the wire shows them: the text of a JavaScript `Date` in UTC.

use std::fmt::Write as _;

use be8_events::Timestamp;
use chrono::{Datelike as _, Timelike as _};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time in whole seconds in the form of ECMAScript's `Date.prototype.toString`
/// (ECMA-262, section 21.4.4.41), the zone being UTC.
///
/// ```
/// # use be8::http::wire::js_date::js_date;
/// let time = be8_events::Timestamp::from_micros(1_655_896_115_999_999);
/// assert_eq!(js_date(time), "Wed Jun 22 2022 11:08:35 GMT+0000 (Coordinated Universal Time)");
/// ```
pub fn js_date(time: Timestamp) -> String {
    // Not by `chrono`'s `format`, which reads its pattern at every call: each message that is shown has such a time.
    let time = time.to_utc();
    let mut out = String::with_capacity(64);
    out.push_str(DAYS[time.weekday().num_days_from_monday() as usize]);
    out.push(' ');
    out.push_str(MONTHS[time.month0() as usize]);
    let year = time.year();
    let sign = if year < 0 { "-" } else { "" };
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        " {:02} {sign}{:04} {:02}:{:02}:{:02} GMT+0000 (Coordinated Universal Time)",
        time.day(),
        year.unsigned_abs(),
        time.hour(),
        time.minute(),
        time.second(),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows (docs/protocol.md): Times.
    #[test]
    fn years_have_the_digits_of_javascript() {
        let at = |text: &str| js_date(text.parse().unwrap());
        assert_eq!(at("2022-06-22T11:08:35.999999Z"), "Wed Jun 22 2022 11:08:35 GMT+0000 (Coordinated Universal Time)");
        assert_eq!(at("0099-02-03T00:00:00Z"), "Tue Feb 03 0099 00:00:00 GMT+0000 (Coordinated Universal Time)");
        assert_eq!(
            js_date(Timestamp::from_micros(-93_000_000_000_000_000)),
            "Fri Dec 13 -0978 02:40:00 GMT+0000 (Coordinated Universal Time)"
        );
    }

    proptest::proptest! {
        // The years 0 to 9999, where the formatter writes four digits too.
        /// Shows (docs/protocol.md): Times.
        #[test]
        fn it_is_what_a_formatter_says(micros in -62_167_219_200_000_000i64..253_402_300_800_000_000) {
            let time = Timestamp::from_micros(micros);
            let slow = time.to_utc().format("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)");
            assert_eq!(js_date(time), slow.to_string());
        }
    }
}
