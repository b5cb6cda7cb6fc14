//! The parameters of a database URL: what each means here, or why it is refused.

/// What a parameter is to be8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is understood; the variable of the environment that stands in for it.
    Understood(Option<&'static str>),
    /// Only these values are accepted: what they ask for is what happens anyway.
    Only(&'static [&'static str]),
    /// It is refused, for this reason.
    Refused(&'static str),
}

use Known::{Only, Refused, Understood};

const SOCKET: &str =
    "be8 does not set options of sockets; it bounds each statement and each attempt to connect by itself";
const TLS: &str = "be8's TLS library has no such setting";
const AUTH: &str = "be8 cannot demand a way of authentication; the server's pg_hba.conf can";
const KERBEROS: &str = "be8 does not speak GSSAPI or SSPI";

/// All parameters of libpq (PostgreSQL 18) and those that sqlx adds.
pub(crate) const PARAMETERS: &[(&str, Known)] = &[
    ("host", Understood(Some("PGHOST"))),
    ("hostaddr", Understood(Some("PGHOSTADDR"))),
    ("port", Understood(Some("PGPORT"))),
    ("user", Understood(Some("PGUSER"))),
    ("password", Understood(Some("PGPASSWORD"))),
    ("dbname", Understood(Some("PGDATABASE"))),
    ("application_name", Understood(Some("PGAPPNAME"))),
    ("fallback_application_name", Understood(None)),
    ("options", Understood(Some("PGOPTIONS"))),
    ("connect_timeout", Understood(Some("PGCONNECT_TIMEOUT"))),
    ("target_session_attrs", Understood(Some("PGTARGETSESSIONATTRS"))),
    ("sslmode", Understood(Some("PGSSLMODE"))),
    ("sslrootcert", Understood(Some("PGSSLROOTCERT"))),
    ("sslcert", Understood(Some("PGSSLCERT"))),
    ("sslkey", Understood(Some("PGSSLKEY"))),
    ("statement-cache-capacity", Understood(None)),
    ("load_balance_hosts", Only(&["disable"])),
    ("gssencmode", Only(&["disable", "prefer"])),
    ("channel_binding", Only(&["disable", "prefer"])),
    ("sslnegotiation", Only(&["postgres"])),
    ("sslcompression", Only(&["0"])),
    ("sslsni", Only(&["1"])),
    ("client_encoding", Only(&["auto", "UTF8", "utf8", "UTF-8", "utf-8"])),
    ("replication", Only(&["false", "off", "no", "0"])),
    ("keepalives", Refused(SOCKET)),
    ("keepalives_idle", Refused(SOCKET)),
    ("keepalives_interval", Refused(SOCKET)),
    ("keepalives_count", Refused(SOCKET)),
    ("tcp_user_timeout", Refused(SOCKET)),
    ("ssl_min_protocol_version", Refused(TLS)),
    ("ssl_max_protocol_version", Refused(TLS)),
    ("sslcrl", Refused(TLS)),
    ("sslcrldir", Refused(TLS)),
    (
        "sslpassword",
        Refused("be8 reads no encrypted keys; give it one that is not encrypted, readable by its owner alone"),
    ),
    ("sslcertmode", Refused(TLS)),
    ("sslkeylogfile", Refused("be8 writes no session keys")),
    ("requiressl", Refused("it is obsolete; write sslmode=require")),
    ("require_auth", Refused(AUTH)),
    ("requirepeer", Refused(AUTH)),
    ("scram_client_key", Refused(AUTH)),
    ("scram_server_key", Refused(AUTH)),
    ("krbsrvname", Refused(KERBEROS)),
    ("gsslib", Refused(KERBEROS)),
    ("gssdelegation", Refused(KERBEROS)),
    ("oauth_issuer", Refused(AUTH)),
    ("oauth_client_id", Refused(AUTH)),
    ("oauth_client_secret", Refused(AUTH)),
    ("oauth_scope", Refused(AUTH)),
    ("passfile", Refused("set the variable PGPASSFILE, or use ~/.pgpass")),
    ("service", Refused("be8 reads no service file; write the parameters into the URL")),
    ("servicefile", Refused("be8 reads no service file; write the parameters into the URL")),
    ("min_protocol_version", Refused("be8 speaks version 3.0 of the protocol")),
    ("max_protocol_version", Refused("be8 speaks version 3.0 of the protocol")),
];

/// Other names of the same parameters, which sqlx and other drivers use.
const ALIASES: &[(&str, &str)] = &[
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
];

/// The name of a parameter as the table has it.
pub(crate) fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, canonical)| canonical)
}

/// What is known of a parameter.
pub(crate) fn known(name: &str) -> Option<Known> {
    PARAMETERS.iter().find(|(known, _)| *known == name).map(|(_, known)| *known)
}
