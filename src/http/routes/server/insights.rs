//! The routes of the tag "Insights": the counters of the server, for everybody.

use std::borrow::Cow;
use std::collections::BTreeMap;

use be8_events::Day;
use be8_events::server::{Link, Usage};
use be8_projections::Counters;
use chrono::{DateTime, NaiveDate, Utc};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;
use serde_json::{Value, json};

use crate::app::Handle;
use crate::domain::invites::CountLink;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::reads;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::once::IdempotencyKey;
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, Refused, Success, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// The counters.
pub struct Insights(pub Handle);

/// The most days that one answer covers.
const MOST_DAYS: i64 = 366;
/// How many counters are numbers always; the others are text, and a number only while they are 0.
const NUMBERS: usize = 2;
/// What the number of the first account, and of the first group, is counted from.
const OFFSET: i64 = 10_000;
/// The counters of the older answer, by their place among [`Counters::NAMES`].
const OLDER: [usize; 8] = [0, 1, 2, 3, 6, 7, 8, 9];

/// What an invite link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum LinkType {
    /// A conversation.
    User,
    /// A conversation, too.
    Join,
    /// A group.
    Group,
}

/// An invite link that was sent or used.
#[derive(Debug, Default, Object)]
#[oai(rename = "InviteLinkInput", rename_all = "camelCase", example)]
pub struct LinkInput {
    /// `user` (or `join`): to a conversation; `group`: to a group.
    #[oai(rename = "type")]
    pub kind: Lenient<LinkType>,
    /// Whether it was sent.
    pub sent_invite_link: Lenient<Option<bool>>,
    /// Whether it was used; looked at where `sentInviteLink` is not given.
    pub used_invite_link: Lenient<Option<bool>>,
}

impl poem_openapi::types::Example for LinkInput {
    fn example() -> Self {
        Self { kind: json!("user").into(), sent_invite_link: json!(true).into(), used_invite_link: Lenient::default() }
    }
}

/// From when to when.
#[derive(Debug, Default, Object)]
#[oai(rename = "InsightsUntilInput", example)]
pub struct UntilInput {
    /// The first day: a date (`2022-07-01`), or a time of that day (RFC 3339).
    pub start: Lenient<String>,
    /// The last day, which is not before the first and at most 365 days after it.
    pub end: Lenient<String>,
}

impl poem_openapi::types::Example for UntilInput {
    fn example() -> Self {
        Self { start: json!("2022-07-01").into(), end: json!("2022-07-02").into() }
    }
}

/// A count: text, or the number 0. The first two are numbers always.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Count(Value);

impl Type for Count {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "count".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let number = MetaSchema { minimum: Some(0.0), ..MetaSchema::new_with_format("integer", "uint64") };
        let one_of = vec![String::schema_ref(), MetaSchemaRef::Inline(Box::new(number))];
        MetaSchemaRef::Inline(Box::new(MetaSchema { one_of, ..MetaSchema::ANY }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl poem_openapi::types::ParseFromJSON for Count {
    fn parse_from_json(value: Option<Value>) -> poem_openapi::types::ParseResult<Self> {
        Ok(Self(value.unwrap_or_default()))
    }
}

impl ToJSON for Count {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.clone())
    }
}

/// One counter.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "Insight", read_only_all)]
pub struct Insight {
    /// Its name.
    pub name: &'static str,
    /// How many.
    pub value: Count,
}

/// All counters.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "Insights", read_only_all)]
pub struct Now {
    /// Always true.
    pub valid: True,
    /// Accounts and groups ever created, threads (conversations started, joins, adds), messages, images, accounts
    /// removed by their owners at once, and invite links, in this order.
    pub insights: Vec<Insight>,
    /// Older form: accounts and groups by the newest number, threads, messages, and the four kinds of invite links.
    pub insight: Vec<String>,
}

/// The counters of one day.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "DayInsights", read_only_all)]
pub struct DayInsights {
    /// Name and value of each counter; empty if nothing was taken down that day.
    pub insights: Vec<Vec<String>>,
    /// The day, as the time at which it begins.
    pub date: String,
}

/// The counters of some days.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "InsightsUntil", read_only_all)]
pub struct Days {
    /// Always true.
    pub valid: True,
    /// A day each, both ends included.
    pub insights: Vec<DayInsights>,
}

fn now(counters: &Counters) -> Now {
    let values = counters.values();
    let count = |(nth, value): (usize, &i64)| match value {
        value if nth < NUMBERS || *value == 0 => json!(value),
        value => json!(value.to_string()),
    };
    let counts = values.iter().enumerate().map(count);
    let insights = Counters::NAMES.iter().zip(counts).map(|(name, value)| Insight { name, value: Count(value) });
    let older = |nth: usize| (values[nth] + if nth < NUMBERS { OFFSET } else { 0 }).to_string();
    Now { valid: True, insights: insights.collect(), insight: OLDER.map(older).to_vec() }
}

/// The UTC day of a date, or of a time (docs/protocol.md, "Counters of past days").
fn day(field: &Lenient<String>) -> Option<NaiveDate> {
    let text = field.str()?;
    // Years of four digits, as both forms of RFC 3339 have them.
    if text.len() == 10 {
        return NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.to_string() == text);
    }
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc).date_naive())
}

/// The days from the first to the last (docs/protocol.md, "Counters of past days").
fn days(input: &UntilInput) -> Option<(NaiveDate, NaiveDate)> {
    let (start, end) = (day(&input.start)?, day(&input.end)?);
    (0..MOST_DAYS).contains(&(end - start).num_days()).then_some((start, end))
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract(
        "countInviteLink",
        &[Always(Code::NotAuth), Always(Code::InvalidLinkType), Always(Code::NotUsedOrSentLink)],
    ),
    Operation::contract("getInsights", &[When(Code::NotFound, "with another method than GET or HEAD")]).answers_head(),
    Operation::contract(
        "getInsightsUntil",
        &[When(Code::InvalidInput, "unless both are dates, in their order, and cover at most 366 days")],
    ),
];

