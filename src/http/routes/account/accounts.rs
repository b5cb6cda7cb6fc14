//! The routes of the tag "Accounts".

use be8_events::Secret;
use be8_events::account::AccountSecret;
use be8_projections::AccountView;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use crate::app::Handle;
use crate::app::names::{open_name, open_status};
use crate::domain::account::CreateAccount;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::operation::{LimitClass, Operation};
use crate::http::document::tag::Tag;
use crate::http::reads;
use crate::http::request::address::Caller;
use crate::http::request::body::Body;
use crate::http::request::cookie::SessionToken;
use crate::http::request::lenient::Lenient;
use crate::http::request::session::{OptionalSession, Session};
use crate::http::routes::account::cryptojs;
use crate::http::wire::answer::{Answer, RefusedWithWarning, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::js_date::js_date;
use crate::http::wire::text::utf16_len;
use crate::vault::Opener;

/// Accounts: making one, looking at one's own.
pub struct Accounts(pub Handle);

/// A new account.
#[derive(Debug, Default, Object)]
#[oai(rename = "AccountInput", example)]
pub struct AccountInput {
    /// The nickname, 1 to 30 characters (UTF-16 units).
    #[oai(validator(min_length = 1, max_length = 30))]
    pub nickname: Lenient<String>,
    /// The password: as it stands (1 to 1024 characters), or with `salt` as the web client encrypts it.
    #[oai(validator(min_length = 1))]
    pub password: Lenient<String>,
    /// With it, `password` is AES-256-CBC ciphertext in the OpenSSL format under this passphrase.
    pub salt: Lenient<Option<String>>,
}

impl poem_openapi::types::Example for AccountInput {
    fn example() -> Self {
        Self {
            nickname: serde_json::json!("Alice").into(),
            password: serde_json::json!("correct horse battery staple").into(),
            salt: Lenient::default(),
        }
    }
}

/// The account was made.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "AccountMade", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct AccountMade {
    /// Always true.
    pub valid: True,
    /// The new account's number. A string everywhere else.
    #[oai(rename = "accID", validator(minimum(value = "10001")))]
    #[serde(rename = "accID")]
    pub acc_id: i64,
}

/// One's own account.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "Account", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The nickname.
    pub nickname: String,
    /// Always `user`.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Until when it lives, as JavaScript's `Date.toString()` in UTC.
    pub expire: String,
    /// The account id.
    pub id: String,
    /// The status text.
    pub user_status: String,
    /// Whether lock codes are set.
    pub codes: bool,
    /// Whether a token made it endless.
    pub endless: bool,
}

/// Who the session belongs to.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "OwnAccount", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct OwnAccount {
    /// Always true.
    pub valid: True,
    /// The account.
    pub acc_obj: Account,
    /// The account id.
    #[oai(rename = "accID")]
    #[serde(rename = "accID")]
    pub acc_id: String,
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract(
        "createAccount",
        &[
            Always(Code::InvalidNickname),
            Always(Code::InvalidPassword),
            When(
                Code::PasswordFailure,
                "(a warning, with status 200) when the password cannot be decrypted or is longer than 1024 \
                 characters",
            ),
            Always(Code::RegistrationClosed),
            When(
                Code::Unavailable,
                "when the server lacks room for more accounts, while it still serves those that it has",
            ),
        ],
    )
    .limit(LimitClass::SignUps)
    .sets_cookie(),
    Operation::contract("getMe", &[When(Code::NotAuth, "without a session of a living account")]).answers_head(),
];

#[OpenApi]
impl Accounts {
    /// Make an account
    ///
    /// Makes an account and opens a session for it: the answer carries a `Set-Cookie`, as
    /// only that of `/login` does otherwise. An open session of the request ends (the older account lives on
    /// until it expires).
    #[oai(path = "/newacc", method = "post", operation_id = "createAccount", tag = "Tag::Accounts")]
    async fn create(
        &self,
        caller: Caller,
        session: OptionalSession,
        body: Body<AccountInput>,
    ) -> Result<Answer<AccountMade, RefusedWithWarning>, WireError> {
        let app = self.0.get()?;
        let body = body.into_inner();
        let nickname = body.nickname.str().filter(|name| (1..=30).contains(&utf16_len(name)));
        let nickname = nickname.ok_or(WireError::from(Code::InvalidNickname))?.to_owned();
        let salt = body.salt.value().map(|_| body.salt.str().map(str::to_owned));
        let password = body.password.into_string().filter(|text| !text.is_empty());
        let password = password.ok_or(WireError::from(Code::InvalidPassword))?;
        let failure = || WireError::from(Code::PasswordFailure);
        let password = match salt {
            None => cryptojs::plain(&password),
            Some(None) => return Err(failure()),
            Some(Some(salt)) => cryptojs::decrypt(&password, &salt),
        }
        .map_err(|_| failure())?;
        app.admit().await?;
        let password = app.passwords.enter(caller.requester(None))?.hash(password).await?.into_inner();
        let token = SessionToken::generate();
        let command = CreateAccount {
            secret: Secret::new(AccountSecret { nickname, password }),
            session: token.hash(),
            replaces: session.0,
            lifetime: app.settings.account_lifetime,
        };
        let account = app.ledger.execute(command).await?;
        let cookie = token.set_cookie(app.now(), caller.https);
        Ok(Answer::new(&AccountMade { valid: True, acc_id: account.number() }).with_cookie(cookie))
    }

    /// Look at one's own account
    #[oai(path = "/me", method = "get", operation_id = "getMe", tag = "Tag::Accounts")]
    async fn me(&self, session: Session) -> Result<Answer<OwnAccount>, WireError> {
        let app = self.0.get()?;
        let (session, now) = (session.required()?, app.now());
        if let Some(me) = reads::own(&app.views, session, now).await? {
            return Ok(Answer::written(me?.shown.own.to_vec()));
        }
        let me = app.signed_in(session).await?;
        let opener = app.vault.opener(&me.live).await?;
        Ok(Answer::new(&own_account(&me, &opener)?))
    }
}

/// An account, as its owner sees it.
pub(in crate::http) fn own_account(me: &AccountView, opener: &Opener) -> Result<OwnAccount, WireError> {
    let account = Account {
        nickname: open_name(opener, &me.nickname)?,
        kind: "user",
        expire: js_date(me.until),
        id: me.id.to_string(),
        user_status: open_status(opener, me.status.as_ref())?,
        codes: me.codes,
        endless: me.endless,
    };
    Ok(OwnAccount { valid: True, acc_id: account.id.clone(), acc_obj: account })
}
