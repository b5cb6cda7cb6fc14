//! The routes of the tag "Lock codes": one code unlocks the client, the other one removes the account.

use std::sync::Arc;
use std::time::Duration;

use be8_events::account::{CodeKind, CodeSecret, CodesSecret};
use be8_events::{AccId, Hash32, Position, Secret};
use be8_projections::StoredSealed;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::{Enum, Object, OpenApi, types};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::profile::{ROUNDS, is_outdated};
use crate::app::names::open;
use crate::app::{App, Handle};
use crate::domain::Rejection;
use crate::domain::codes::{ChangeCode, SetCodes};
use crate::domain::removal::RemoveAccount;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::reads;
use crate::http::request::address::Caller;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, False, Refusals, Refused, Success, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::text::utf16_len;
use crate::password::{HashPermit, MAX_UNITS};
use crate::process::removal::remove;
use crate::vault::Opener;

/// Lock codes.
pub struct Codes(pub Handle);

/// Answers to an entered code leave at whole multiples of this time, so that their moment does not
/// tell whether something was written.
const BEAT: Duration = Duration::from_millis(250);

/// Whether codes are set.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "CodesKnown", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct HasCode {
    /// Always true.
    pub valid: True,
    /// Whether they are.
    pub has_code: bool,
}

/// Two codes to set.
#[derive(Debug, Default, Object)]
#[oai(rename = "CodesInput", rename_all = "camelCase", example)]
pub struct CodesInput {
    /// The code that unlocks the client, 1 to 1024 characters.
    #[oai(validator(min_length = 1, max_length = 1024))]
    pub unlock_code: Lenient<String>,
    /// The code that removes the account; another one.
    #[oai(validator(min_length = 1, max_length = 1024))]
    pub destroy_code: Lenient<String>,
}

impl poem_openapi::types::Example for CodesInput {
    fn example() -> Self {
        Self { unlock_code: json!("1234").into(), destroy_code: json!("9999").into() }
    }
}

/// A code that was entered.
#[derive(Debug, Default, Object)]
#[oai(rename = "CodeInput", example)]
pub struct CodeInput {
    /// The code.
    #[oai(validator(min_length = 1))]
    pub code: Lenient<String>,
}

impl poem_openapi::types::Example for CodeInput {
    fn example() -> Self {
        Self { code: json!("1234").into() }
    }
}

/// Which code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum CodeType {
    /// The one that unlocks the client.
    Unlock,
    /// The one that destroys the account.
    Destroy,
}

/// A code to change.
#[derive(Debug, Default, Object)]
#[oai(rename = "CodeUpdateInput", rename_all = "camelCase", example)]
pub struct UpdateInput {
    /// The new code, 1 to 1024 characters.
    #[oai(validator(min_length = 1, max_length = 1024))]
    pub code: Lenient<String>,
    /// The one that it replaces.
    #[oai(validator(min_length = 1))]
    pub old_code: Lenient<String>,
    /// Which: `unlock` or `destroy`.
    pub code_type: Lenient<CodeType>,
}

impl poem_openapi::types::Example for UpdateInput {
    fn example() -> Self {
        Self { code: json!("5678").into(), old_code: json!("1234").into(), code_type: json!("unlock").into() }
    }
}

/// The code is one of the two.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "ValidCode", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct ValidCode {
    /// Always true.
    pub valid: True,
    /// It unlocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_valid: Option<True>,
    /// It has removed the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_destroy_code: Option<True>,
}

/// The code is neither of the two.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "CodeWrong", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct CodeWrong {
    /// Always false.
    pub valid: False,
    /// Always true.
    pub in_valid: True,
}

/// A code was changed.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "UpdatedCodes", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct UpdatedCodes {
    /// Always true.
    pub valid: True,
    /// The one that unlocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlock_updated: Option<True>,
    /// The one that removes the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destroy_updated: Option<True>,
}

/// What `/codeunlock` refuses: with a reason, or because the code is wrong.
#[derive(Debug)]
pub struct NotUnlocked;

impl Refusals for NotUnlocked {
    fn schemas() -> Vec<MetaSchemaRef> {
        vec![<CodeWrong as types::Type>::schema_ref(), <Refused as types::Type>::schema_ref()]
    }

    fn register(registry: &mut Registry) {
        <CodeWrong as types::Type>::register(registry);
        <Refused as types::Type>::register(registry);
    }
}

/// A code as it was sent, of a length that can be set.
fn settable<T>(field: &Lenient<T>) -> Option<&str> {
    field.str().filter(|code| (1..=MAX_UNITS).contains(&utf16_len(code)))
}

/// A code as it was sent, to be compared. No code is longer than one that is kept here, cut off: it may have to wait.
fn sent<T>(field: &Lenient<T>) -> Option<Secret<String>> {
    let code = field.str().filter(|code| !code.is_empty())?;
    Some(Secret::new(code.chars().take(MAX_UNITS + 1).collect()))
}