#[OpenApi]
impl Insights {
    /// Count an invite link
    ///
    /// If it is said to be both sent and used, it was sent.
    #[oai(path = "/invitelink", method = "post", operation_id = "countInviteLink", tag = "Tag::Insights")]
    async fn invite(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<LinkInput>,
    ) -> Result<Answer<Success, Refused>, WireError> {
        let link = match body.kind.str() {
            Some("user" | "join") => Some(Link::User),
            Some("group") => Some(Link::Group),
            _ => None,
        };
        // The first that JavaScript takes for true has to be true.
        let (flag, usage) = if body.sent_invite_link.is_truthy() {
            (&body.sent_invite_link, Usage::Sent)
        } else {
            (&body.used_invite_link, Usage::Used)
        };
        let usage = (flag.bool() == Some(true)).then_some(usage);
        let command = CountLink { session: session.0, link, usage };
        self.0.get()?.execute(key.with(&body), command, |()| Success::default()).await
    }

    /// Look at the counters
    ///
    /// Anybody may.
    #[oai(path = "/insights", method = "get", operation_id = "getInsights", tag = "Tag::Insights")]
    async fn now(&self) -> Result<Answer<Now>, WireError> {
        let app = self.0.get()?;
        let counters = match reads::insights(&app.views).await? {
            Some(counters) => counters,
            None => app.read.insights().await?,
        };
        Ok(Answer::new(&now(&counters)))
    }

    /// Look at the counters of past days
    ///
    /// The counters are taken down when the server starts and at every full hour (UTC). Each day
    /// has those of its first hour that were.
    #[oai(path = "/insightsuntil", method = "post", operation_id = "getInsightsUntil", tag = "Tag::Insights")]
    async fn until(&self, body: Body<UntilInput>) -> Result<Answer<Days>, WireError> {
        let app = self.0.get()?;
        let (start, end) = days(&body).ok_or(WireError::from(Code::InvalidInput))?;
        let known: BTreeMap<Day, Counters> = app.read.daily_insights(Day(start), Day(end)).await?.into_iter().collect();
        let of_day = |date: NaiveDate| DayInsights {
            insights: known.get(&Day(date)).map(pairs).unwrap_or_default(),
            date: format!("{date}T00:00:00.000Z"),
        };
        let insights = start.iter_days().take_while(|date| *date <= end).map(of_day).collect();
        Ok(Answer::new(&Days { valid: True, insights }))
    }
}

fn pairs(counters: &Counters) -> Vec<Vec<String>> {
    let values = counters.values();
    Counters::NAMES.iter().zip(values).map(|(name, value)| vec![(*name).to_owned(), value.to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_the_types_of_the_contract() {
        let counters = Counters { accs: 2, messages: 5, used_group: 1, ..Counters::default() };
        let said = serde_json::to_value(now(&counters)).unwrap();
        assert_eq!(
            said["insights"],
            json!([
                { "name": "accs", "value": 2 },
                { "name": "groups", "value": 0 },
                { "name": "threads", "value": 0 },
                { "name": "messages", "value": "5" },
                { "name": "images", "value": 0 },
                { "name": "panic", "value": 0 },
                { "name": "sentInviteLinks", "value": 0 },
                { "name": "usedInviteLinks", "value": 0 },
                { "name": "sentGrouInviteLinks", "value": 0 },
                { "name": "usedGroupInviteLinks", "value": "1" },
            ])
        );
        assert_eq!(said["insight"], json!(["10002", "10000", "0", "5", "0", "0", "0", "1"]));
    }

    /// Shows (docs/protocol.md): Counters of past days.
    #[test]
    fn a_range_is_two_dates_in_order_and_not_too_far_apart() {
        let range = |start: Value, end: Value| {
            let found = days(&UntilInput { start: start.into(), end: end.into() });
            found.map(|(start, end)| format!("{start} {end}"))
        };
        for (start, end, expected) in [
            ("2022-07-01", "2022-07-28", Some("2022-07-01 2022-07-28")),
            ("2022-07-01", "2022-07-01", Some("2022-07-01 2022-07-01")),
            // A time is cut to its day in UTC.
            ("2022-07-01T23:59:59.999Z", "2022-07-02T00:00:00+02:00", Some("2022-07-01 2022-07-01")),
            ("2022-07-01T23:00:00-02:00", "2022-07-02", Some("2022-07-02 2022-07-02")),
            ("2022-01-01", "2023-01-01", Some("2022-01-01 2023-01-01")),
            ("2022-01-01", "2023-01-02", None),
            ("0000-01-01", "9999-12-31", None),
            ("2022-07-02", "2022-07-01", None),
            ("2022-02-29", "2022-03-01", None),
            ("2022-7-1", "2022-07-01", None),
            ("2022-07-01", "tomorrow", None),
            ("2022-07-01 ", "2022-07-01", None),
            ("2022-07-01T", "2022-07-02", None),
            ("Fri Jul 01 2022", "2022-07-02", None),
            ("", "", None),
        ] {
            assert_eq!(range(json!(start), json!(end)).as_deref(), expected, "{start} {end}");
        }
        for bad in [json!(null), json!(true), json!(20220701), json!(1656633600000i64), json!([]), json!({})] {
            assert_eq!(range(bad.clone(), json!("2022-07-01")), None, "{bad}");
            assert_eq!(range(json!("2022-07-01"), bad.clone()), None, "{bad}");
        }
    }
}
