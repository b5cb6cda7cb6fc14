//! What an operation is declared to be, besides what stands in the attribute of its handler (path, method, tag): its id, how
//! and with which codes it refuses, in their order, what limits it, and what its answer carries. The document, the edge, the
//! guard, the limits and the turns of large bodies follow from it.

use poem::Response;

use crate::http::wire::codes::Code;
use crate::http::wire::problem::as_problem;

/// A code that an operation refuses with.
#[derive(Debug, Clone, Copy)]
pub enum Refusal {
    /// What the code means says when.
    Always(Code),
    /// When, as it continues the code in a sentence.
    When(Code, &'static str),
}

impl Refusal {
    /// The code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Always(code) | Self::When(code, _) => *code,
        }
    }
}

/// How a path reports errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorStyle {
    /// As the original contract: a wrong method by 404 NOTFOUND.
    Contract,
    /// As the contract, but a wrong method by 405 METHODNOTALLOWED with `Allow` (RFC 9110, section 15.5.6).
    Added,
    /// By problem details (RFC 9457), and a wrong method as [`ErrorStyle::Added`].
    Own,
}

impl ErrorStyle {
    /// An answer in this style.
    pub(in crate::http) fn apply(self, answer: Response) -> Response {
        match self {
            Self::Contract | Self::Added => answer,
            Self::Own => as_problem(answer),
        }
    }
}

/// Under which limit requests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitClass {
    /// Per account with a session, else per address.
    Usual,
    /// New accounts, per address.
    SignUps,
    /// Streams, per account; refused as streams are.
    Streams,
    /// Never limited: whether the server lives must not depend on who else asks.
    None,
}

/// An operation. One that reads by GET changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Its id.
    pub id: &'static str,
    /// How it reports errors; the same for all operations of a path.
    pub errors: ErrorStyle,
    /// What it refuses with, in the order of its checks.
    pub refuses: &'static [Refusal],
    /// What limits it; the same for all operations of a path.
    pub limit: LimitClass,
    /// HEAD is answered like GET.
    pub head: bool,
    /// Its accepted answer carries the session cookie.
    pub sets_cookie: bool,
    /// It changes something by GET: a link must not cause that, wherever it stands.
    pub changes_by_get: bool,
    /// Its bodies are large and take turns.
    pub large_bodies: bool,
    /// The schema and member of its answer that can be null. poem-openapi calls it optional, which it is not.
    pub nullable: Option<(&'static str, &'static str)>,
}

impl Operation {
    const fn new(errors: ErrorStyle, id: &'static str, refuses: &'static [Refusal]) -> Self {
        Self {
            id,
            errors,
            refuses,
            limit: LimitClass::Usual,
            head: false,
            sets_cookie: false,
            changes_by_get: false,
            large_bodies: false,
            nullable: None,
        }
    }

    /// One of the original contract.
    pub const fn contract(id: &'static str, refuses: &'static [Refusal]) -> Self {
        Self::new(ErrorStyle::Contract, id, refuses)
    }

    /// One beside those of the contract, which reports errors as they do.
    pub const fn added(id: &'static str, refuses: &'static [Refusal]) -> Self {
        Self::new(ErrorStyle::Added, id, refuses)
    }

    /// One of our own.
    pub const fn own(id: &'static str, refuses: &'static [Refusal]) -> Self {
        Self::new(ErrorStyle::Own, id, refuses)
    }

    /// With a limit of its own.
    #[must_use]
    pub const fn limit(self, limit: LimitClass) -> Self {
        Self { limit, ..self }
    }

    /// Also by HEAD.
    #[must_use]
    pub const fn answers_head(self) -> Self {
        Self { head: true, ..self }
    }

    /// With the session cookie in its accepted answer.
    #[must_use]
    pub const fn sets_cookie(self) -> Self {
        Self { sets_cookie: true, ..self }
    }

    /// By GET, and yet a change.
    #[must_use]
    pub const fn changes_by_get(self) -> Self {
        Self { changes_by_get: true, ..self }
    }

