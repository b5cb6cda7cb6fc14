//! The operations of the document in an order in which they all work, and what a server said once that cannot be the same
//! twice.

use be8::audit::notes::{Checkpoint, PublicKey, signatures, split};
use be8::audit::witness::AddCheckpoint;

/// The order in which the examples of all operations work on a fresh server. The page acts as the second account; the
/// operations marked with `true` are the first account's.
pub const STORY: &[(&str, bool)] = &[
    ("getMe", false),
    ("listSessions", false),
    ("nameSession", false),
    ("subscribe", false),
    ("listDevices", false),
    ("unsubscribe", false),
    ("setKey", false),
    ("getKey", false),
    ("getKeys", false),
    ("startConversation", false),
    ("listThreads", false),
    ("writeMessage", false),
    ("listMessages", false),
    ("uploadImage", false),
    ("getImage", false),
    ("createGroup", false),
    ("joinGroup", false),
    ("addGroupMember", false),
    ("listGroupMembers", false),
    ("increaseGroupVersion", false),
    ("getGroupVersion", false),
    ("storeGroupKey", false),
    ("listGroupKeys", false),
    ("signalGroupUpdate", false),
    ("leaveGroup", true),
    ("addGroupMember", false),
    ("kickGroupMember", false),
    ("getGroupHistory", false),
    ("getGroupFindings", false),
    ("getGroupProof", false),
    ("getGroupBundle", false),
    ("getLogCheckpoint", false),
    ("getLogKey", false),
    ("getLogTilePart", false),
    ("getWitnessKey", false),
    ("addCheckpoint", false),
    ("destroyGroup", false),
    ("useToken", false),
    ("countInviteLink", false),
    ("getInsights", false),
    ("getInsightsUntil", false),
    ("getRegistration", false),
    ("setRegistration", false),
    ("changeNickname", false),
    ("setStatus", false),
    ("setCodes", false),
    ("hasCodes", false),
    ("enterCode", false),
    ("updateCode", false),
    ("openSession", true),
    ("changePassword", false),
    ("endOtherSessions", false),
    ("getHealth", false),
    ("getReadiness", false),
    ("getMetrics", false),
    ("getLogTile", false),
];

/// What there is in a log of more than 256,000 events.
pub const LATER: [&str; 2] = ["getLogTileFrom1000", "getLogTilePartFrom1000"];

/// What ends accounts and sessions, and so comes last; with the account that acts, counted from 0.
pub const ENDS: &[(&str, usize)] = &[
    ("endSession", 2),
    ("endSessionByName", 4),
    ("removeAccountByGet", 0),
    ("removeAccount", 3),
    ("listSessionsAsOperator", 1),
    ("endSessionsAsOperator", 1),
    ("removeAccountAsOperator", 1),
];

/// The operator's token.
pub const OPERATOR: &str = "an operator token of more than thirty-two bytes";

/// The log that is witnessed: its key, and what it brings.
pub const LOG: &str = include_str!("../../openapi/example-log/key.txt");
const BROUGHT: &str = include_str!("../../openapi/example-log/add-checkpoint.txt");

/// What cannot be the same twice, as a server said it once.
pub const SAMPLES: [(&str, &str); 5] = [
    ("getLogKey", "be8.example/audit/log+978b6c33+AYRu9RSZzQ2ticnqwhlAvPrgnKp77UyvKzmRxtMNcX2i\n"),
    (
        "getLogCheckpoint",
        "be8.example/audit/log\n\
         22\n\
         XFm8LEn1Vio0pFYEqazbza/j2Q9bRNKUDWX74C5o/5Y=\n\n\
         — be8.example/audit/log l4tsM0De+qPgZ2Wk56LDU4KXj+lK1UBV+khFG4Gtju44iPTHnq91ytLtlv+/ovoDAEF+FF8vQ7cblyXhosjRxRtD7gI=\n",
    ),
    (
        "getGroupProof",
        "c2sp.org/tlog-proof@v1\n\
         index 13\n\
         SRSWzIz4Nn46nh/3Tszl1m6BY7Hd1MDlKFqy4tnprk0=\n\
         uYfe0oBpSIszThyE3h/GosSbm4pAizAcK2FZDp2zTno=\n\
         Z5iRQWbaCyFU8NM+oLhL3YFzbSQVwYMeEA7h40fWIk0=\n\
         WJqcR3noMbQwLlcU+0XbT1WCkA1UoxVo/dbqiJueYt0=\n\
         OeQCTTwvpYpkDrBQz45m+hqwAbXTocZDxXM2SYadUWk=\n\n\
         be8.example/audit/log\n\
         22\n\
         XFm8LEn1Vio0pFYEqazbza/j2Q9bRNKUDWX74C5o/5Y=\n\n\
         — be8.example/audit/log l4tsM0De+qPgZ2Wk56LDU4KXj+lK1UBV+khFG4Gtju44iPTHnq91ytLtlv+/ovoDAEF+FF8vQ7cblyXhosjRxRtD7gI=\n",
    ),
    ("getWitnessKey", "be8.example/audit/witness+1daec73e+BFBauJJXNvqNHQnOARCLyBw15ZtEizde8KIahKUGISvv\n"),
    (
        "addCheckpoint",
        "— be8.example/audit/witness Ha7HPgAAAABrBa+xu10lOYDwBl4FZChg+c1FTNw9h7byIuLJU0/FS01TQuXx61MvZXCpzOXr7qYhQ9Nnek6cht2FpOHFMXwEe64VCQ==\n",
    ),
];

/// One of them.
pub fn sample(id: &str) -> Option<&'static str> {
    SAMPLES.iter().find(|(name, _)| *name == id).map(|(_, text)| *text)
}

#[test]
fn the_samples_belong_together() {
    let [log_key, checkpoint, proof, witness_key, cosignature] = SAMPLES.map(|(_, text)| text);
    let key: PublicKey = log_key.trim_end().parse().expect("a key");
    Checkpoint::open(checkpoint, &key).expect("a checkpoint by it");
    assert!(proof.ends_with(&format!("\n\n{checkpoint}")), "{proof}");
    let key: PublicKey = LOG.trim_end().parse().expect("a key");
    let request = AddCheckpoint::parse(BROUGHT).expect("a request");
    Checkpoint::open(request.note, &key).expect("a checkpoint by it");
    let key: PublicKey = witness_key.trim_end().parse().expect("a key");
    let (text, _) = split(request.note).expect("a note");
    assert!(key.signed(text, &signatures(cosignature).expect("a signature")[0]));
}
