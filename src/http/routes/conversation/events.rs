//! The routes of the tag "Events": the stream of changes.

use std::sync::Arc;
use std::time::Duration;

use be8_events::{Hash32, Position, ThreadId};
use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use poem::{IntoResponse, Response};
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::EventStream;
use poem_openapi::registry::{MetaResponse, MetaResponses, Registry};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Union};

use crate::app::IdCipher;
use crate::app::{App, Handle};
use crate::feed::{Beginning, Change, ChangeId, Delivery, Scope, Shared, missed};
use crate::http::document::operation::Refusal::Always;
use crate::http::document::operation::{LimitClass, Operation};
use crate::http::document::tag::Tag;
use crate::http::request::common::Common;
use crate::http::request::session::Session;
use crate::http::serve::connection::Lost;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;
use crate::http::wire::event_stream;

/// The stream of changes.
pub struct Events(pub Handle);

/// How long a client waits before it comes back.
const RETRY: Duration = Duration::from_millis(2500);
/// How long a client is asked to wait while the server starts or the database is away.
const AWAY: Duration = Duration::from_secs(5);
/// How long a client that has too many streams is asked to wait.
const CROWDED: Duration = Duration::from_secs(30);

/// How old the changes may be that are sent to a stream which does not say what it saw.
const RECENT: TimeDelta = TimeDelta::minutes(2);

/// The kind of thread that a change is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum ChangeKind {
    /// A conversation of two.
    #[default]
    User,
    /// A group.
    Group,
}

/// The account started a conversation.
#[derive(Debug, Default, Object)]
#[oai(rename = "ConversationStarted", read_only_all)]
pub struct ConversationStarted {
    /// With whom.
    pub partner: String,
}

/// The account created a group.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupCreate", read_only_all)]
pub struct GroupCreate {
    /// The group.
    pub partner: String,
}

/// A message came into a thread.
#[derive(Debug, Default, Object)]
#[oai(rename = "MessageArrived", read_only_all)]
pub struct MessageArrived {
    /// The thread.
    #[oai(rename = "threadID")]
    pub thread_id: String,
    /// The same as `threadID`.
    #[oai(rename = "groupID")]
    pub group_id: String,
    /// Who wrote it.
    pub sender: String,
    /// The sender's nickname.
    pub nickname: String,
    /// What kind of thread it is.
    #[oai(rename = "type")]
    pub kind: ChangeKind,
}

/// Somebody read messages of the account.
#[derive(Debug, Default, Object)]
#[oai(rename = "MessageRead", read_only_all)]
pub struct MessageRead {
    /// The thread.
    #[oai(rename = "threadID")]
    pub thread_id: String,
    /// To whom the message was sent.
    pub receiver: String,
    /// The newest message that was read.
    #[oai(rename = "messageID")]
    pub message_id: String,
    /// What kind of thread it is.
    #[oai(rename = "type")]
    pub kind: ChangeKind,
    /// The group, if it is one.
    #[oai(rename = "groupID", skip_serializing_if_is_none)]
    pub group_id: Option<String>,
}

/// Somebody came into a group.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupJoin", read_only_all)]
pub struct GroupJoin {
    /// The group.
    #[oai(rename = "groupID")]
    pub group_id: String,
    /// The same as `groupID`.
    #[oai(rename = "threadID")]
    pub thread_id: String,
    /// Always `group`.
    #[oai(rename = "type")]
    pub kind: ChangeKind,
}

/// Somebody is no longer in a group.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupMemberRemove", read_only_all)]
pub struct GroupMemberRemove {
    /// The group.
    #[oai(rename = "groupID")]
    pub group_id: String,
    /// The same as `groupID`.
    #[oai(rename = "threadID")]
    pub thread_id: String,
    /// Who.
    #[oai(rename = "leavingMember")]
    pub leaving_member: String,
    /// Always `group`.
    #[oai(rename = "type")]
    pub kind: ChangeKind,
}

/// The partner of a conversation was removed.
#[derive(Debug, Default, Object)]
#[oai(rename = "ExpiredAcc", read_only_all)]
pub struct ExpiredAcc {
    /// Who.
    #[oai(rename = "accID")]
    pub acc_id: String,
    /// The thread of the two.
    #[oai(rename = "threadID")]
    pub thread_id: String,
}

/// A member asks to look at a group again.
#[derive(Debug, Default, Object)]
#[oai(rename = "GroupUpdate", read_only_all)]
pub struct GroupUpdate {
    /// The group.
    #[oai(rename = "groupID")]
    pub group_id: String,
}

