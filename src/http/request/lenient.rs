//! Fields of request bodies that take any JSON, so that each route's own checks decide.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::Value;

use super::json::{decimal, double};

/// The most bytes of a field that is only kept and returned, in the text form of [`Lenient::echo`].
pub const LONGEST_ECHO: usize = 1024;

/// A field of a request body that is *documented* as a `T` and *read* as any JSON value or none.
///
/// The wire contract answers a wrong type with the same code as a missing value, in an order of
/// its own; the framework would refuse the whole body before the first check ran. So reading
/// never fails here, and a check asks for what it needs: [`str`](Self::str),
/// [`strings`](Self::strings) and so on.
///
/// Limits are documented by `#[oai(validator(...))]` as on any other field, and are *never
/// enforced* by it: the framework is shown no value to validate. That is the check's work.
///
/// ```
/// # use be8::http::request::lenient::Lenient;
/// # use poem_openapi::{Object, types::ParseFromJSON};
/// /// A new name.
/// #[derive(Debug, Object)]
/// #[oai(rename_all = "camelCase")]
/// struct ChangeNickname {
///     /// The new nickname.
///     #[oai(validator(min_length = 1, max_length = 30))]
///     new_nickname: Lenient<String>,
///     /// Not looked at.
///     old_nickname: Lenient<Option<String>>,
/// }
///
/// let body = ChangeNickname::parse_from_json(Some(serde_json::json!({ "newNickname": 7 })));
/// let body = body.expect("any JSON object is a ChangeNickname");
/// assert_eq!(body.new_nickname.str(), None);
/// assert_eq!(body.new_nickname.str_or_number().as_deref(), Some("7"));
/// assert!(body.old_nickname.value().is_none());
/// ```
pub struct Lenient<T> {
    value: Option<Value>,
    documented: PhantomData<fn() -> T>,
}

impl<T> Lenient<T> {
    /// What was sent; nothing if the field was missing.
    pub const fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// The text, if it is a JSON string.
    pub fn str(&self) -> Option<&str> {
        self.value()?.as_str()
    }

    /// The text itself, if it is a JSON string: for what is too large to copy.
    pub fn into_string(self) -> Option<String> {
        match self.value {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The text of a JSON string, or a JSON number as JavaScript writes it (`10001`, not
    /// `10001.0`).
    pub fn str_or_number(&self) -> Option<Cow<'_, str>> {
        match self.value()? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(decimal(number))),
            _ => None,
        }
    }

    /// `true` or `false`, if it is a JSON boolean.
    pub fn bool(&self) -> Option<bool> {
        self.value()?.as_bool()
    }

    /// The texts, if it is an array of nothing but JSON strings (the empty array included).
    pub fn strings(&self) -> Option<Vec<&str>> {
        self.value()?.as_array()?.iter().map(Value::as_str).collect()
    }

    /// Whether it was sent, as `null`.
    pub const fn is_null(&self) -> bool {
        matches!(self.value, Some(Value::Null))
    }

    /// Whether JavaScript takes it for true: all but missing, `null`, `false`, `0` and `""`.
    pub fn is_truthy(&self) -> bool {
        match self.value() {
            None | Some(Value::Null) => false,
            Some(Value::Bool(value)) => *value,
            Some(Value::Number(number)) => double(number) != 0.0,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Array(_) | Value::Object(_)) => true,
        }
    }

    /// A string, boolean or number in the text form in which messages keep and return it:
    /// `"text"`, `"true"`, `"640"`. Anything else is dropped.
    pub fn echo(&self) -> Option<String> {
        match self.value()? {
            Value::String(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Number(number) => Some(decimal(number)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The value as the documented type, if it is one; most useful for enumerations.
    pub fn typed(&self) -> Option<T>
    where
        T: ParseFromJSON,
    {
        T::parse_from_json(Some(self.value()?.clone())).ok()
    }
}

impl<T> Default for Lenient<T> {
    /// A field that was not sent.
    fn default() -> Self {
        Self { value: None, documented: PhantomData }
    }
}

impl<T> From<Value> for Lenient<T> {
    fn from(value: Value) -> Self {
        Self { value: Some(value), documented: PhantomData }
    }
}

impl<T> fmt::Debug for Lenient<T> {
    /// The kind of the value only: bodies hold passwords, codes and messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.value {
            None => "missing",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "boolean",
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "string",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        })
    }
}

impl<T: Type> Type for Lenient<T> {
    const IS_REQUIRED: bool = T::IS_REQUIRED;

    // The raw types of T make the framework's validators compile, and with them their trace in
    // the document; they are never given a value.
    type RawValueType = T::RawValueType;
    type RawElementValueType = T::RawElementValueType;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        None
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        Box::new(std::iter::empty())
    }

    fn is_none(&self) -> bool {
        self.value.is_none()
    }
}

impl<T: Type> ParseFromJSON for Lenient<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Ok(Self { value, documented: PhantomData })
    }
}

