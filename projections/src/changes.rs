//! The fold of a batch of events into one final row or delta per key of every read model.

use be8_events::{Event, Recorded, StreamName, ThreadId};
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;

use crate::account::Accounts;
use crate::message::Messages;
use crate::read_mark::ReadMarks;
use crate::session::Sessions;
use crate::thread::Summaries;
use crate::{Generation, Parameters};

/// What a batch of events changes in the read models.
#[derive(Debug, Default)]
pub struct Changes {
    accounts: Accounts,
    sessions: Sessions,
    threads: Summaries,
    messages: Messages,
    read_marks: ReadMarks,
}

impl Changes {
    /// Folds one event in. Events come in the order of their positions.
    pub fn apply(&mut self, recorded: &Recorded) {
        let position = recorded.position;
        match &recorded.event {
            Event::AccountCreated(e) => {
                self.accounts.created(e.account, position, e.until);
                let system = ThreadId::System(e.account);
                self.threads.joined(e.account, system);
                self.system_message(system, position);
            }
            Event::PublicKeySet(_) => {
                if let StreamName::Account(account) = recorded.stream {
                    self.accounts.public_key(account, position);
                }
            }
            Event::SessionOpened(e) => {
                if let StreamName::Session(hash) = recorded.stream {
                    self.sessions.opened(hash, e.account);
                }
            }
            Event::SessionEnded(_) => {
                if let StreamName::Session(hash) = recorded.stream {
                    self.sessions.ended(hash);
                }
            }
            Event::ConversationStarted(e) => {
                if let ThreadId::Dialog { initiator, receiver } = e.thread {
                    self.threads.joined(initiator, e.thread);
                    self.threads.joined(receiver, e.thread);
                }
                self.messages.numbered(e.thread, e.message, position, None);
                self.threads.numbered(e.thread, e.message, position);
            }
            Event::MessageWritten(e) => {
                self.messages.numbered(e.thread, e.id, position, Some(e.nickname));
                self.threads.numbered(e.thread, e.id, position);
            }
            Event::MessagesRead(e) => {
                if let StreamName::Reads(thread) = recorded.stream {
                    self.read_marks.read(thread.key(), e.reader, &e.ranges);
                }
            }
            Event::KeysDeleted(_) => {}
        }
    }

    /// A message of the system to one account: only the projection numbers these, in log order.
    fn system_message(&mut self, thread: ThreadId, position: be8_events::Position) {
        let nth = self.threads.counted(thread, position);
        self.messages.counted(thread, nth, position);
    }

    /// The data-modifying CTEs that write a batch, each beginning with a comma; only for tables in
    /// which it changes something, since PostgreSQL prepares for all that a statement names. They
    /// stand behind a CTE `head` that has one row if the append may happen and none if not.
    pub fn sql(&self, generation: Generation, parameters: &mut Parameters) -> String {
        [
            self.accounts.sql(generation, parameters),
            self.sessions.sql(generation, parameters),
            self.messages.sql(generation, parameters),
            self.threads.sql(generation, parameters),
            self.read_marks.sql(generation, parameters),
        ]
        .concat()
    }

    /// Binds the parameters of [`Changes::sql`].
    ///
    /// # Errors
    /// What the driver says of a value that it cannot encode.
    pub fn bind(&self, to: &mut PgArguments) -> Result<(), BoxDynError> {
        self.accounts.bind(to)?;
        self.sessions.bind(to)?;
        self.messages.bind(to)?;
        self.threads.bind(to)?;
        self.read_marks.bind(to)
    }
}
