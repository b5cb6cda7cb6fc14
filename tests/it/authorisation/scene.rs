//! Those who ask: for each row of the matrix a group with everybody around it, on two nodes.

use be8_events::token::Grant;
use serde_json::json;
use sqlx::PgConnection;

use crate::client::{Client, Person, two_people};
use crate::cluster::fresh_database;
use crate::groups::people;
use crate::library::{Library, hold_up};
use crate::patience::eventually;
use crate::server::{Server, Setup};

/// The log that is witnessed.
const LOG: &str = include_str!("../../../openapi/example-log/key.txt");

/// The operator's token.
const OPERATOR: &str = "an operator token of more than thirty-two bytes";

/// Two nodes on one database.
pub struct House {
    pub one: Server,
    two: Server,
    library: Library,
    _expiry: PgConnection,
}

impl House {
    pub async fn new() -> Self {
        let database = fresh_database().await;
        let setup = Setup::on(&database)
            .with_file("operator-token-file", OPERATOR)
            .with("checkpoint-interval", 1)
            .with("limit-signups", "off")
            .with("limit-address", "off")
            .with("witness-logs", LOG.trim_end());
        let witness_key = setup.file("witness.key");
        let setup = setup.with("witness-key", witness_key.display());
        // Whose time is over is to be met as such, and not as one that was removed for it: that process is held up.
        let expiry = hold_up(&database.url, "expiry").await;
        let one = setup.start().await;
        let two = one.setup().second().start().await;
        let library = Library::open(&one).await;
        // As many events as a tile has hashes.
        let (alice, bob, thread) = two_people(&one).await;
        alice.write_many(&thread, &bob, 256).await;
        eventually("a tile is full", async || one.get("/audit/log/tile/0/000").await.status == 200).await;
        Self { one, two, library, _expiry: expiry }
    }

    /// How many events an account caused.
    pub async fn events_of(&self, account: &str) -> i64 {
        let account: i64 = account.parse().expect("an account");
        let count = sqlx::query_scalar("select count(*) from events where actor = $1").bind(account);
        count.fetch_one(&self.library.pool).await.expect("a count")
    }

    /// The expired were expired, no more, all the time.
    pub async fn nobody_was_removed_at_its_time(&self) {
        let removed = "select convert_from(payload, 'UTF8') from events where kind = 'AccountRemoved'";
        let removed: Vec<String> = sqlx::query_scalar(removed).fetch_all(&self.library.pool).await.expect("events");
        assert!(!removed.is_empty() && removed.iter().all(|payload| !payload.contains("expiry")), "{removed:?}");
    }

    /// A token that serves once.
    pub async fn token(&self) -> String {
        let token = be8::app::tokens::generate(Grant::Promo { millis: 1000 });
        let text = token.text.expose().clone();
        be8::app::tokens::issue(&self.library.ledger, &self.library.vault, &[token]).await.expect("a token");
        text
    }
}

/// A group and everybody around it.
pub struct Scene<'h> {
    pub house: &'h House,
    /// The group.
    pub group: String,
    /// The conversation of the member and the admin.
    pub dialog: String,
    pub admin: Person,
    pub member: Person,
    pub former: Person,
    /// A member that asks for nothing, and that things are done to.
    pub other: Person,
    stranger: Person,
    elsewhere: Person,
    destroyed: Person,
    expired: Person,
}

/// One who asks.
pub struct Actor<'s> {
    pub client: Client,
    /// Whose words it uses: its own, or those of the member.
    pub me: &'s Person,
}

impl<'h> Scene<'h> {
    pub async fn new(house: &'h House, access: &str) -> Self {
        let names = ["Admin", "Member", "Former", "Other", "Stranger", "Destroyed", "Expired"];
        let [admin, member, former, other, stranger, destroyed, expired] = people(&house.one, names).await;
        let elsewhere = Person::sign_up(&house.two, "Elsewhere").await;
        let elsewhere = elsewhere.at(&house.one);
        let group = admin.creates(access, json!(20)).await;
        admin.enters(&group).await;
        for person in [&member, &former, &other, &destroyed, &expired, &elsewhere] {
            admin.adds(&group, person).await;
        }
        admin.says(&group, "to all").await;
        let dialog = member.start_conversation(&admin).await;
        former.leaves(&group).await;
        destroyed.at(&house.two).vanishes().await;
        house.library.expires(&expired).await;
        Self { house, group, dialog, admin, member, former, other, stranger, elsewhere, destroyed, expired }
    }

    pub fn actor(&self, name: &str) -> Actor<'_> {
        let client = self.house.one.client();
        let me = match name {
            "nobody" => return Actor { client, me: &self.member },
            "junk" => {
                return Actor { client: client.with_cookie(&format!("be8={}", "A".repeat(43))), me: &self.member };
            }
            "operator" => return Actor { client: client.with_bearer(OPERATOR), me: &self.member },
            "destroyed" => &self.destroyed,
            "expired" => &self.expired,
            "stranger" => &self.stranger,
            "former" => &self.former,
            "member" => &self.member,
            "elsewhere" => &self.elsewhere,
            "admin" => &self.admin,
            _ => panic!("who is {name}?"),
        };
        Actor { client: me.client.clone(), me }
    }
}
