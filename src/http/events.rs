//! The routes of the tag "Events": the stream of changes.

use std::sync::Arc;
use std::time::Duration;

use be8_events::{Hash32, Position, ThreadId};
use chrono::TimeDelta;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use poem::http::header;
use poem::web::sse::Event as SseEvent;
use poem::{IntoResponse, Response};
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::EventStream;
use poem_openapi::registry::{MetaResponse, MetaResponses, Registry};
use poem_openapi::types::ToJSON;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, Union};

use super::app::{App, Handle};
use super::document::Tag;
use super::error::{Code, WireError};
use super::session::Session;
use crate::feed::{Beginning, Change, ChangeId, Delivery, Shared, Telling, missed};

/// The stream of changes.
pub struct Events(pub Handle);

/// How long a client waits before it comes back, in milliseconds.
const RETRY: u64 = 2500;
/// How long a client is asked to wait while the server starts or the database is away.
const AWAY: Duration = Duration::from_secs(5);
/// How long a client that has too many streams is asked to wait.
const CROWDED: Duration = Duration::from_secs(30);

/// How old the changes may be that a stream is told which does not say what it saw.
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
#[oai(rename = "NewConversation", read_only_all)]
pub struct NewConversation {
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
#[oai(rename = "NewMessage", read_only_all)]
pub struct NewMessage {
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

/// The partner of a conversation is gone.
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

/// A change, told apart by `action`.
#[derive(Debug, Union)]
#[oai(discriminator_name = "action", rename = "Change")]
pub enum ChangeObject {
    /// The account started a conversation.
    #[oai(mapping = "newConversation")]
    NewConversation(NewConversation),
    /// The account created a group.
    #[oai(mapping = "groupCreate")]
    GroupCreate(GroupCreate),
    /// A message came into a thread.
    #[oai(mapping = "newMessage")]
    NewMessage(NewMessage),
    /// Somebody read messages of the account.
    #[oai(mapping = "messageRead")]
    MessageRead(MessageRead),
    /// Somebody came into a group.
    #[oai(mapping = "groupJoin")]
    GroupJoin(GroupJoin),
    /// Somebody is no longer in a group.
    #[oai(mapping = "groupMemberRemove")]
    GroupMemberRemove(GroupMemberRemove),
    /// The partner of a conversation is gone.
    #[oai(mapping = "expiredAcc")]
    ExpiredAcc(ExpiredAcc),
    /// A member asks to look at a group again.
    #[oai(mapping = "groupUpdate")]
    GroupUpdate(GroupUpdate),
}

/// The open stream, or its end before it began.
pub enum Streaming {
    /// Changes as they come, after what was missed.
    Open(BoxStream<'static, SseEvent>, Duration),
    /// Too many streams: come back later.
    ComeBack(Duration),
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
        let (events, heartbeat) = match self {
            Self::Open(events, heartbeat) => (events, heartbeat),
            Self::ComeBack(after) => {
                let retry = SseEvent::Retry { retry: u64::try_from(after.as_millis()).unwrap_or(u64::MAX) };
                (stream::iter([retry]).boxed(), Duration::from_secs(3600))
            }
        };
        let mut response = poem::web::sse::SSE::new(events).keep_alive(heartbeat).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, no-transform"));
        headers.insert("x-accel-buffering", header::HeaderValue::from_static("no"));
        response
    }
}

/// The answer to who opens streams too often: come back after this time.
pub(super) fn come_back(after: Duration) -> Response {
    Streaming::ComeBack(after).into_response()
}

#[OpenApi]
impl Events {
    /// Hear of changes
    ///
    /// A stream of server-sent events. Each line of data is one change as JSON; each event's `id`
    /// says where it stands in the log. A stream that is opened with `Last-Event-ID` (or the query
    /// parameter `last_event_id`, which a browser's first request needs) gets exactly what it
    /// missed; beyond 1000 missed changes one `newMessage` a thread instead. A reader that is too
    /// slow is cut off and comes back with its last id.
    ///
    /// A stream without an id gets, if the account has no other one open on this node, what was
    /// not yet written to its last one, or what this node cannot know of, at most two minutes old;
    /// some of it may come twice. `newConversation` and `groupCreate` are left out there, for they
    /// would switch the open chat.
    ///
    /// An account with too many open streams, or one that opens them too often, and everybody while
    /// the server starts or the database is away, gets status 200, a `retry:` and the end of the body:
    /// a browser tries again after that, and after no other status.
    ///
    /// Checks: `NOTAUTH`.
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
    ) -> Result<Streaming, WireError> {
        let seen = [last_event_id.0, last_event_id_query.0];
        // Any text that is no id of ours counts as absent.
        let seen = seen.into_iter().flatten().find_map(|id| id.parse::<ChangeId>().ok());
        match self.open(session.required()?, seen).await {
            Err(error) if error.code() == Code::Unavailable => Ok(Streaming::ComeBack(AWAY)),
            opened => opened,
        }
    }
}

impl Events {
    async fn open(&self, hash: Hash32, seen: Option<ChangeId>) -> Result<Streaming, WireError> {
        let app = self.0.get()?.clone();
        let found = app.read.participation(hash, app.now(), Position(i64::MAX)).await?;
        let (account, _) = found.ok_or(WireError::from(Code::NotAuth))?;
        let Ok(mut subscriber) = app.hub.subscribe(account, hash) else { return Ok(Streaming::ComeBack(CROWDED)) };
        // This node may hear late of what another one has told already.
        let known = match seen {
            Some(seen) if seen.position > app.ledger.position() => app.ledger.log().newest().await?,
            _ => app.ledger.position(),
        };
        let seen = seen.filter(|seen| seen.position <= known);
        let (seen, telling) = match seen {
            Some(seen) => (Some(seen), Telling::All),
            None => (self.begins(&app, subscriber.beginning).await?, Telling::Quietly),
        };
        // Asked again behind the subscription: a conversation may have begun in between, or the session ended.
        let since = seen.map_or(Position(i64::MAX), |seen| seen.position);
        let found = app.read.participation(hash, app.now(), since).await?;
        let (_, threads) = found.ok_or(WireError::from(Code::NotAuth))?;
        if let Some(seen) = seen {
            let missed = missed(app.ledger.log(), account, &threads, seen, subscriber.from, telling).await?;
            // What the id names may lie ahead of where the stream begins.
            subscriber.begin(seen, missed);
        }
        let changes = stream::unfold(subscriber, |mut subscriber| async move {
            subscriber.next().await.map(|delivery| (delivery, subscriber))
        });
        let retry = SseEvent::Retry { retry: RETRY };
        let heartbeat = app.settings.heartbeat;
        let changes = written(app, changes);
        Ok(Streaming::Open(stream::iter([retry]).chain(changes).boxed(), heartbeat))
    }

