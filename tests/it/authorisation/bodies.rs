//! What is sent in each row of the matrix: everything in it is right for the one who asks, so that nothing but who it is
//! decides.

use serde_json::{Value, json};

use super::Row;
use super::scene::{Actor, Scene};
use crate::client::Person;
use crate::crypto::KeyPair;

/// The lock codes of those who have some.
const CODES: [&str; 2] = ["an unlock code", "a destroy code"];

/// The body of a request, none where the operation takes none. What must be so before is seen to.
pub async fn body(row: &Row, scene: &Scene<'_>, actor: &Actor<'_>) -> Option<Value> {
    let me = actor.me;
    let group = &scene.group;
    let of_group = || json!({ "groupID": group });
    let [unlock, destroy] = CODES;
    Some(match (row.path, row.variant) {
        ("/newacc", _) => json!({ "nickname": "Anew", "password": "a long secret" }),
        ("/login", _) => json!({ "accID": me.id, "password": me.password }),
        ("/changenickname", _) => json!({ "newNickname": "Another" }),
        ("/userstatusset", _) => json!({ "userStatus": "well" }),
        ("/codeset", _) => json!({ "unlockCode": unlock, "destroyCode": destroy }),
        ("/codeunlock", "to unlock") => {
            sets_codes(actor).await;
            json!({ "code": unlock })
        }
        ("/codeunlock", "to destroy") => {
            sets_codes(actor).await;
            json!({ "code": destroy })
        }
        ("/codeupdate", _) => {
            sets_codes(actor).await;
            json!({ "oldCode": unlock, "code": "another", "codeType": "unlock" })
        }
        ("/endlessvalidate", _) => json!({ "token": scene.house.token().await }),
        ("/setkey", _) => json!({ "publicKey": KeyPair::generate().jwk() }),
        ("/getkey", _) => json!({ "accID": scene.other.id }),
        ("/getkeys", _) => json!({ "accIDs": [scene.other.id, scene.admin.id] }),
        ("/subscribe", _) => subscription(me),
        ("/me/sessions/{session}", _) if row.method == "PUT" => json!({ "name": "The phone" }),
        ("/me/password", _) => json!({ "oldPassword": me.password, "newPassword": me.password }),
        ("/startconversation", _) => json!({ "receiverID": scene.other.id }),
        ("/getmessages", "of the group") => json!({ "threadID": group }),
        ("/getmessages", "of member and admin") => json!({ "threadID": scene.dialog }),
        ("/getmessages", "of the system to admin") => json!({ "threadID": format!("{}:s1", scene.admin.id) }),
        ("/writemessage", "to the group") => me.group_letter(group, "hello"),
        ("/writemessage", "to member and admin") => {
            let partner = if me.id == scene.admin.id { &scene.member } else { &scene.admin };
            me.letter(&scene.dialog, &partner.id, "hello")
        }
        ("/writemessage", "in the admin's name") => scene.admin.group_letter(group, "hello"),
        ("/imageupload", "to the group") => image(me.group_letter(group, ""), &me.id),
        ("/imageupload", "to member and admin") => {
            let partner = if me.id == scene.admin.id { &scene.member } else { &scene.admin };
            image(me.letter(&scene.dialog, &partner.id, ""), &me.id)
        }
        ("/imageupload", "in the admin's name") => image(scene.admin.group_letter(group, ""), &me.id),
        ("/imageget", "of the group") => posted(&scene.other, scene.other.group_letter(group, "")).await,
        ("/imageget", "of member and admin") => {
            posted(&scene.member, scene.member.letter(&scene.dialog, &scene.admin.id, "")).await
        }
        ("/groupcreate", _) => json!({ "nickname": "Friends", "groupType": "public" }),
        ("/groupaddmember", _) => {
            let new = Person::sign_up(&scene.house.one, "New").await;
            json!({ "groupID": group, "memberID": new.id })
        }
        ("/groupkickmember", _) | ("/groupgetkeys", "of another member") => {
            json!({ "groupID": group, "accID": scene.other.id })
        }
        ("/groupgetkeys", "of the one who left") => json!({ "groupID": group, "accID": scene.former.id }),
        ("/groupstorekey", _) => json!({
            "groupID": group, "accID": scene.other.id, "keyholder": me.id, "groupKey": "a wrapped key",
        }),
        ("/grouptriggersseupdate", _) => json!({ "groupID": group, "update": "joinmember" }),
        (
            "/groupjoinmember"
            | "/groupgetmembers"
            | "/groupleavemember"
            | "/groupdestroygroup"
            | "/groupincreaseversion"
            | "/groupgetcurrentversion",
            _,
        ) => of_group(),
        ("/invitelink", _) => json!({ "type": "user", "sentInviteLink": true }),
        ("/insightsuntil", _) => json!({ "start": "2026-07-01", "end": "2026-07-02" }),
        ("/audit/witness/add-checkpoint", _) => json!(include_str!("../../../openapi/example-log/add-checkpoint.txt")),
        ("/operator/registration", _) if row.method == "POST" => json!({ "open": true }),
        (path, _) => {
            if path == "/me/devices/{device}" {
                actor.client.post("/subscribe", &subscription(me)).await;
            }
            // What takes a body has one here, or a row could be about a request that is wrong in itself.
            let bodiless = ["/logout", "/destroyacc"];
            assert!(row.method != "POST" || bodiless.contains(&path), "{} has no body yet", row.name());
            return None;
        }
    })
}

/// A device of somebody.
fn subscription(me: &Person) -> Value {
    json!({
        "endpoint": format!("https://push.example.org/{}", me.id), "expirationTime": null,
        "keys": {
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        },
    })
}

/// An image in the place of a letter's text; each has one such name for it.
fn image(mut letter: Value, name: &str) -> Value {
    letter["messageType"] = json!("image");
    letter["contentID"] = json!(format!("image-{name}"));
    letter["content"] = json!("QW4gaW1hZ2U=");
    letter["contentType"] = json!("image");
    letter["imgHeight"] = json!(480);
    letter["imgWidth"] = json!(640);
    letter
}

/// Posts an image, if it is not there yet; answers how it is asked for.
async fn posted(sender: &Person, letter: Value) -> Value {
    let image = image(letter, "shown");
    assert_eq!(sender.client.post("/imageupload", &image).await.verdict(), "200 ok");
    json!({ "contentID": image["contentID"], "sender": sender.id })
}

/// Sets the lock codes, if somebody is there who can.
async fn sets_codes(actor: &Actor<'_>) {
    let [unlock, destroy] = CODES;
    actor.client.post("/codeset", &json!({ "unlockCode": unlock, "destroyCode": destroy })).await;
}