/// A change, distinguished by `action`.
#[derive(Debug, Union)]
#[oai(discriminator_name = "action", rename = "Change")]
pub enum ChangeObject {
    /// The account started a conversation.
    #[oai(mapping = "newConversation")]
    ConversationStarted(ConversationStarted),
    /// The account created a group.
    #[oai(mapping = "groupCreate")]
    GroupCreate(GroupCreate),
    /// A message came into a thread.
    #[oai(mapping = "newMessage")]
    MessageArrived(MessageArrived),
    /// Somebody read messages of the account.
    #[oai(mapping = "messageRead")]
    MessageRead(MessageRead),
    /// Somebody came into a group.
    #[oai(mapping = "groupJoin")]
    GroupJoin(GroupJoin),
    /// Somebody is no longer in a group.
    #[oai(mapping = "groupMemberRemove")]
    GroupMemberRemove(GroupMemberRemove),
    /// The partner of a conversation was removed.
    #[oai(mapping = "expiredAcc")]
    ExpiredAcc(ExpiredAcc),
    /// A member asks to look at a group again.
    #[oai(mapping = "groupUpdate")]
    GroupUpdate(GroupUpdate),
}

/// The open stream, or its end before it began.
pub enum Streaming {
    /// Changes as they come, after what was missed; and the pause after which a silent stream shows that it lives.
    Open(BoxStream<'static, Bytes>, Duration),
    /// Not now: come back later.
    Refused(Response),
}

impl ApiResponse for Streaming {
    fn meta() -> MetaResponses {
        let mut meta = <EventStream<BoxStream<'static, ChangeObject>> as ApiResponse>::meta();
        for response in &mut meta.responses {
            let MetaResponse { description, .. } = response;
            *description =
                "Changes as server-sent events. Each has an `id`: give the last one back as `Last-Event-ID`.";
        }
        meta
    }

    fn register(registry: &mut Registry) {
        <EventStream<BoxStream<'static, ChangeObject>> as ApiResponse>::register(registry);
    }
}

impl IntoResponse for Streaming {
    fn into_response(self) -> Response {
        match self {
            Self::Open(pieces, heartbeat) => event_stream::response(pieces, heartbeat),
            Self::Refused(response) => response,
        }
    }
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] =
    &[Operation::contract("streamEvents", &[Always(Code::NotAuth)]).limit(LimitClass::Streams)];

#[OpenApi]
impl Events {
    /// Stream changes
    ///
    /// A stream of server-sent events. Each line of data is one change as JSON, in ASCII; each event's `id`
    /// is opaque: keep the last one and give it back. A stream that is opened with `Last-Event-ID` (or the query
    /// parameter `last_event_id`, which a browser's first request needs) gets exactly what it
    /// missed; beyond 1000 missed changes one `newMessage` a thread instead. A reader that is too
    /// slow is cut off and comes back with its last id. The server also ends streams in good order,
    /// as when it restarts: a client must come back with the last id then, too.
    ///
    /// A stream without an id gets what was not yet written to the account's last one on this node,
    /// or what this node cannot know of, at most two minutes old. While the account has other streams
    /// open here, it gets what was written to them within three heartbeats, for one of them may be
    /// the dead half of a connection whose client has come back. Some of it may come twice.
    /// `newConversation` and `groupCreate` are left out there, for they would switch the open chat.
    ///
    /// An account with too many open streams, or one that opens them too often, and everybody while
    /// the server starts or the database is away, gets status 200, a `retry:` and, after some seconds,
    /// the end of the body: a browser tries again after that, and after no other status.
    #[oai(path = "/events", method = "get", operation_id = "streamEvents", tag = "Tag::Events")]
    async fn events(
        &self,
        session: Session,
        /// The id of the last event that was seen.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
        /// The same, for the first request of a page.
        #[oai(name = "last_event_id")]
        last_event_id_query: Query<Option<String>>,
        /// The same, by the name that some clients use.
        #[oai(name = "lastEventId")]
        last_event_id_camel: Query<Option<String>>,
        lost: Lost,
        common: &Common,
    ) -> Result<Streaming, WireError> {
        let seen = [last_event_id.0, last_event_id_query.0, last_event_id_camel.0];
        match self.open(session.required()?, seen.into_iter().flatten(), lost).await {
            Ok(Some((pieces, heartbeat))) => Ok(Streaming::Open(pieces, heartbeat)),
            Ok(None) => Ok(Streaming::Refused(common.refused.come_back(CROWDED))),
            Err(error) if error.code() == Code::Unavailable => Ok(Streaming::Refused(common.refused.come_back(AWAY))),
            Err(error) => Err(error),
        }
    }
}

impl Events {
    /// The pieces of a stream and the pause of its heartbeats; none if the account has too many.
    async fn open(
        &self,
        hash: Hash32,
        mut seen: impl Iterator<Item = String>,
        lost: Lost,
    ) -> Result<Option<(BoxStream<'static, Bytes>, Duration)>, WireError> {
        let app = self.0.get()?.clone();
        let found = app.read.participation(hash, app.now(), Position(i64::MAX)).await?;
        let (account, _) = found.ok_or(WireError::from(Code::NotAuth))?;
        let ids = app.stream_ids.cipher().await?.clone();
        // Any text that is no id of ours counts as absent.
        let seen = seen.find_map(|id| ids.read(&id));
        let Ok(mut subscriber) = app.hub.subscribe(account, hash, lost.flag()) else { return Ok(None) };
        // This node may learn late of events that another one has already sent.
        let known = match seen {
            Some(seen) if seen.position > app.ledger.position() => app.ledger.log().newest().await?,
            _ => app.ledger.position(),
        };
        let seen = seen.filter(|seen| seen.position <= known);
        let (seen, scope) = match seen {
            Some(seen) => (Some(seen), Scope::All),
            None => (Some(self.begins(&app, subscriber.beginning).await?), Scope::Quiet),
        };
        // Asked again after the subscription: a conversation may have begun in between, or the session ended.
        let since = seen.map_or(Position(i64::MAX), |seen| seen.position);
        let found = app.read.participation(hash, app.now(), since).await?;
        let (_, threads) = found.ok_or(WireError::from(Code::NotAuth))?;
        if let Some(seen) = seen {
            let missed = missed(app.ledger.log(), account, &threads, seen, subscriber.from, scope).await?;
            // What the id names may lie ahead of where the stream begins.
            subscriber.begin(seen, missed);
        }
        let changes = stream::unfold(subscriber, |mut subscriber| async move {
            subscriber.next().await.map(|delivery| (delivery, subscriber))
        });
        let heartbeat = app.settings.heartbeat;
        let changes = written(app, ids, changes);
        Ok(Some((stream::iter([event_stream::retry(RETRY)]).chain(changes).boxed(), heartbeat)))
    }

