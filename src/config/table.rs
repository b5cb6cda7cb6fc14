//! All settings: as flags, in the environment, in the file, and as a page.

use std::collections::HashMap;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{ConfigError, ServerSettings};
use crate::app::{AdmissionSettings, AppSettings};
use crate::audit::AuditSettings;
use crate::feed::HubSettings;
use crate::http::layers::large_bodies::LargeBodySettings;
use crate::http::layers::limits::LimitSettings;
use crate::http::request::body::BodyLimits;
use crate::http::serve::connections::ConnectionSettings;
use crate::http::site::SiteSettings;
use crate::ledger::LedgerSettings;
use crate::media::S3Settings;
use crate::password::HashSettings;
use crate::process::rotation::RotationSettings;
use crate::push::PushSettings;
use crate::settings::{Setting, Values};
use crate::views::ViewFlags;

/// All settings, each declared beside what it is for.
const DECLARED: &[&[Setting]] = &[
    ServerSettings::SETTINGS,
    ViewFlags::SETTINGS,
    RotationSettings::SETTINGS,
    SiteSettings::SETTINGS,
    S3Settings::SETTINGS,
    LargeBodySettings::SETTINGS,
    AuditSettings::SETTINGS,
    AdmissionSettings::SETTINGS,
    LimitSettings::SETTINGS,
    ConnectionSettings::SETTINGS,
    BodyLimits::SETTINGS,
    AppSettings::SETTINGS,
    HashSettings::SETTINGS,
    LedgerSettings::SETTINGS,
    HubSettings::SETTINGS,
    PushSettings::SETTINGS,
];

/// All settings, in the order of the page.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    DECLARED.iter().copied().flatten()
}

/// Adds the flags of all settings to a command.
pub fn flags(command: Command) -> Command {
    let command = command
        .arg(Arg::new("config").long("config").value_name("FILE").env("BE8_CONFIG").help("A TOML file with settings"));
    settings().fold(command, |command, setting| {
        let mut arg = Arg::new(setting.name)
            .long(setting.name)
            .value_name(setting.value)
            .env(format!("BE8_{}", setting.name.to_ascii_uppercase().replace('-', "_")))
            .hide_env_values(true)
            .help(setting.help);
        if setting.is_list() {
            arg = arg.action(ArgAction::Append);
        }
        if !setting.default.is_empty() {
            arg = arg.default_value(setting.default);
        }
        command.arg(arg)
    })
}

/// All settings as `docs/settings.md` shows it.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Settings\n\nEach setting is a flag (`--listen`), a variable (`BE8_LISTEN`) or a key of the TOML file that \
         `--config` or\n`BE8_CONFIG` names (`listen = \"...\"`). A flag beats the variable, that beats the file, and \
         that beats `DATABASE_URL` and\n`PG_BIN`. A list is one text with commas (`\"10.0.0.1,10.0.0.2\"`), or \
         several flags, or an array in the file. They are checked at start,\nand all commands take the same, so that \
         one file serves the server and the commands beside it (`be8 openapi` and\n`be8 verify-bundle` need none).\n\nThis page is made from the declarations of the settings (`src/config/table.rs` lists them); a test compares them.\n\n\
         | setting | value | default | what it does |\n|---|---|---|---|\n",
    );
    for setting in settings() {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let value = setting.value.replace('|', "\\|");
        out.push_str(&format!("| `--{}` | {value} | {default} | {} |\n", setting.name, setting.help));
    }
    out
}

/// The values of all settings: a flag beats the environment, that beats the file, that the default.
pub(super) fn collect(matches: &ArgMatches) -> Result<Values, ConfigError> {
    let file = match matches.get_one::<String>("config") {
        Some(path) => read_file(Path::new(path))?,
        None => HashMap::new(),
    };
    let value = |setting: &'static Setting| {
        let said =
            matches!(matches.value_source(setting.name), Some(ValueSource::CommandLine | ValueSource::EnvVariable));
        // A list may be given in several flags.
        let given = matches.get_many::<String>(setting.name).map(|all| all.cloned().collect::<Vec<_>>().join(","));
        let value = if said { given } else { file.get(setting.name).cloned().or(given) };
        Some((setting.name, value?))
    };
    Ok(settings().filter_map(value).collect())
}

fn read_file(path: &Path) -> Result<HashMap<String, String>, ConfigError> {
    let bad = |what: String| ConfigError::File { path: path.to_owned(), what };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| bad(error.message().to_owned()))?;
    let mut values = HashMap::new();
    for (name, value) in table {
        let Some(setting) = settings().find(|setting| setting.name == name) else {
            return Err(ConfigError::Unknown { path: path.to_owned(), name });
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(value) => value.to_string(),
            toml::Value::Array(values) if setting.is_list() && values.iter().all(toml::Value::is_str) => {
                values.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            _ => return Err(bad(format!("{name} is neither text, number nor boolean"))),
        };
        values.insert(name, text);
    }
    Ok(values)
}
