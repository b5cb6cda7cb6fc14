//! The route of the tag "Tokens": what makes an account live longer.

use be8_events::token::Grant;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::json;

use crate::app::Handle;
use crate::app::tokens;
use crate::domain::Rejection;
use crate::domain::token::UseToken;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::once::IdempotencyKey;
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, False, Refusals, Refused, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::text::utf16_len;

/// Tokens.
pub struct Tokens(pub Handle);

/// A token to use.
#[derive(Debug, Default, Object)]
#[oai(rename = "TokenInput", example)]
pub struct TokenInput {
    /// The token, at least 32 characters (UTF-16 units).
    #[oai(validator(min_length = 32))]
    pub token: Lenient<String>,
}

impl poem_openapi::types::Example for TokenInput {
    fn example() -> Self {
        Self { token: json!("12345678901234567890123456789012").into() }
    }
}

/// What the token gave.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "TokenUsed", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct Used {
    /// Always true.
    pub valid: True,
    /// Always true.
    pub validate: True,
    /// `endless`: the account lives on without end; `promo`: for some time from now on.
    pub token_type: &'static str,
    /// Of a promo token: how long, in milliseconds.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_time: Option<String>,
}

/// Another account has the token.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct TokenInUse {
    /// Always false.
    pub valid: False,
    /// Always true.
    pub token_in_use: True,
}

/// What stands beside success here.
#[derive(Debug)]
pub struct Refusal;

impl Refusals for Refusal {
    fn schemas() -> Vec<MetaSchemaRef> {
        vec![Refused::schema_ref(), TokenInUse::schema_ref()]
    }

    fn register(registry: &mut Registry) {
        <Refused as Type>::register(registry);
        <TokenInUse as Type>::register(registry);
    }
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[Operation::contract(
    "useToken",
    &[
        Always(Code::NotAuth),
        Always(Code::InvalidToken),
        When(Code::TokenNotExist, "(also for one that is used up or revoked)"),
    ],
)];

#[OpenApi]
impl Tokens {
    /// Use a token
    ///
    /// Tokens are issued by the operator. An *endless* one makes the account live on without end,
    /// and serves one account at a time: it is free again when that account is removed. A *promo* one
    /// makes it live for a time from now on, once. None makes a life shorter.
    ///
    /// An account that is endless takes no other endless token: one that it has already, or that
    /// nobody has, is valid without effect. Of what passes the checks, one that another account has is answered with status 200
    /// and `tokenInUse`.
    #[oai(path = "/endlessvalidate", method = "post", operation_id = "useToken", tag = "Tag::Tokens")]
    async fn validate(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<TokenInput>,
    ) -> Result<Answer<Used, Refusal>, WireError> {
        let app = self.0.get()?;
        let token = match body.token.str().filter(|text| utf16_len(text) >= tokens::LENGTH) {
            None => Err(Rejection::InvalidToken),
            Some(text) => tokens::fingerprint(&app.vault, text).await?.ok_or(Rejection::TokenNotExisting),
        };
        let used = |grant| match grant {
            Grant::Endless => Used { token_type: "endless", ..Used::default() },
            Grant::Promo { millis } => {
                Used { token_type: "promo", valid_time: Some(millis.to_string()), ..Used::default() }
            }
        };
        let command = UseToken { session: session.0, token };
        let refused = |rejection| match rejection {
            Rejection::TokenInUse => Ok(Answer::refused(&TokenInUse::default())),
            rejection => Err(rejection.into()),
        };
        app.execute_or(key.with(&body), command, used, refused).await
    }
}