/// The hash that an event set for one of the codes; none once its key is deleted.
fn hash_of(opener: &Opener, event: &StoredSealed, which: CodeKind) -> Result<Option<Secret<String>>, WireError> {
    let hash = match &event.stored.event {
        be8_events::Event::Account(be8_events::AccountEvent::CodesSet(_)) => {
            open::<CodesSecret>(opener, event)?.map(|secret| {
                let secret = secret.into_inner();
                match which {
                    CodeKind::Unlock => secret.unlock,
                    CodeKind::Destroy => secret.destroy,
                }
            })
        }
        _ => open::<CodeSecret>(opener, event)?.map(|secret| secret.into_inner().hash),
    };
    Ok(hash.map(Secret::new))
}

/// What became of a comparison with both codes.
struct Compared {
    account: AccId,
    /// Whether it came too early.
    throttled: bool,
    unlocks: bool,
    destroys: bool,
    /// The events whose hashes were looked at; none if no codes are set.
    events: Option<(Position, Position)>,
}

impl Compared {
    /// Whether it was the code of this kind.
    const fn is(&self, which: CodeKind) -> bool {
        match which {
            CodeKind::Unlock => self.unlocks,
            CodeKind::Destroy => self.destroys,
        }
    }
}

/// An entered code, which is compared as often as the codes change meanwhile.
struct Entered {
    session: Hash32,
    caller: Caller,
    code: Secret<String>,
    /// The place of the comparison, and whether it comes too early; none before the first one.
    attempt: Option<(HashPermit, bool)>,
}

impl Entered {
    const fn new(session: Hash32, caller: Caller, code: Secret<String>) -> Self {
        Self { session, caller, code, attempt: None }
    }

    /// Compares it with both codes of the account, whether they are set or not, and whichever it is: that takes the same
    /// time. The first time counts as an attempt, once it has its place; another look is no second attempt.
    async fn compare(&mut self, app: &App) -> Result<Compared, WireError> {
        let found = app.read.codes(self.session, app.now()).await?.ok_or(WireError::from(Code::NotAuth))?;
        let opener = app.vault.opener(&found.live).await?;
        let mut hashes = [None, None];
        if let Some((unlock, destroy)) = &found.events {
            hashes = [hash_of(&opener, unlock, CodeKind::Unlock)?, hash_of(&opener, destroy, CodeKind::Destroy)?];
        }
        let (permit, throttled) = match &mut self.attempt {
            Some(attempt) => attempt,
            none => {
                let permit = app.codes.enter(self.caller.requester(Some(found.account)))?;
                let throttled = !app.code_attempts.admit(found.account, app.now()).await?;
                none.insert((permit, throttled))
            }
        };
        let [unlocks, destroys] = permit.verify(self.code.clone(), hashes).await?;
        let events = found.events.map(|(first, second)| (first.stored.position, second.stored.position));
        Ok(Compared { account: found.account, throttled: *throttled, unlocks, destroys, events })
    }

    /// What it does.
    async fn act(mut self, app: Arc<App>) -> Result<Answer<ValidCode, NotUnlocked>, WireError> {
        for _ in 0..ROUNDS {
            let compared = self.compare(&app).await?;
            // Where both are the same, unlocking wins.
            match compared.events {
                Some(_) if compared.unlocks && !compared.throttled => {
                    app.code_attempts.forget(compared.account).await?;
                    return Ok(Answer::new(&ValidCode { is_valid: Some(True), ..ValidCode::default() }));
                }
                Some(events) if compared.destroys && !compared.unlocks => {
                    let session = Some(self.session);
                    match remove(&app.ledger, &app.read, RemoveAccount::Code { session, checked: events.1 }).await {
                        Err(error) if is_outdated(&error) => continue,
                        removed => drop(removed?),
                    }
                    return Ok(Answer::new(&ValidCode { is_destroy_code: Some(True), ..ValidCode::default() }));
                }
                _ => return Ok(Answer::refused(&CodeWrong::default())),
            }
        }
        Err(Rejection::Outdated.into())
    }

    /// Changes a code to another one, if it is the old one.
    async fn change(
        mut self,
        app: Arc<App>,
        which: CodeKind,
        new: Secret<String>,
    ) -> Result<Answer<UpdatedCodes, Refused>, WireError> {
        for _ in 0..ROUNDS {
            let found = self.compare(&app).await?;
            let right = found.events.filter(|_| found.is(which) && !found.throttled);
            let compared = right.ok_or(WireError::from(Code::OldCodeWrong))?;
            let Some((permit, _)) = &self.attempt else { break };
            let hash = permit.hash(new.clone()).await?.into_inner();
            let code = Secret::new(CodeSecret { hash });
            match app.ledger.execute(ChangeCode { session: self.session, which, code, compared }).await {
                Err(error) if is_outdated(&error) => continue,
                changed => changed?,
            }
            app.code_attempts.forget(found.account).await?;
            let (unlock, destroy) = (which == CodeKind::Unlock, which == CodeKind::Destroy);
            return Ok(Answer::new(&UpdatedCodes {
                valid: True,
                unlock_updated: unlock.then_some(True),
                destroy_updated: destroy.then_some(True),
            }));
        }
        Err(Rejection::Outdated.into())
    }
}

