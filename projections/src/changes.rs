//! The fold of a batch of events into one final row or delta per key of every read model.

use be8_events::account::{CodeKind, Removal};
use be8_events::{AccId, Event, GroupId, Hash32, MessageNo, Position, Recorded, StayNo, StreamName, ThreadId};
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::account::Accounts;
use crate::device::Devices;
use crate::ends::Ends;
use crate::group::Groups;
use crate::image::Media;
use crate::insight::Insights;
use crate::keyholder::Keyholders;
use crate::message::Messages;
use crate::read_mark::ReadMarks;
use crate::session::Sessions;
use crate::thread::Threads;
use crate::token::Tokens;
use crate::{Generation, Parameters};

/// What a batch of events changes in the read models.
#[derive(Debug, Default)]
pub struct Changes {
    accounts: Accounts,
    sessions: Sessions,
    groups: Groups,
    threads: Threads,
    messages: Messages,
    media: Media,
    read_marks: ReadMarks,
    devices: Devices,
    keyholders: Keyholders,
    ends: Ends,
    insights: Insights,
    tokens: Tokens,
}

impl Changes {
    /// Folds one event in. Events come in the order of their positions.
    pub fn apply(&mut self, recorded: &Recorded) {
        let position = recorded.position;
        match &recorded.event {
            Event::AccountCreated(e) => {
                self.accounts.created(e.account, position, e.until);
                self.threads.joined(e.account, ThreadId::System(e.account));
                self.system_message(e.account, position, [None, None]);
                self.insights.account();
            }
            Event::PublicKeySet(_) => {
                if let StreamName::Account(account) = recorded.stream {
                    self.accounts.public_key(account, position);
                }
            }
            Event::SessionOpened(e) => {
                if let StreamName::Session(hash) = recorded.stream {
                    self.sessions.opened(hash, e.account, position);
                }
            }
            Event::SessionEnded(e) => {
                if let StreamName::Session(hash) = recorded.stream {
                    self.sessions.ended(hash);
                    self.devices.session_ended(e.account);
                }
            }
            Event::ConversationStarted(e) => {
                if let ThreadId::Dialog { initiator, receiver } = e.thread {
                    self.threads.joined(initiator, e.thread);
                    self.threads.joined(receiver, e.thread);
                }
                self.message(e.thread, e.message, position, None);
                self.insights.conversation();
            }
            Event::ConversationEnded(e) => {
                for account in e.thread.partner_of(e.gone).into_iter().chain([e.gone]) {
                    self.threads.left(account, e.thread);
                }
                if let Some(left) = e.thread.partner_of(e.gone) {
                    self.system_message(left, position, [None, None]);
                }
            }
            Event::MessageWritten(e) => {
                self.message(e.thread, e.id, position, Some(e.nickname));
            }
            Event::ImagePosted(e) => {
                self.message(e.thread, e.id, position, Some(e.nickname));
                self.media.posted(e, recorded.time.day());
                self.insights.image();
            }
            Event::MessagesRead(e) => {
                if let StreamName::Reads(thread) = recorded.stream {
                    self.read_marks.read(thread.key(), e.reader, &e.ranges);
                }
            }
            Event::GroupCreated(e) => {
                self.groups.created(e, position);
                self.groups.opened(e.group, e.admin, 1, 1, position);
                self.system_message(e.admin, position, [Some(position), None]);
                self.insights.group();
            }
            Event::MemberJoined(e) => {
                self.arrived(e.group, e.account, e.stay, e.message, e.nickname, position);
            }
            Event::MemberAdded(e) => {
                self.arrived(e.group, e.account, e.stay, e.message, e.nickname, position);
                self.system_message(e.account, position, [Some(e.group_name), Some(e.by_nickname)]);
            }
            Event::MemberLeft(e) => {
                self.departed(e.group, e.account, e.stay, Some(e.message), position);
                self.message(ThreadId::Group(e.group), e.message, position, Some(e.nickname));
                self.system_message(e.account, position, [Some(e.group_name), None]);
            }
            Event::MemberKicked(e) => {
                self.departed(e.group, e.account, e.stay, Some(e.message), position);
                self.message(ThreadId::Group(e.group), e.message, position, Some(e.nickname));
                self.system_message(e.account, position, [Some(e.group_name), None]);
            }
            Event::VersionAllocated(e) => {
                if let StreamName::Group(group) = recorded.stream {
                    self.groups.version(group, e.version);
                }
            }
            Event::GroupKeyStored(e) => {
                if let StreamName::Group(group) = recorded.stream {
                    self.groups.key(group, e.account, e.version, position);
                    self.keyholders.named(e.keyholder, group);
                }
            }
            Event::GroupDestroyed(e) => {
                self.groups.destroyed(e.group);
                self.ends.group(position, e.group);
                for &(account, stay) in &e.members {
                    self.departed(e.group, account, stay, None, position);
                    self.system_message(account, position, [Some(e.group_name), None]);
                }
            }
            Event::NicknameChanged(_) => {
                if let StreamName::Account(account) = recorded.stream {
                    self.accounts.nickname(account, position);
                }
            }
            Event::StatusSet(_) => {
                if let StreamName::Account(account) = recorded.stream {
                    self.accounts.status(account, position);
                }
            }
            Event::CodesSet(_) => {
                if let StreamName::Account(account) = recorded.stream {
                    self.accounts.codes(account, Some(position), Some(position));
                }
            }
            Event::CodeChanged(e) => {
                if let StreamName::Account(account) = recorded.stream {
                    let (unlock, destroy) = match e.which {
                        CodeKind::Unlock => (Some(position), None),
                        CodeKind::Destroy => (None, Some(position)),
                    };
                    self.accounts.codes(account, unlock, destroy);
                }
            }
            Event::LifetimeExtended(e) => {
                if let StreamName::Account(account) = recorded.stream {
                    self.accounts.extended(account, e.until, e.endless);
                }
            }
            Event::AccountRemoved(e) => {
                self.accounts.removed(e.account);
                self.sessions.removed(e.account);
                self.devices.removed(e.account);
                self.ends.account(position, e.account);
                if e.reason == Removal::Panic {
                    self.insights.panic();
                }
            }
            Event::LinkCounted(e) => self.insights.link(e.link, e.usage),
            Event::HourStruck(e) => self.insights.hour(e.hour),
            Event::TokenIssued(_)
            | Event::TokenTaken(_)
            | Event::TokenFreed(_)
            | Event::TokenConsumed(_)
            | Event::TokenRevoked(_) => {
                if let StreamName::Token(token) = recorded.stream {
                    self.token(token, position, &recorded.event);
                }
            }
            Event::DeviceSubscribed(e) => {
                if let StreamName::Devices(account) = recorded.stream {
                    self.devices.subscribed(account, e.endpoint, position, e.session);
                }
            }
            Event::DeviceDropped(e) => {
                if let StreamName::Devices(account) = recorded.stream {
                    self.devices.dropped(account, e.endpoint);
                }
            }
            Event::MediaStored(_) | Event::GroupUpdateSignalled(_) | Event::KeysDeleted(_) => {}
        }
    }

