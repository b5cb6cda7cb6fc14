//! Accounts and what belongs to one: sessions, profile, codes, keys, devices, tokens.

pub mod accounts;
pub mod codes;
pub mod cryptojs;
pub mod devices;
pub mod jwk;
pub mod keys;
pub mod logins;
pub mod passwords;
pub mod profile;
pub mod removal;
pub mod sessions;
pub mod tokens;

super::list::routes! {
    accounts::Accounts,
    codes::Codes,
    devices::Devices,
    keys::Keys,
    logins::Logins,
    passwords::Passwords,
    profile::Profile,
    removal::Removal,
    sessions::Sessions,
    tokens::Tokens,
}
