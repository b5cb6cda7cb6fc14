//! What accounts of the storm say of themselves: names, statuses, codes, devices.

use be8::domain::codes::{ChangeCode, SetCodes};
use be8::domain::password::ChangePassword;
use be8::domain::profile::{ChangeNickname, SetStatus};
use be8::domain::session::{EndSession, NameSession, OpenSession};
use be8::ledger::{Ledger, LedgerError};
use be8_events::account::{CodeKind, CodeSecret, CodesSecret, NicknameSecret, PasswordSecret, StatusSecret};
use be8_events::session::SessionSecret;
use be8_events::{AccId, AccountEvent, Event, Hash32, Position, Secret, StreamName};

/// What somebody says of itself; `kind` from 0 to 11. What is compared before a command is here the
/// newest when it is sent, and may be older when it is decided.
pub async fn of_oneself(ledger: &Ledger, kind: u32, session: Hash32, me: AccId) -> Result<(), LedgerError> {
    let newest = async |kinds: &[&str]| {
        let stream = StreamName::Account(me);
        let events = ledger.log().read_kinds(stream, kinds, Position(i64::MAX)).await.expect("the log");
        let codes = |event: &Event, which| match event {
            Event::Account(AccountEvent::CodeChanged(changed)) => changed.which == which,
            _ => true,
        };
        let of = |which| events.iter().rev().find(|e| codes(&e.event, which)).map(|e| e.position);
        (of(CodeKind::Unlock), of(CodeKind::Destroy))
    };
    let codes = Secret::new(CodesSecret { unlock: "unlock".to_owned(), destroy: "destroy".to_owned() });
    match kind {
        0..3 => {
            let Some(compared) = newest(&["AccountCreated", "NicknameChanged"]).await.0 else { return Ok(()) };
            let nickname = Secret::new(NicknameSecret { nickname: format!("nickname {kind}") });
            ledger.execute(ChangeNickname { session, nickname, compared }).await
        }
        3..6 => {
            let compared = newest(&["StatusSet"]).await.0;
            let status = Secret::new(StatusSecret { status: format!("status {kind}") });
            ledger.execute(SetStatus { session, status, compared }).await
        }
        6..8 => ledger.execute(SetCodes { session, codes }).await,
        8..11 => {
            // Few have codes otherwise.
            let _ = ledger.execute(SetCodes { session, codes }).await;
            let (Some(unlock), Some(destroy)) = newest(&["CodesSet", "CodeChanged"]).await else { return Ok(()) };
            let which = if kind == 8 { CodeKind::Destroy } else { CodeKind::Unlock };
            let code = Secret::new(CodeSecret { hash: "another".to_owned() });
            ledger.execute(ChangeCode { session, which, code, compared: (unlock, destroy) }).await
        }
        _ => {
            // A device more, of which nobody keeps the token; it ends at once or with the account.
            let other = Hash32::sha256(&session.0);
            let Some(checked) = newest(&["AccountCreated", "PasswordChanged"]).await.0 else { return Ok(()) };
            let login = OpenSession { account: me, checked, session: other, displaces: vec![other], replaces: None };
            ledger.execute(login).await?;
            let name = Secret::new(SessionSecret { name: "a device".to_owned() });
            ledger.execute(NameSession { session: Some(session), named: other, name, compared: None }).await?;
            let password = Secret::new(PasswordSecret { password: "another".to_owned() });
            ledger.execute(ChangePassword { session, password, checked, ends: Vec::new() }).await?;
            ledger.execute(EndSession { session: Some(other) }).await
        }
    }
}