    /// A message of the system to one account: only the projection numbers these, in log order.
    fn system_message(&mut self, account: AccId, position: Position, names: [Option<Position>; 2]) {
        let thread = ThreadId::System(account);
        let nth = self.threads.counted(thread);
        self.messages.counted(thread, nth, position, names);
        self.insights.message();
    }

    /// What became of a token.
    fn token(&mut self, token: Hash32, position: Position, event: &Event) {
        match event {
            Event::TokenIssued(e) => self.tokens.issued(token, position, e.grant),
            Event::TokenTaken(e) => self.tokens.held(token, Some(e.by)),
            Event::TokenFreed(_) => self.tokens.held(token, None),
            Event::TokenConsumed(e) => self.tokens.used_up(token, e.by),
            Event::TokenRevoked(_) => self.tokens.revoked(token),
            _ => {} // no other kind is in these streams
        }
    }

    /// A member's stay begins, and the thread appears in its list.
    fn arrived(
        &mut self,
        group: GroupId,
        account: AccId,
        stay: StayNo,
        message: MessageNo,
        nickname: Position,
        at: Position,
    ) {
        let thread = ThreadId::Group(group);
        self.groups.opened(group, account, stay, message, at);
        self.threads.joined(account, thread);
        self.message(thread, message, at, Some(nickname));
        self.insights.arrival();
    }

