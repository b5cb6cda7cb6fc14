//! The read model of images: which message a sender's own name for an image stands for, and which
//! blobs are still of use.

use be8_events::message::ImagePosted;
use be8_events::{AccId, Event, Hash32, KeyId, MessageEvent, MessageNo, Recorded, Subject, ThreadId, Timestamp};
use chrono::NaiveDate;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, Row};

use crate::derived::Derived;
use crate::model::{Model, ReadModel, Table};
use crate::queries::Query;
use crate::rows::{account_id, is_null, session_account, session_arguments};
use crate::stored::{Named, NamedMessage, StoredSealed, keys_live};
use crate::thread_key::{ThreadKey, thread_id};
use crate::{Generation, ReadError, ReadModels, Statement};

const TABLES: &[Table] = &[Table {
    only_added: true,
    ..Table::new(
        "media",
        "
create table if not exists {schema}.media (
    sender bigint not null,
    name   bytea not null,    -- the sender's name for the image, as an HMAC
    thread bigint not null,
    id     integer not null,  -- of the message in the thread
    stay   integer not null,  -- of the sender in the thread
    day    date not null,     -- on which it was posted, in UTC
    blob   bytea not null,    -- the name of its content
    primary key (sender, name)
);
create unique index if not exists media_blob on {schema}.media (blob);
create index if not exists media_day on {schema}.media (day);
",
    )
}];

/// An image that was posted.
#[derive(Debug)]
struct Post {
    image: ImagePosted,
    day: NaiveDate,
}

/// What a batch adds.
#[derive(Debug, Default)]
pub(crate) struct Media(Vec<Post>);

impl ReadModel for Media {
    const MODEL: Model = Model { name: "media", version: 1, tables: TABLES, needs: &[] };

    fn apply(&mut self, recorded: &Recorded, _: &Derived) {
        if let Event::Message(event) = &recorded.event {
            match event {
                MessageEvent::ImagePosted(e) => self.0.push(Post { image: e.clone(), day: recorded.time.day().0 }),
                MessageEvent::MessageWritten(_) => {}
            }
        }
    }

    fn write(&self, to: &mut Statement) {
        let images = || self.0.iter().map(|post| &post.image);
        to.rows()
            .column("sender", images().map(|image| image.sender.number()))
            .column("name", images().map(|image| &image.content.0[..]))
            .column("thread", images().map(|image| image.thread.key()))
            .column("id", images().map(|image| image.id.cast_signed()))
            .column("stay", images().map(|image| image.stay.cast_signed()))
            .column("day", self.0.iter().map(|post| post.day))
            .column("blob", images().map(|image| &image.blob.0[..]))
            .insert("media_posted", "{schema}.media", "");
    }
}

/// The message of an image, as one of the thread's participants finds it.
#[derive(Debug)]
pub struct Image {
    /// The thread, by its stored name.
    pub thread: ThreadId,
    /// The number of the message.
    pub id: MessageNo,
    /// The event, an [`ImagePosted`], with its sealed part (none once swept).
    pub event: StoredSealed,
    /// The event that set the nickname under which it was posted.
    pub nickname: StoredSealed,
    /// The data keys that were live when this was read.
    pub live: Vec<KeyId>,
}

/// The answer to who asks for an image.
#[derive(Debug)]
pub enum ImageAnswer {
    /// No session of a living account.
    NoSession,
    /// No such image where the account takes part, or not while it took part.
    NoImage,
    /// The image.
    Image(Box<Image>),
}

impl ReadModels {
    /// The image that `sender` gave the name with this HMAC, if the session's account may see its
    /// message.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn image(
        &self,
        session: Hash32,
        now: Timestamp,
        image: Option<(AccId, Hash32)>,
    ) -> Result<ImageAnswer, ReadError> {
        let bind = |to: &mut PgArguments| {
            session_arguments(to, session, now)?;
            to.add(image.map(|(sender, _)| sender.number()))?;
            to.add(image.as_ref().map(|(_, name)| &name.0[..]))
        };
        let rows = self.fetch(&IMAGE, bind).await?;
        let row = rows.first().ok_or(ReadError::Damaged("head row"))?;
        if is_null(row, "me") {
            return Ok(ImageAnswer::NoSession);
        }
        account_id(row, "me")?;
        if is_null(row, "thread") {
            return Ok(ImageAnswer::NoImage);
        }
        let mut live = Vec::new();
        Ok(ImageAnswer::Image(Box::new(Image {
            thread: thread_id(row.try_get("thread")?, row.try_get("initiator")?)?,
            id: row.try_get::<i32, _>("number")?.cast_unsigned(),
            event: POSTED.read_one(row, &mut live)?,
            nickname: NICKNAME.read_one(row, &mut live)?,
            live,
        })))
    }

    /// Which of these blobs are the content of an image that can still be opened.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn needed_blobs(&self, blobs: &[Hash32]) -> Result<Vec<Hash32>, ReadError> {
        let names = || blobs.iter().map(|blob| &blob.0[..]).collect::<Vec<_>>();
        read_blobs(&self.fetch(&NEEDED_BLOBS, |to| to.add(names())).await?)
    }

    /// Whether there is an image that can still be opened.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn has_images(&self) -> Result<bool, ReadError> {
        let rows = self.fetch(&HAS_IMAGES, |_| Ok(())).await?;
        Ok(rows.first().map_or(Ok(false), |row| row.try_get("found"))?)
    }

    /// Blobs of images that can never be opened again because the key of this subject is deleted; at
    /// most 500, in the order of their names, after `after`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub async fn forgotten_blobs(&self, gone: Subject, after: Hash32) -> Result<Vec<Hash32>, ReadError> {
        let (sender, thread, stay) = match gone {
            Subject::Account(account) => (account, None, None),
            Subject::Stay { thread, author, stay } => (author, Some(thread.key()), Some(stay.cast_signed())),
            Subject::Day(day) => {
                let bind = |to: &mut PgArguments| {
                    to.add(day.0)?;
                    to.add(&after.0[..])
                };
                return read_blobs(&self.fetch(&FORGOTTEN_BLOBS_OF_DAY, bind).await?);
            }
            // Under these no message is sealed.
            Subject::Server | Subject::PublicKey(_) | Subject::GroupName(_) | Subject::GroupKeys(_) => {
                return Ok(Vec::new());
            }
        };
        let bind = |to: &mut PgArguments| {
            to.add(sender.number())?;
            to.add(thread)?;
            to.add(stay)?;
            to.add(&after.0[..])
        };
        read_blobs(&self.fetch(&FORGOTTEN_BLOBS, bind).await?)
    }
}