/// Carries a comparison to its end, also when the client has left: an attempt that counts is judged.
async fn to_its_end<T: Send + 'static>(
    judged: impl Future<Output = Result<T, WireError>> + Send + 'static,
) -> Result<T, WireError> {
    tokio::spawn(judged).await.map_err(|_| WireError::from(Code::Internal))?
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract("hasCodes", &[Always(Code::NotAuth)]).answers_head(),
    Operation::contract(
        "setCodes",
        &[
            Always(Code::NotAuth),
            Always(Code::InvalidUnlockCode),
            When(Code::InvalidDestroyCode, "(also when both are the same)"),
            Always(Code::CodesAlreadySet),
        ],
    ),
    Operation::contract("enterCode", &[Always(Code::NotAuth), Always(Code::InvalidCode)]),
    Operation::contract(
        "updateCode",
        &[
            Always(Code::NotAuth),
            Always(Code::InvalidCode),
            Always(Code::InvalidOldCode),
            Always(Code::InvalidCodeType),
            When(Code::OldCodeWrong, "(also when no codes are set)"),
        ],
    ),
];

#[OpenApi]
impl Codes {
    /// Are lock codes set?
    #[oai(path = "/codehas", method = "get", operation_id = "hasCodes", tag = "Tag::Codes")]
    async fn has(&self, session: Session) -> Result<Answer<HasCode>, WireError> {
        let app = self.0.get()?;
        let (session, now) = (session.required()?, app.now());
        let has_code = match reads::own(&app.views, session, now).await? {
            Some(me) => me?.codes,
            None => app.signed_in(session).await?.codes,
        };
        Ok(Answer::new(&HasCode { valid: True, has_code }))
    }

    /// Set the lock codes
    ///
    /// For the first time; from then on each is changed with `/codeupdate`.
    #[oai(path = "/codeset", method = "post", operation_id = "setCodes", tag = "Tag::Codes")]
    async fn set(
        &self,
        caller: Caller,
        session: Session,
        body: Body<CodesInput>,
    ) -> Result<Answer<Success, Refused>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        let me = app.signed_in(session).await?;
        let unlock = settable(&body.unlock_code).ok_or(WireError::from(Code::InvalidUnlockCode))?;
        let destroy = settable(&body.destroy_code).filter(|code| *code != unlock);
        let destroy = destroy.ok_or(WireError::from(Code::InvalidDestroyCode))?;
        if me.codes {
            return Err(Code::CodesAlreadySet.into());
        }
        let (unlock, destroy) = (Secret::new(unlock.to_owned()), Secret::new(destroy.to_owned()));
        drop(body);
        let permit = app.codes.enter(caller.requester(Some(me.id)))?;
        let unlock = permit.hash(unlock).await?.into_inner();
        let destroy = permit.hash(destroy).await?.into_inner();
        let codes = Secret::new(CodesSecret { unlock, destroy });
        app.ledger.execute(SetCodes { session, codes }).await?;
        Ok(Answer::new(&Success::default()))
    }

    /// Enter a code
    ///
    /// The unlock code: `isValid`. The destroy code removes the account at once:
    /// `isDestroyCode`. Where both are the same, it unlocks. Any other, or where none are set:
    /// `inValid`; so does the unlock code too soon after too many wrong ones.
    #[oai(path = "/codeunlock", method = "post", operation_id = "enterCode", tag = "Tag::Codes")]
    async fn unlock(
        &self,
        caller: Caller,
        session: Session,
        body: Body<CodeInput>,
    ) -> Result<Answer<ValidCode, NotUnlocked>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        if sent(&body.code).is_none() {
            app.signed_in(session).await?;
        }
        let code = sent(&body.code).ok_or(WireError::from(Code::InvalidCode))?;
        drop(body);
        let begun = Instant::now();
        let answer = to_its_end(Entered::new(session, caller, code).act(Arc::clone(app))).await;
        let beats = begun.elapsed().as_nanos() / BEAT.as_nanos() + 1;
        sleep_until(begun + BEAT * u32::try_from(beats).unwrap_or(1)).await;
        answer
    }

    /// Change a code
    ///
    /// Too soon after too many wrong old codes, the right one is taken for wrong too.
    #[oai(path = "/codeupdate", method = "post", operation_id = "updateCode", tag = "Tag::Codes")]
    async fn update(
        &self,
        caller: Caller,
        session: Session,
        body: Body<UpdateInput>,
    ) -> Result<Answer<UpdatedCodes, Refused>, WireError> {
        let app = self.0.get()?;
        let session = session.required()?;
        app.signed_in(session).await?;
        let new = settable(&body.code).ok_or(WireError::from(Code::InvalidCode))?;
        let new = Secret::new(new.to_owned());
        let old = sent(&body.old_code).ok_or(WireError::from(Code::InvalidOldCode))?;
        let which = match body.code_type.str() {
            Some("unlock") => CodeKind::Unlock,
            Some("destroy") => CodeKind::Destroy,
            _ => return Err(Code::InvalidCodeType.into()),
        };
        drop(body);
        let old = Entered::new(session, caller, old);
        to_its_end(old.change(Arc::clone(app), which, new)).await
    }
}