    /// A member's stay ends, and the thread leaves its list.
    fn departed(&mut self, group: GroupId, account: AccId, stay: StayNo, until: Option<MessageNo>, at: Position) {
        self.groups.closed(group, account, stay, until, at);
        self.threads.left(account, ThreadId::Group(group));
    }

    /// A message of a thread, numbered by its event.
    fn message(&mut self, thread: ThreadId, id: MessageNo, position: Position, name: Option<Position>) {
        self.messages.numbered(thread, id, position, name);
        self.threads.numbered(thread, id);
        self.insights.message();
    }

    /// Leaves only what changes in these read models (by [`crate::Model::name`]).
    pub fn keep(&mut self, names: &[&str]) {
        let drop = |name: &str| !names.contains(&name);
        if drop("accounts") {
            self.accounts = Accounts::default();
        }
        if drop("sessions") {
            self.sessions = Sessions::default();
        }
        if drop("groups") {
            self.groups = Groups::default();
        }
        if drop("threads") {
            self.threads = Threads::default();
        }
        if drop("messages") {
            self.messages = Messages::default();
        }
        if drop("media") {
            self.media = Media::default();
        }
        if drop("read-marks") {
            self.read_marks = ReadMarks::default();
        }
        if drop("keyholders") {
            self.keyholders = Keyholders::default();
        }
        if drop("ends") {
            self.ends = Ends::default();
        }
        if drop("insights") {
            self.insights = Insights::default();
        }
        if drop("tokens") {
            self.tokens = Tokens::default();
        }
        if drop("devices") {
            self.devices = Devices::default();
        }
    }

    /// Writes a page of a rebuild: what the append writes, without an append, and what is only
    /// added the fastest way.
    ///
    /// # Errors
    /// What PostgreSQL answers.
    pub async fn write(mut self, connection: &mut PgConnection, to: Generation) -> Result<(), sqlx::Error> {
        if let Some(rows) = self.messages.take_rows() {
            rows.write(connection, to).await?;
        }
        let sql = self.sql(to, &mut Parameters::after(0));
        if sql.is_empty() {
            return Ok(());
        }
        let mut arguments = PgArguments::default();
        self.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
        let sql = AssertSqlSafe(format!("with head as (select 1){sql} select from head"));
        sqlx::query_with(sql, arguments).persistent(false).execute(connection).await?;
        Ok(())
    }

    /// The data-modifying CTEs that write a batch, each beginning with a comma; only for tables in
    /// which it changes something, since PostgreSQL prepares for all that a statement names. They
    /// stand behind a CTE `head` that has one row if the append may happen and none if not.
    pub fn sql(&self, generation: Generation, parameters: &mut Parameters) -> String {
        [
            self.accounts.sql(generation, parameters),
            self.sessions.sql(generation, parameters),
            self.groups.sql(generation, parameters),
            self.messages.sql(generation, parameters),
            self.media.sql(generation, parameters),
            self.threads.sql(generation, parameters),
            self.read_marks.sql(generation, parameters),
            self.devices.sql(generation, parameters),
            self.keyholders.sql(generation, parameters),
            self.ends.sql(generation, parameters),
            self.insights.sql(generation, parameters),
            self.tokens.sql(generation, parameters),
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
        self.groups.bind(to)?;
        self.messages.bind(to)?;
        self.media.bind(to)?;
        self.threads.bind(to)?;
        self.read_marks.bind(to)?;
        self.devices.bind(to)?;
        self.keyholders.bind(to)?;
        self.ends.bind(to)?;
        self.insights.bind(to)?;
        self.tokens.bind(to)
    }
}