    /// Behind which change a stream begins that does not say what it saw; none: with what comes.
    async fn begins(&self, app: &App, beginning: Beginning) -> Result<Option<ChangeId>, WireError> {
        let written = match beginning {
            Beginning::Now => return Ok(None),
            Beginning::Behind(written) => Some(written),
            Beginning::Recent => None,
        };
        let position = app.ledger.log().position_at(app.now().plus(-RECENT)).await?;
        let old = ChangeId { position, nth: u32::MAX };
        Ok(Some(written.map_or(old, |written| written.max(old))))
    }
}

/// The deliveries as the client reads them. A change whose text cannot be made ends the stream: the
/// client comes back and asks for it again.
fn written(app: Arc<App>, deliveries: impl Stream<Item = Delivery> + Send + 'static) -> impl Stream<Item = SseEvent> {
    let stop = app.stop.clone();
    let texts = deliveries.then(move |delivery| {
        let app = app.clone();
        async move {
            let text = delivery.shared.rendered.get_or_try_init(|| render(&app, &delivery.shared)).await.ok()?;
            Some(SseEvent::message(&**text).id(delivery.id.to_string()))
        }
    });
    texts
        .take_while(|event| std::future::ready(event.is_some()))
        .filter_map(std::future::ready)
        .take_until(stop.cancelled_owned())
}

/// The JSON of a change, the same for all who hear of it.
async fn render(app: &App, shared: &Shared) -> Result<Arc<str>, WireError> {
    let object = match &shared.change {
        Change::NewConversation { partner } => {
            ChangeObject::NewConversation(NewConversation { partner: partner.to_string() })
        }
        Change::GroupCreate { group } => ChangeObject::GroupCreate(GroupCreate { partner: group.to_string() }),
        Change::NewMessage { thread, sender, nickname } => ChangeObject::NewMessage(NewMessage {
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
    Ok(object.to_json_string().into())
}

/// What the client calls a thread's type.
fn thread_type(thread: ThreadId) -> ChangeKind {
    if matches!(thread, ThreadId::Group(_)) { ChangeKind::Group } else { ChangeKind::User }
}
