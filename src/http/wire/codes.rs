//! The stable codes of the wire contract, and how each is answered.

use poem::http::StatusCode;
use poem_openapi::Enum;

/// How a code is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"error":CODE}` with this HTTP status.
    Error(u16),
    /// `{"valid":false,"reason":CODE}` with status 200.
    Reason,
    /// `{"valid":false,"warning":CODE}` with status 200.
    Warning,
}

/// Defines [`Code`] as one table: documentation, name, text on the wire, shape.
macro_rules! codes {
    ($(#[doc = $doc:literal] $name:ident $text:literal $shape:expr;)*) => {
        /// A stable code of the wire contract: clients compare it, so it never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum)]
        pub enum Code {
            $(#[doc = $doc] #[oai(rename = $text)] $name,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The text on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the code means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $doc.trim_start(),)* }
            }

            /// How the code is said.
            pub const fn shape(self) -> Shape {
                match self { $(Self::$name => $shape,)* }
            }
        }
    };
}

codes! {
    /// No session, or its account is gone.
    NotAuth "NOTAUTH" Shape::Error(401);
    /// The nickname is no string of 1 to 30 characters.
    InvalidNickname "INVALIDNICKNAME" Shape::Error(400);
    /// The password is no string, or empty.
    InvalidPassword "INVALIDPASSWORD" Shape::Error(400);
    /// The password cannot be decrypted or is too long.
    PasswordFailure "PASSWORDFAILURE" Shape::Warning;
    /// No such account.
    AccNotExists "ACCNOTEXISTS" Shape::Error(400);
    /// A conversation with oneself.
    CircularConversation "CIRCULARCONVERSATION" Shape::Error(400);
    /// No such thread, or not one of the caller's.
    InvalidThreadId "INVALIDTHREADID" Shape::Error(400);
    /// Not a type of message that may be sent, or a foreign group key version.
    InvalidMessageType "INVALIDMESSAGETYPE" Shape::Error(400);
    /// Neither `public` nor `private`.
    InvalidGroupType "INVALIDGROUPTYPE" Shape::Error(400);
    /// The group is full.
    GroupMaxReached "GROUPMAXREACHED" Shape::Error(400);
    /// Not a public key on a known curve.
    InvalidPublicKey "INVALIDPUBLICKEY" Shape::Error(400);
    /// Not a push subscription.
    InvalidSubscribe "INVALIDSUBSCRIBE" Shape::Error(400);
    /// No such token.
    TokenNotExist "TOKENNOTEXIST" Shape::Error(400);
    /// The content id is no string of 1 to 128 printable characters.
    InvalidContentId "INVALIDCONTENTID" Shape::Error(400);
    /// A value that this request cannot have.
    InvalidInput "INVALIDINPUT" Shape::Error(400);
    /// The body is not JSON.
    InvalidJson "INVALIDJSON" Shape::Error(400);
    /// The status is no string.
    InvalidStatus "INVALIDSTATUS" Shape::Reason;
    /// The unlock code is no string, or empty.
    InvalidUnlockCode "INVALIDUNLOCKCODE" Shape::Reason;
    /// The destroy code is no string, empty, or equal to the unlock code.
    InvalidDestroyCode "INVALIDDESTROYCODE" Shape::Reason;
    /// The code is no string, or empty.
    InvalidCode "INVALIDCODE" Shape::Reason;
    /// The old code is no string, or empty.
    InvalidOldCode "INVALIDOLDCODE" Shape::Reason;
    /// Neither `unlock` nor `destroy`.
    InvalidCodeType "INVALIDCODETYPE" Shape::Reason;
    /// The old code is not the one that is set.
    OldCodeWrong "OLDCODEWRONG" Shape::Reason;
    /// Codes are set already.
    CodesAlreadySet "CODESALREADYSET" Shape::Reason;
    /// The token is no string of at least 32 characters.
    InvalidToken "INVALIDTOKEN" Shape::Reason;
    /// No such group.
    GroupNotExisting "GROUPNOTEXISTING" Shape::Reason;
    /// No such account.
    MemberNotExisting "MEMBERNOTEXISTING" Shape::Reason;
    /// No such account as keyholder.
    KeyholderNotExisting "KEYHOLDERNOTEXISTING" Shape::Reason;
    /// Not a member of the group.
    NoGroupMember "NOGROUPMEMBER" Shape::Reason;
    /// Only the group's admin may do that.
    NotAdmin "NOTADMIN" Shape::Reason;
    /// A member of the group already.
    IsAlreadyMember "ISALREADYMEMBER" Shape::Reason;
    /// An admin cannot kick itself.
    CircularKick "CIRCULARKICK" Shape::Reason;
    /// The group key is no string of at least 10 characters, or another one is stored.
    InvalidGroupKey "INVALIDGROUPKEY" Shape::Reason;
    /// Neither `joinmember` nor `leavegroup`.
    InvalidUpdateType "INVALIDUPDATETYPE" Shape::Reason;
    /// Neither `user` nor `group`.
    InvalidLinkType "INVALIDLINKTYPE" Shape::Reason;
    /// Neither sent nor used.
    NotUsedOrSentLink "NOTUSEDORSENTLINK" Shape::Reason;
    /// Other content is stored under this content id.
    ContentExists "CONTENTEXISTS" Shape::Reason;
    /// The old password is another one.
    OldPasswordWrong "OLDPASSWORDWRONG" Shape::Error(403);
    /// Not from here.
    Forbidden "FORBIDDEN" Shape::Error(403);
    /// New accounts are not made here now.
    RegistrationClosed "REGISTRATIONCLOSED" Shape::Error(403);
    /// There is nothing at this path.
    NotFound "NOTFOUND" Shape::Error(404);
    /// Not with this method.
    MethodNotAllowed "METHODNOTALLOWED" Shape::Error(405);
    /// The body did not arrive in time.
    Timeout "TIMEOUT" Shape::Error(408);
    /// The first request with this idempotency key is still running.
    InFlight "INFLIGHT" Shape::Error(409);
    /// The body or the text is too large.
    TooLarge "TOOLARGE" Shape::Error(413);
    /// The body is compressed.
    UnsupportedEncoding "UNSUPPORTEDENCODING" Shape::Error(415);
    /// The idempotency key belongs to another request.
    IdempotencyKeyReused "IDEMPOTENCYKEYREUSED" Shape::Error(422);
    /// Too many requests.
    RateLimited "RATELIMITED" Shape::Error(429);
    /// A fault of the server.
    Internal "INTERNAL" Shape::Error(500);
    /// Overloaded, or the database is away; nothing was changed.
    Unavailable "UNAVAILABLE" Shape::Error(503);
    /// No checkpoint covers it yet; the next one will.
    NotCoveredYet "NOTCOVEREDYET" Shape::Error(503);
    /// The database went away during the change; it may have happened.
    OutcomeUnknown "OUTCOMEUNKNOWN" Shape::Error(503);
}

impl Code {
    /// The HTTP status of the code.
    pub fn status(self) -> StatusCode {
        match self.shape() {
            Shape::Error(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Shape::Reason | Shape::Warning => StatusCode::OK,
        }
    }
}
