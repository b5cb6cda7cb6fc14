//! One story of two people with the generated Rust client: accounts, an encrypted conversation, a live change, a group
//! whose key changes, its history and the proof of it. The server is where `BE8_URL` says.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aes_gcm::aead::{Aead as _, Nonce};
use aes_gcm::{AesGcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use p384::elliptic_curve::Generate as _;
use p384::elliptic_curve::sec1::ToSec1Point as _;
use p384::{PublicKey, Sec1Point, SecretKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

progenitor::generate_api!(spec = "../../be8.openapi.json", interface = Builder);

use types::{ActKind, Change, Code, GroupInput, MessageType};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

// --- Answers --------------------------------------------------------------------------------------------------------

/// What was accepted. An answer with a status from 400 is an error already; one that refuses with status 200 is another
/// part of the union, and becomes one.
macro_rules! yes {
    ($asked:expr, $union:ident :: $part:ident) => {
        match $asked.send().await?.into_inner() {
            types::$union::$part(accepted) => accepted,
            refused => return Err(format!("{refused:?}").into()),
        }
    };
}

// --- Encryption: ECDH on P-384, AES-256-GCM; the vector is a UUID as text -------------------------------------------

type Cipher = AesGcm<aes_gcm::aes::Aes256, aes_gcm::aead::consts::U36>;

/// Both coordinates of a public key, in base64url.
fn coordinates(key: &SecretKey) -> (String, String) {
    let point = key.public_key().to_sec1_point(false);
    let text =
        |bytes: Option<&p384::FieldBytes>| URL_SAFE_NO_PAD.encode(bytes.expect("a point that is not compressed"));
    (text(point.x()), text(point.y()))
}

fn private_jwk(key: &SecretKey) -> Value {
    let (x, y) = coordinates(key);
    let d = URL_SAFE_NO_PAD.encode(key.to_bytes());
    json!({ "crv": "P-384", "ext": true, "key_ops": ["deriveKey"], "kty": "EC", "x": x, "y": y, "d": d })
}

/// The cipher that both ends derive from one's secret and the other's public key.
fn cipher(mine: &SecretKey, (x, y): (&str, &str)) -> Result<Cipher> {
    let bytes = [URL_SAFE_NO_PAD.decode(x)?, URL_SAFE_NO_PAD.decode(y)?];
    let [x, y] = [p384::FieldBytes::try_from(&bytes[0][..])?, p384::FieldBytes::try_from(&bytes[1][..])?];
    let theirs = PublicKey::from_sec1_bytes(Sec1Point::from_affine_coordinates(&x, &y, false).as_bytes())?;
    let shared = p384::ecdh::diffie_hellman(mine.to_nonzero_scalar(), theirs.as_affine());
    Ok(Cipher::new_from_slice(&shared.raw_secret_bytes()[..32])?)
}

/// A text for the owner of a public key, and the vector.
fn encrypt(cipher: &Cipher, text: &str) -> Result<(String, String)> {
    let iv = Uuid::new_v4().to_string();
    let sealed = cipher.encrypt(<&Nonce<Cipher>>::try_from(iv.as_bytes())?, text.as_bytes()).map_err(|_| "too long")?;
    Ok((STANDARD.encode(sealed), iv))
}

fn decrypt(cipher: &Cipher, text: &str, iv: &str) -> Result<String> {
    let sealed = STANDARD.decode(text)?;
    let opened = cipher.decrypt(<&Nonce<Cipher>>::try_from(iv.as_bytes())?, &sealed[..]).map_err(|_| "another key")?;
    Ok(String::from_utf8(opened)?)
}

// --- A person -------------------------------------------------------------------------------------------------------

/// Somebody with an account.
struct Person {
    client: Client,
    id: String,
    key: SecretKey,
    /// The keys of groups by `<groupID>:<version>`.
    group_keys: HashMap<String, SecretKey>,
}

impl Person {
    /// An account and its public key. The HTTP client underneath keeps the session cookie.
    async fn sign_up(url: &str, nickname: &str) -> Result<Self> {
        let client = Client::new_with_client(url, reqwest::Client::builder().cookie_store(true).build()?);
        let account = types::AccountInput::builder().nickname(nickname).password(Uuid::new_v4().to_string());
        let made = yes!(client.create_account().body(account), CreateAccountResponse::AccountMade);
        let key = SecretKey::generate();
        let (x, y) = coordinates(&key);
        let public_key =
            types::PublicKeyInput { crv: "P-384".into(), ext: true, key_ops: vec![], kty: "EC".into(), x, y };
        client.set_key().body(types::KeyInput { public_key }).send().await?;
        Ok(Self { client, id: made.acc_id.to_string(), key, group_keys: HashMap::new() })
    }

    /// The cipher between this person and another account.
    async fn cipher_with(&self, account: &str) -> Result<Cipher> {
        let asked = self.client.get_key().body(types::KeyOwnerInput { acc_id: account.into() });
        cipher_of(&self.key, &yes!(asked, GetKeyResponse::KeyFound).public_key)
    }

    /// Writes to a thread; a repetition under the same key would not be a second message.
    async fn write(
        &self,
        thread: &str,
        receiver: &str,
        (text, iv): (String, String),
        version: Option<String>,
    ) -> Result<()> {
        let letter = types::MessageInput::builder().thread_id(thread).receiver(receiver).sender(self.id.clone());
        let letter = letter.message_type(types::SentType::Text).text(text).iv(Some(iv)).group_version_key(version);
        let key = Uuid::new_v4().to_string();
        self.client.write_message().idempotency_key(key).body(letter).send().await?;
        Ok(())
    }

    async fn read(&self, thread: &str) -> Result<Vec<types::Message>> {
        let asked = self.client.list_messages().body(types::MessagesInput { thread_id: thread.into() });
        Ok(asked.send().await?.into_inner().messages)
    }

    /// Takes a new version of the group's key and hands it, wrapped, to each member.
    async fn rekey(&self, group: &str) -> Result<u32> {
        let which = GroupInput { group_id: group.into() };
        let asked = self.client.increase_group_version().body(which.clone());
        let version = yes!(asked, IncreaseGroupVersionResponse::VersionTaken).group_version;
        let asked = self.client.list_group_members().body(which);
        let members = yes!(asked, ListGroupMembersResponse::GroupMemberList).members;
        let acc_i_ds: Vec<String> = members.into_iter().map(|member| member.id).collect();
        let asked = self.client.get_keys().body(types::KeyOwnersInput::builder().acc_i_ds(acc_i_ds));
        let secret = private_jwk(&SecretKey::generate()).to_string();
        for member in yes!(asked, GetKeysResponse::KeysFound).public_keys {
            let (group_key, iv) = encrypt(&cipher_of(&self.key, &member.public_key)?, &secret)?;
            let key = types::GroupKeyInput::builder().group_id(group).acc_id(member.acc_id).keyholder(self.id.clone());
            let key = key.group_key(group_key).iv(Some(iv));
            let stored = yes!(self.client.store_group_key().body(key), StoreGroupKeyResponse::KeyStored);
            assert_eq!(stored.group_version, version.to_string());
        }
        Ok(version.get())
    }

    /// Fetches and unwraps the keys of the group that are stored for oneself; answers them as they were stored.
    async fn fetch_group_keys(&mut self, group: &str) -> Result<Vec<String>> {
        let wanted = types::GroupKeysInput { group_id: group.into(), acc_id: self.id.clone() };
        let asked = self.client.list_group_keys().body(wanted);
        let mut stored = Vec::new();
        for key in yes!(asked, ListGroupKeysResponse::GroupKeyList).group_keys {
            let wrapped_by = self.cipher_with(&key.keyholder).await?;
            let jwk: Value = serde_json::from_str(&decrypt(&wrapped_by, &key.group_key, &key.iv.unwrap_or_default())?)?;
            let secret = SecretKey::from_slice(&URL_SAFE_NO_PAD.decode(jwk["d"].as_str().ok_or("no private key")?)?)?;
            self.group_keys.insert(format!("{group}:{}", key.group_version), secret);
            stored.push(key.group_key);
        }
        Ok(stored)
    }

    /// The cipher of a version of a group's key.
    fn group_cipher(&self, name: &str) -> Result<Cipher> {
        let key = self.group_keys.get(name).ok_or("a key that nobody handed over")?;
        let (x, y) = coordinates(key);
        cipher(key, (&x, &y))
    }

    async fn write_to_group(&self, group: &str, text: &str) -> Result<()> {
        let asked = self.client.get_group_version().body(GroupInput { group_id: group.into() });
        let version = yes!(asked, GetGroupVersionResponse::CurrentVersion).group_version.ok_or("no version yet")?;
        let name = format!("{group}:{version}");
        self.write(group, group, encrypt(&self.group_cipher(&name)?, text)?, Some(name)).await
    }

    async fn read_from_group(&self, group: &str) -> Result<Vec<String>> {
        let texts = self.read(group).await?.into_iter().filter(|message| message.message_type == MessageType::Text);
        let open = |message: types::Message| {
            let cipher = self.group_cipher(&message.group_version_key.ok_or("no version")?)?;
            decrypt(&cipher, &message.text.ok_or("no text")?, &message.iv.ok_or("no vector")?)
        };
        texts.map(open).collect()
    }
}

/// The cipher between a private key and a public key as the server hands it out.
fn cipher_of(mine: &SecretKey, theirs: &types::PublicKey) -> Result<Cipher> {
    let (Some(x), Some(y)) = (&theirs.x, &theirs.y) else { return Err("an account without a key".into()) };
    cipher(mine, (x, y))
}

// --- Live changes ---------------------------------------------------------------------------------------------------

/// Somebody's live changes, from the bytes of the stream, for as long as one asks. Whether the connection breaks or the
/// server ends the stream in good order, as it does to restart: one comes back after the pause that the server asked for,
/// with the last id.
struct Changes {
    client: Client,
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    /// The lines that came, and what came of the next one.
    lines: VecDeque<Vec<u8>>,
    rest: Vec<u8>,
    last: Option<String>,
    pause: Duration,
    /// How often the server ended a stream in good order.
    ends: u32,
    /// All that came.
    seen: Vec<Change>,
}

impl Changes {
    async fn open(client: &Client) -> Result<Self> {
        let bytes = client.stream_events().send().await?.into_inner().into_inner().boxed();
        let (lines, rest, seen) = (VecDeque::new(), Vec::new(), Vec::new());
        let pause = Duration::from_millis(2500);
        Ok(Self { client: client.clone(), bytes, lines, rest, last: None, pause, ends: 0, seen })
    }

    /// The next line; none when the connection has ended.
    async fn line(&mut self) -> Option<String> {
        while self.lines.is_empty() {
            let next = self.bytes.next().await;
            self.ends += u32::from(next.is_none());
            let Some(Ok(bytes)) = next else { return None };
            self.rest.extend(bytes);
            self.lines = self.rest.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            self.rest = self.lines.pop_back().unwrap_or_default();
        }
        self.lines.pop_front().map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    async fn reopen(&mut self) -> Result<()> {
        self.rest.clear();
        loop {
            tokio::time::sleep(self.pause).await;
            let mut asked = self.client.stream_events();
            if let Some(last) = &self.last {
                asked = asked.last_event_id(last);
            }
            match asked.send().await {
                Ok(answer) => {
                    self.bytes = answer.into_inner().into_inner().boxed();
                    return Ok(());
                }
                // The server is away.
                Err(Error::CommunicationError(_)) => {}
                Err(Error::ErrorResponse(refused)) if refused.status().is_server_error() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next change that one is waiting for.
    async fn next<T>(&mut self, wanted: impl Fn(Change) -> Option<T>) -> Result<T> {
        let (mut data, mut id) = (None, None);
        loop {
            let Some(line) = self.line().await else {
                data = None;
                self.reopen().await?;
                continue;
            };
            match line.split_once(": ") {
                Some(("data", value)) => data = Some(value.to_owned()),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("retry", value)) => self.pause = Duration::from_millis(value.parse()?),
                _ if line.is_empty() => {
                    let Some(data) = data.take() else { continue };
                    // The id counts from here on only: what was cut off in between comes again.
                    self.last = id.take();
                    let change: Change = serde_json::from_str(&data)?;
                    self.seen.push(change.clone());
                    if let Some(wanted) = wanted(change) {
                        return Ok(wanted);
                    }
                }
                _ => {}
            }
        }
    }
}

fn new_message(change: Change) -> Option<types::MessageArrived> {
    if let Change::MessageArrived(message) = change { Some(message) } else { None }
}

/// What comes as bytes, read to its end.
async fn bytes(stream: ByteStream) -> Result<Vec<u8>> {
    let mut parts = stream.into_inner();
    let mut all = Vec::new();
    while let Some(part) = parts.next().await {
        all.extend(part?);
    }
    Ok(all)
}

/// Follows a proof from an event's bytes to the root that the checkpoint signs (C2SP tlog-proof, RFC 6962).
fn check_proof(canonical: &[u8], proof: &str) -> Result<()> {
    let (head, checkpoint) = proof.split_once("\n\n").ok_or("no checkpoint")?;
    let mut head = head.lines();
    assert_eq!(head.next(), Some("c2sp.org/tlog-proof@v1"));
    let index = head.next().and_then(|line| line.strip_prefix("index ")).ok_or("no index")?;
    let [size, root] = [1, 2].map(|line| checkpoint.lines().nth(line).unwrap_or_default());
    let (mut at, mut last) = (index.parse::<u64>()?, size.parse::<u64>()? - 1);
    let node =
        |left: &[u8], right: &[u8]| Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize();
    let mut hash = Sha256::new().chain_update([0]).chain_update(Sha256::digest(canonical)).finalize();
    for sibling in head {
        let sibling = STANDARD.decode(sibling)?;
        assert!(last > 0, "the proof is too long");
        if at % 2 == 1 || at == last {
            hash = node(&sibling, &hash);
            while at % 2 == 0 && at > 0 {
                (at, last) = (at / 2, last / 2);
            }
        } else {
            hash = node(&hash, &sibling);
        }
        (at, last) = (at / 2, last / 2);
    }
    assert_eq!(last, 0, "the proof is too short");
    assert_eq!(STANDARD.encode(hash), root);
    Ok(())
}

// --- The story ------------------------------------------------------------------------------------------------------

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::var("BE8_URL").unwrap_or_else(|_| "http://127.0.0.1:3000".into());
    let mut anna = Person::sign_up(&url, "Anna").await?;
    let mut ben = Person::sign_up(&url, "Ben").await?;
    println!("Anna is {}, Ben is {}.", anna.id, ben.id);

    let mut changes = Changes::open(&ben.client).await?;
    let with_ben = types::ConversationInput::builder().receiver_id(ben.id.clone());
    let thread = anna.client.start_conversation().body(with_ben).send().await?.into_inner().thread_id;
    let letter = encrypt(&anna.cipher_with(&ben.id).await?, "Shall we found a group?")?;
    anna.write(&thread, &ben.id, letter, None).await?;

    let arrived = changes.next(new_message).await?;
    assert_eq!((&arrived.thread_id, &arrived.sender, &arrived.nickname[..]), (&thread, &anna.id, "Anna"));
    let messages = ben.read(&thread).await?;
    let letter = messages.iter().find(|message| message.message_type == MessageType::Text).ok_or("no message")?;
    let text = letter.text.as_deref().unwrap_or_default();
    assert_ne!(text, "Shall we found a group?");
    let cipher = ben.cipher_with(&letter.sender).await?;
    assert_eq!(decrypt(&cipher, text, letter.iv.as_deref().unwrap_or_default())?, "Shall we found a group?");
    let seen = anna.read(&thread).await?.pop().ok_or("no message")?.status;
    assert_eq!(seen, [ben.id.clone()], "Anna sees that Ben has read it");
    println!("A message reached Ben at once, and only he can read it.");

    // The server restarts, and so ends the stream in good order.
    let restart = std::env::var("BE8_RESTART").ok();
    if let Some(restart) = &restart {
        std::fs::write(restart, "")?;
        while std::fs::exists(restart)? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let letter = encrypt(&anna.cipher_with(&ben.id).await?, "Are you still there?")?;
    anna.write(&thread, &ben.id, letter, None).await?;

    // Both kinds of refusals: with a status from 400, and with status 200.
    let nobody = types::ConversationInput::builder().receiver_id("9");
    match anna.client.start_conversation().body(nobody).send().await {
        Err(Error::ErrorResponse(refused)) => assert_eq!(refused.error, Code::Accnotexists),
        other => panic!("{other:?}"),
    }
    match ben.client.join_group().body(GroupInput { group_id: "g9".into() }).send().await?.into_inner() {
        types::JoinGroupResponse::Refused(refused) => assert_eq!(refused.reason, Code::Groupnotexisting),
        types::JoinGroupResponse::Success(_) => panic!("a group that does not exist"),
    }

    let friends = types::GroupCreateInput::builder().nickname("Friends").group_type(types::GroupType::Private);
    let group = anna.client.create_group().body(friends).send().await?.into_inner().group_id;
    yes!(anna.client.join_group().body(GroupInput { group_id: group.clone() }), JoinGroupResponse::Success);
    let added = types::GroupAddInput::builder().group_id(group.clone()).member_id(ben.id.clone());
    yes!(anna.client.add_group_member().body(added), AddGroupMemberResponse::GroupMemberIds);
    let is_join = |change| if let Change::GroupJoin(join) = change { Some(join.group_id) } else { None };
    assert_eq!(changes.next(is_join).await?, group);
    // The conversation itself and the two messages, each once.
    let of_thread = |change: &&Change| matches!(change, Change::MessageArrived(message) if message.thread_id == thread);
    assert_eq!(changes.seen.iter().filter(of_thread).count(), 3);
    if restart.is_some() {
        assert_eq!(changes.ends, 1);
        println!("The server was restarted; Ben came back with the last id, and nothing was missed or came twice.");
    }
    assert_eq!(anna.rekey(&group).await?, 1);
    anna.fetch_group_keys(&group).await?;
    ben.fetch_group_keys(&group).await?;
    anna.write_to_group(&group, "Welcome!").await?;
    assert_eq!(changes.next(new_message).await?.thread_id, group);
    drop(changes);

    assert_eq!(ben.rekey(&group).await?, 2);
    anna.fetch_group_keys(&group).await?;
    let stored = ben.fetch_group_keys(&group).await?;
    ben.write_to_group(&group, "A new key, and thank you.").await?;
    assert_eq!(anna.read_from_group(&group).await?, ["Welcome!", "A new key, and thank you."]);
    println!("The group {group} has changed its key; all that was written under both can be read.");

    // Who had which key when, for everybody in the group to check: a fingerprint is the SHA-256 of a wrapped key.
    let entries = ben.client.get_group_history().group_id(&group).send().await?.into_inner().entries;
    let acts: Vec<ActKind> = entries.iter().map(|entry| entry.act).filter(|act| *act != ActKind::Message).collect();
    let rekeyed = [ActKind::VersionAllocated, ActKind::KeyStored, ActKind::KeyStored];
    assert_eq!(acts, [&[ActKind::Created, ActKind::Joined, ActKind::Added], &rekeyed[..], &rekeyed[..]].concat());
    let for_ben =
        entries.iter().filter(|entry| entry.act == ActKind::KeyStored && entry.account.as_ref() == Some(&ben.id));
    let for_ben: Vec<_> = for_ben.collect();
    for (entry, key) in for_ben.iter().zip(&stored) {
        let fingerprint: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entry.fingerprint.as_ref(), Some(&fingerprint));
    }
    assert_eq!((for_ben.len(), stored.len()), (2, 2));

    let position = for_ben[1].position;
    let proved = loop {
        match ben.client.get_group_proof().group_id(&group).position(position).send().await {
            // Problem details come as bytes here. 503: the next checkpoint will cover it.
            Err(Error::ErrorResponse(answer)) if answer.status() == 503 => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            answer => break answer?.into_inner(),
        }
    };
    check_proof(&STANDARD.decode(&proved.canonical)?, &proved.proof)?;

    // What anybody may read: whose log it is, and the first of its hashes.
    let checkpoint = bytes(ben.client.get_log_checkpoint().send().await?.into_inner()).await?;
    let key = bytes(ben.client.get_log_key().send().await?.into_inner()).await?;
    assert_eq!(checkpoint.split(|byte| *byte == b'\n').next(), key.split(|byte| *byte == b'+').next());
    let hash = ben.client.get_log_tile_part().level(0u8).number("000").width(1u8).send().await?.into_inner();
    assert_eq!(bytes(hash).await?.len(), 32);
    println!("The history says who had which key, and the event that gave Ben his is proved to be in the log.");
    Ok(())
}