    /// With bodies that take turns.
    #[must_use]
    pub const fn large_bodies(self) -> Self {
        Self { large_bodies: true, ..self }
    }

    /// With a member of its answer that can be null.
    #[must_use]
    pub const fn nullable(self, schema: &'static str, member: &'static str) -> Self {
        Self { nullable: Some((schema, member)), ..self }
    }

    /// Whether it is refused when a page of another origin makes a browser send it: what sets or uses a session is, but for
    /// what only reads by GET. The operations of the contract are, whether they look at the session or not.
    pub(in crate::http) fn is_guarded(&self, method: &str, uses_session: bool) -> bool {
        let changes = !method.eq_ignore_ascii_case("get") || self.changes_by_get;
        changes && (self.errors != ErrorStyle::Own || uses_session || self.sets_cookie)
    }

    /// Whether it can be answered 429.
    pub(in crate::http) fn is_limited(&self) -> bool {
        matches!(self.limit, LimitClass::Usual | LimitClass::SignUps)
    }

    /// Its codes, each once, in the order of the checks.
    pub(in crate::http) fn codes(&self) -> Vec<Code> {
        let mut codes = Vec::with_capacity(self.refuses.len());
        for code in self.refuses.iter().map(Refusal::code) {
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        codes
    }

    /// The checks in their order, as a sentence; none for an operation that checks nothing.
    pub(in crate::http) fn checks(&self) -> Option<String> {
        let is_clause = |refusal: &Refusal| matches!(refusal, Refusal::When(_, when) if !when.starts_with('('));
        let between = if self.refuses.iter().any(is_clause) { "; " } else { ", " };
        let checks: Vec<String> = self
            .refuses
            .iter()
            .map(|refusal| match refusal {
                Refusal::Always(code) => format!("`{}`", code.as_str()),
                Refusal::When(code, when) => format!("`{}` {when}", code.as_str()),
            })
            .collect();
        let lead = match checks.len() {
            0 => return None,
            1 => "Checks",
            _ => "Checks in order",
        };
        Some(format!("{lead}: {}.", checks.join(between)))
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal::{Always, When};
    use super::*;

    #[test]
    fn checks_are_a_sentence_in_their_order() {
        for (refuses, expected) in [
            (&[][..], None),
            (&[Always(Code::NotAuth)], Some("Checks: `NOTAUTH`.")),
            (&[When(Code::NotFound, "where there is none")], Some("Checks: `NOTFOUND` where there is none.")),
            (
                &[Always(Code::NotAuth), When(Code::NotAdmin, "(private)"), Always(Code::NotAuth)],
                Some("Checks in order: `NOTAUTH`, `NOTADMIN` (private), `NOTAUTH`."),
            ),
            (
                &[Always(Code::NotAuth), When(Code::NotFound, "for this, and for that"), Always(Code::NotAdmin)],
                Some("Checks in order: `NOTAUTH`; `NOTFOUND` for this, and for that; `NOTADMIN`."),
            ),
        ] {
            assert_eq!(Operation::own("x", refuses).checks().as_deref(), expected);
        }
        let twice = Operation::own("x", &[Always(Code::NotAuth), Always(Code::NotAdmin), When(Code::NotAuth, "again")]);
        assert_eq!(twice.codes(), [Code::NotAuth, Code::NotAdmin]);
    }

    #[test]
    fn what_sets_or_uses_a_session_is_guarded() {
        let (contract, own) = (Operation::contract("x", &[]), Operation::own("x", &[]));
        for (operation, method, uses_session, guarded) in [
            (contract, "get", true, false),
            (contract.changes_by_get(), "get", true, true),
            (contract, "post", true, true),
            (contract, "POST", false, true),
            (Operation::added("x", &[]).sets_cookie(), "post", false, true),
            (own, "post", true, true),
            (own, "get", true, false),
            (own, "delete", false, false),
            (own.sets_cookie(), "post", false, true),
        ] {
            assert_eq!(operation.is_guarded(method, uses_session), guarded, "{operation:?} {method}");
        }
    }
}