    /// After which change a stream begins that does not say what it saw.
    async fn begins(&self, app: &App, beginning: Beginning) -> Result<ChangeId, WireError> {
        let position = app.ledger.log().position_at(app.now().plus(-RECENT)).await?;
        let old = ChangeId { position, nth: u32::MAX };
        Ok(match beginning {
            Beginning::After(received) => received.max(old),
            Beginning::Recent => old,
        })
    }
}

/// The deliveries as the client reads them. A change whose text cannot be made ends the stream: the
/// client comes back and asks for it again.
fn written(
    app: Arc<App>,
    ids: IdCipher,
    deliveries: impl Stream<Item = Delivery> + Send + 'static,
) -> impl Stream<Item = Bytes> {
    let stop = app.stop.clone();
    let texts = deliveries.then(move |delivery| {
        let (app, id) = (app.clone(), ids.write(delivery.id));
        async move {
            let text = delivery.shared.rendered.get_or_try_init(|| render(&app, &delivery.shared)).await.ok()?;
            Some(event_stream::event(text, &id))
        }
    });
    texts
        .take_while(|event| std::future::ready(event.is_some()))
        .filter_map(std::future::ready)
        .take_until(stop.cancelled_owned())
}

/// The JSON of a change, in ASCII, the same for all who receive it.
async fn render(app: &App, shared: &Shared) -> Result<Arc<str>, WireError> {
    let object = match &shared.change {
        Change::NewConversation { partner } => {
            ChangeObject::ConversationStarted(ConversationStarted { partner: partner.to_string() })
        }
        Change::GroupCreate { group } => ChangeObject::GroupCreate(GroupCreate { partner: group.to_string() }),
        Change::NewMessage { thread, sender, nickname } => ChangeObject::MessageArrived(MessageArrived {
            thread_id: thread.to_string(),
            group_id: thread.to_string(),
            sender: sender.to_string(),
            nickname: app.names.nickname(&app.read, &app.vault, *nickname).await?.to_string(),
            kind: thread_type(*thread),
        }),
        Change::MessageRead { thread, message, reader } => {
            let group = matches!(thread, ThreadId::Group(_)).then(|| thread.to_string());
            ChangeObject::MessageRead(MessageRead {
                thread_id: thread.to_string(),
                receiver: group.clone().unwrap_or_else(|| reader.to_string()),
                message_id: message.to_string(),
                kind: thread_type(*thread),
                group_id: group,
            })
        }
        Change::GroupJoin { group } => ChangeObject::GroupJoin(GroupJoin {
            group_id: group.to_string(),
            thread_id: group.to_string(),
            kind: ChangeKind::Group,
        }),
        Change::GroupMemberRemove { group, leaving } => ChangeObject::GroupMemberRemove(GroupMemberRemove {
            group_id: group.to_string(),
            thread_id: group.to_string(),
            leaving_member: leaving.to_string(),
            kind: ChangeKind::Group,
        }),
        Change::ExpiredAcc { account, thread } => {
            ChangeObject::ExpiredAcc(ExpiredAcc { acc_id: account.to_string(), thread_id: thread.to_string() })
        }
        Change::GroupUpdate { group } => ChangeObject::GroupUpdate(GroupUpdate { group_id: group.to_string() }),
    };
    Ok(event_stream::ascii(&object.to_json_string()).into())
}

/// What the client calls a thread's type.
fn thread_type(thread: ThreadId) -> ChangeKind {
    if matches!(thread, ThreadId::Group(_)) { ChangeKind::Group } else { ChangeKind::User }
}