impl<T: Type> ToJSON for Lenient<T> {
    fn to_json(&self) -> Option<Value> {
        self.value.clone()
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::payload::Json;
    use poem_openapi::{Enum, Object, OpenApi, OpenApiService};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Who may join.
    #[derive(Debug, PartialEq, Enum)]
    #[oai(rename_all = "lowercase")]
    enum Kind {
        Public,
        Private,
    }

    /// A body with a field of each kind.
    #[derive(Debug, Object)]
    #[oai(rename_all = "camelCase")]
    struct Sample {
        /// A name.
        #[oai(validator(min_length = 1, max_length = 30, pattern = "^[a-z]+$"))]
        nick_name: Lenient<String>,
        /// A choice.
        kind: Lenient<Kind>,
        /// Accounts.
        #[oai(rename = "accIDs", validator(min_items = 1, max_items = 3, min_length = 5))]
        acc_ids: Lenient<Vec<String>>,
        /// A number.
        #[oai(validator(minimum(value = "1")))]
        size: Lenient<Option<u32>>,
    }

    struct Api;

    #[OpenApi]
    impl Api {
        #[oai(path = "/", method = "post")]
        async fn sample(&self, body: Json<Sample>) -> Json<bool> {
            Json(body.nick_name.str().is_some())
        }
    }

    #[test]
    fn the_document_shows_types_and_limits() {
        let document = OpenApiService::new(Api, "", "").spec();
        let document: Value = serde_json::from_str(&document).unwrap();
        let schema = &document["components"]["schemas"]["Sample"];
        assert_eq!(schema["required"], json!(["nickName", "kind", "accIDs"]));
        assert_eq!(
            schema["properties"]["nickName"],
            json!({
                "type": "string", "description": "A name.",
                "minLength": 1, "maxLength": 30, "pattern": "^[a-z]+$",
            })
        );
        assert_eq!(
            schema["properties"]["accIDs"],
            json!({
                "type": "array", "description": "Accounts.", "minItems": 1, "maxItems": 3,
                "items": { "type": "string", "minLength": 5 },
            })
        );
        let kinds = &document["components"]["schemas"]["Kind"];
        assert_eq!(kinds["enum"], json!(["public", "private"]));
        assert_eq!(schema["properties"]["kind"]["allOf"][0]["$ref"], "#/components/schemas/Kind");
        assert_eq!(schema["properties"]["size"]["minimum"], 1.0);
    }

    #[test]
    fn accessors_take_only_their_type() {
        let field = |value: Value| Lenient::<String>::from(value);
        let missing = Lenient::<String>::default();
        assert!(missing.value().is_none() && !missing.is_null() && !missing.is_truthy());
        assert!(field(Value::Null).is_null());
        assert_eq!(field(json!("a")).str(), Some("a"));
        assert_eq!(field(json!(["a"])).str(), None);
        assert_eq!(field(json!(["a"])).str_or_number(), None);
        assert_eq!(field(json!(["a", "b"])).strings(), Some(vec!["a", "b"]));
        assert_eq!(field(json!(["a", 1])).strings(), None);
        assert_eq!(field(json!([])).strings(), Some(vec![]));
        assert_eq!(field(json!({})).strings(), None);
        assert_eq!(field(json!(true)).bool(), Some(true));
        assert_eq!(field(json!("true")).bool(), None);
        assert_eq!(field(json!(false)).echo().as_deref(), Some("false"));
        assert_eq!(field(json!({ "a": 1 })).echo(), None);
        assert_eq!(Lenient::<Kind>::from(json!("private")).typed(), Some(Kind::Private));
        assert_eq!(Lenient::<Kind>::from(json!("other")).typed(), None);
        for falsy in [json!(0), json!(-0.0), json!(""), json!(false), json!(null)] {
            assert!(!field(falsy.clone()).is_truthy(), "{falsy}");
        }
        for truthy in [json!(1), json!("0"), json!([]), json!({}), json!(true)] {
            assert!(field(truthy.clone()).is_truthy(), "{truthy}");
        }
    }

    #[test]
    fn numbers_are_written_as_in_javascript() {
        for (json, text) in [
            ("10001", "10001"),
            ("10001.0", "10001"),
            ("1e4", "10000"),
            ("-0.0", "0"),
            ("640.5", "640.5"),
            ("1e-3", "0.001"),
            ("18446744073709551615", "18446744073709552000"),
            ("-1e400", "-Infinity"),
        ] {
            let field = Lenient::<String>::from(crate::http::request::json::read(json).unwrap());
            assert_eq!(field.str_or_number().as_deref(), Some(text));
            assert_eq!(field.echo().as_deref(), Some(text));
        }
    }

    /// Any JSON of a few levels.
    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_is_refused(a in any_json(), b in any_json(), c in any_json(), d in any_json()) {
            let body = json!({ "nickName": a, "kind": b, "accIDs": c, "size": d, "other": a });
            let body = Sample::parse_from_json(Some(body)).unwrap();
            assert_eq!(body.nick_name.value(), Some(&a));
            assert_eq!(body.size.to_json(), Some(d));
            assert!(format!("{:?}", body.nick_name).len() <= 7);
        }
    }
}
