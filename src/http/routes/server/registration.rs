//! The operator's routes that open and close registration, of the tag "Operations".

use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::json;

use crate::app::Handle;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::Always;
use crate::http::document::tag::Tag;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::operator::Operator;
use crate::http::wire::answer::{Answer, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// Registration, for the operator.
pub struct Registration(pub Handle);

/// Whether new accounts may be made.
#[derive(Debug, Default, Object)]
#[oai(rename = "RegistrationInput", example)]
pub struct RegistrationInput {
    /// Open or closed.
    pub open: Lenient<bool>,
}

impl poem_openapi::types::Example for RegistrationInput {
    fn example() -> Self {
        Self { open: json!(true).into() }
    }
}

/// Whether new accounts may be made.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "RegistrationState", read_only_all)]
pub struct RegistrationState {
    /// Always true.
    pub valid: True,
    /// The operator's word. A server that is started with `--registration closed` makes no
    /// accounts all the same.
    pub open: bool,
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::own("getRegistration", &[Always(Code::NotAuth)]),
    Operation::own("setRegistration", &[Always(Code::NotAuth), Always(Code::InvalidInput)]),
];

#[OpenApi]
impl Registration {
    /// Is registration open?
    ///
    /// For the operator.
    #[oai(path = "/operator/registration", method = "get", operation_id = "getRegistration", tag = "Tag::Operations")]
    async fn get(&self, operator: Operator) -> Result<Answer<RegistrationState>, WireError> {
        let app = self.0.get()?;
        operator.check(app.operator.as_ref(), "registration")?;
        let open = app.ledger.log().registration_open().await?;
        Ok(Answer::new(&RegistrationState { valid: True, open }))
    }

    /// Open or close registration
    ///
    /// On all nodes at once, and for good: it outlives a restart. While it is closed `/newacc` is
    /// answered 403; who has an account keeps it.
    ///
    /// For the operator.
    #[oai(path = "/operator/registration", method = "post", operation_id = "setRegistration", tag = "Tag::Operations")]
    async fn set(
        &self,
        operator: Operator,
        body: Body<RegistrationInput>,
    ) -> Result<Answer<RegistrationState>, WireError> {
        let app = self.0.get()?;
        operator.check(app.operator.as_ref(), "registration")?;
        let open = body.open.bool().ok_or(WireError::from(Code::InvalidInput))?;
        app.ledger.log().set_registration(open).await?;
        tracing::info!(open, "the operator set registration");
        Ok(Answer::new(&RegistrationState { valid: True, open }))
    }
}
