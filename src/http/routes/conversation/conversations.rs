//! The routes of the tag "Conversations": starting one, listing threads.

use be8_events::{AccId, ThreadId};
use poem_openapi::{Object, OpenApi};
use serde::Serialize;
use serde_json::json;

use crate::app::Handle;
use crate::domain::dialog::StartConversation;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::Always;
use crate::http::document::tag::Tag;
use crate::http::reads;
use crate::http::request::addressing::receiver;
use crate::http::request::body::Body;
use crate::http::request::lenient::Lenient;
use crate::http::request::once::IdempotencyKey;
use crate::http::request::session::Session;
use crate::http::wire::answer::{Answer, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::present;
use crate::http::wire::shown::ListedThread;

/// Conversations and the list of threads.
pub struct Conversations(pub Handle);

/// With whom to talk.
#[derive(Debug, Default, Object)]
#[oai(rename = "ConversationInput", example)]
pub struct StartConversationInput {
    /// The account, as a string or a number.
    #[oai(rename = "receiverID")]
    pub receiver_id: Lenient<String>,
    /// Looked at where `receiverID` is missing.
    pub receiver: Lenient<Option<String>>,
}

impl poem_openapi::types::Example for StartConversationInput {
    fn example() -> Self {
        Self { receiver_id: json!("10001").into(), receiver: Lenient::default() }
    }
}

/// The conversation.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "ConversationFound", read_only_all)]
pub struct ConversationFound {
    /// Always true.
    pub valid: True,
    /// The thread: `<who began>:<with whom>`.
    #[oai(rename = "threadID")]
    #[serde(rename = "threadID")]
    pub thread_id: String,
}

/// The threads of an account.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "ThreadList", read_only_all)]
pub struct ThreadList {
    /// Always true.
    pub valid: True,
    /// The newest first.
    pub threads: Vec<ListedThread>,
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::contract(
        "startConversation",
        &[Always(Code::NotAuth), Always(Code::AccNotExists), Always(Code::CircularConversation)],
    ),
    Operation::contract("listThreads", &[Always(Code::NotAuth)]).answers_head(),
];

#[OpenApi]
impl Conversations {
    /// Start a conversation
    ///
    /// Two accounts have one conversation, whichever begins it; if they have one already, its
    /// thread is answered and nothing changes. The initiator's streams receive `newConversation`.
    #[oai(path = "/startconversation", method = "post", operation_id = "startConversation", tag = "Tag::Conversations")]
    async fn start(
        &self,
        session: Session,
        #[oai(name = "Idempotency-Key")] key: IdempotencyKey,
        body: Body<StartConversationInput>,
    ) -> Result<Answer<ConversationFound>, WireError> {
        let receiver: Option<AccId> = receiver(&body.receiver_id, &body.receiver).and_then(|id| id.parse().ok());
        let command = StartConversation { session: session.0, receiver };
        let found = |thread: ThreadId| ConversationFound { valid: True, thread_id: thread.to_string() };
        self.0.get()?.execute(key.with(&body), command, found).await
    }

    /// List one's threads
    ///
    /// The newest first; of the same second, conversations stand before the system's thread.
    /// Conversations with a removed partner are left out.
    #[oai(path = "/getthreads", method = "get", operation_id = "listThreads", tag = "Tag::Conversations")]
    async fn threads(&self, session: Session) -> Result<Answer<ThreadList>, WireError> {
        let app = self.0.get()?;
        let (session, now, lifetime) = (session.required()?, app.now(), app.settings.message_lifetime);
        if let Some(body) = reads::threads(&app.views, session, now, lifetime).await? {
            return Ok(Answer::written(body?));
        }
        let list = app.read.threads(session, now).await?.ok_or(WireError::from(Code::NotAuth))?;
        let opener = app.vault.opener(&list.live).await?;
        let threads = present::threads(list, &opener, now, lifetime)?;
        Ok(Answer::new(&ThreadList { valid: True, threads }))
    }
}