fn read_blobs(rows: &[PgRow]) -> Result<Vec<Hash32>, ReadError> {
    let blobs = rows.iter().filter(|row| !is_null(row, "blob"));
    blobs
        .map(|row| {
            let name: &[u8] = row.try_get("blob")?;
            Ok(Hash32(name.try_into().map_err(|_| ReadError::Damaged("name of a blob"))?))
        })
        .collect()
}

/// The events that are joined to an image: its message, and the sender's nickname at the time.
const POSTED: NamedMessage = NamedMessage("posted");
const NICKNAME: Named = Named("nickname");

/// The statement of [`ReadModels::image`]; `$3` the sender, `$4` its name for the image.
static IMAGE: Query = Query::new(image_sql);

fn image_sql(generation: Generation) -> String {
    let thread = ThreadKey("m.thread");
    format!(
        "with me as ({me})
, image as (
    select m.thread, t.initiator, m.id as number, message.position, message.name as nickname
    from me
    join {generation}.media m on m.sender = $3 and m.name = $4
    join {generation}.message on message.thread = m.thread and message.id = m.id
    join {generation}.thread t on t.id = m.thread
    left join {generation}.account partner on partner.id = {partner}
    where case when {is_dialog}
        then partner.until > $2 and exists (select from {generation}.thread_member tm
                                            where tm.account = me.id and tm.thread = m.thread)
        -- Who is a member, and was one when it was posted.
        else exists (select from {generation}.group_stay s
                     where s.group_id = {group} and s.account = me.id and s.closed is null)
         and exists (select from {generation}.group_stay s
                     where s.group_id = {group} and s.account = me.id
                       and m.id >= s.from_id and (s.until_id is null or m.id < s.until_id)) end)
select h.generation, me.id as me, image.thread, image.initiator, image.number, {posted}, {nickname}
from log_head h
left join me on true
left join image on true
{join_posted}
{join_nickname}",
        me = session_account(generation),
        is_dialog = thread.is_dialog(),
        group = thread.group(),
        partner = thread.partner("me.id"),
        posted = POSTED.columns(),
        nickname = NICKNAME.columns(),
        join_posted = POSTED.join("image.position"),
        join_nickname = NICKNAME.join("image.nickname"),
    )
}

/// Whether the message of the image `m` can be opened.
fn readable(generation: Generation) -> String {
    format!(
        "exists (
        select from {generation}.message
        join sealed_message sealed on sealed.day = m.day and sealed.position = message.position
        where message.thread = m.thread and message.id = m.id and {live})",
        live = keys_live("sealed"),
    )
}

/// The statement of [`ReadModels::needed_blobs`]; `$1` the blobs.
static NEEDED_BLOBS: Query = Query::new(needed_sql);

fn needed_sql(generation: Generation) -> String {
    format!(
        "select h.generation, m.blob from log_head h
left join {generation}.media m on m.blob = any ($1) and {readable}",
        readable = readable(generation),
    )
}

/// The statement of [`ReadModels::has_images`].
static HAS_IMAGES: Query = Query::new(has_images_sql);

fn has_images_sql(generation: Generation) -> String {
    format!(
        "select h.generation, exists (select from {generation}.media m where {readable}) as found from log_head h",
        readable = readable(generation),
    )
}

/// The statement of [`ReadModels::forgotten_blobs`]; `$1` the sender, `$2` the thread and `$3` the
/// stay unless all are meant, `$4` the last blob that was seen.
static FORGOTTEN_BLOBS: Query = Query::new(forgotten_sql);

fn forgotten_sql(generation: Generation) -> String {
    format!(
        "select h.generation, f.blob from log_head h left join (
    select m.blob from {generation}.media m
    where m.sender = $1 and ($2::bigint is null or m.thread = $2) and ($3::integer is null or m.stay = $3)
      and m.blob > $4 and not {readable}
    order by m.blob limit 500) f on true",
        readable = readable(generation),
    )
}

/// The statement of [`ReadModels::forgotten_blobs`] for a day, `$1`; `$2` the last blob that was
/// seen.
static FORGOTTEN_BLOBS_OF_DAY: Query = Query::new(forgotten_of_day_sql);

fn forgotten_of_day_sql(generation: Generation) -> String {
    format!(
        "select h.generation, f.blob from log_head h left join (
    select m.blob from {generation}.media m
    where m.day = $1 and m.blob > $2 and not {readable}
    order by m.blob limit 500) f on true",
        readable = readable(generation),
    )
}
