//! Settings: what one is, and how a module declares those that are its own. Each is a flag, a variable and a key of the file.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;

/// One setting: `--name`, `BE8_NAME` in the environment, or `name` in the file.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The name, as the flag has it.
    pub name: &'static str,
    /// What the value is called in the help.
    pub value: &'static str,
    /// What holds if it is not set; empty: see the help.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

impl Setting {
    /// Whether it has several values, separated by commas.
    pub fn is_list(&self) -> bool {
        self.value.ends_with(",...")
    }
}

/// A value that a setting cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// The name of the setting.
    pub name: &'static str,
    /// What is wrong.
    pub what: String,
}

/// What is set, by the names of the settings; a setting that is empty is none.
#[derive(Debug, Clone, Default)]
pub struct Values(HashMap<&'static str, String>);

impl FromIterator<(&'static str, String)> for Values {
    fn from_iter<I: IntoIterator<Item = (&'static str, String)>>(values: I) -> Self {
        Self(values.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl Values {
    /// The defaults of these settings.
    pub fn defaults(settings: &[Setting]) -> Self {
        settings.iter().map(|setting| (setting.name, setting.default.to_owned())).collect()
    }

    /// What a setting is set to.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Reads a setting.
    ///
    /// # Errors
    /// What the parser finds wrong.
    pub fn read<T>(
        &self,
        name: &'static str,
        parser: impl FnOnce(Option<&str>) -> Result<T, String>,
    ) -> Result<T, BadValue> {
        parser(self.text(name)).map_err(|what| BadValue { name, what })
    }
}

/// Declares the settings of a module as a struct. Each is one line: its field and type, how it is read, its name, what its value
/// is called, its default and what it does. What is always the same stands under `fixed`; what is not set but found elsewhere,
/// under `given`, and is handed to `read`. The list of `src/config/table.rs` names each struct once.
macro_rules! settings {
    ($(#[$meta:meta])* pub struct $type:ident { $($set:tt)+ } $(fixed { $($fixed:tt)+ })?) => {
        $crate::settings::settings!(@declare [$(#[$meta])*] $type { $($set)+ } { $($($fixed)+)? } {});

        impl Default for $type {
            fn default() -> Self {
                let defaults = $crate::settings::Values::defaults(Self::SETTINGS);
                Self::read(&defaults).expect("a default is a value that its setting can have")
            }
        }
    };
    ($(#[$meta:meta])* pub struct $type:ident { $($set:tt)+ } $(fixed { $($fixed:tt)+ })? given { $($given:tt)+ }) => {
        $crate::settings::settings!(@declare [$(#[$meta])*] $type { $($set)+ } { $($($fixed)+)? } { $($given)+ });
    };
    (
        @declare [$(#[$meta:meta])*] $type:ident
        { $($set:ident: $set_type:ty = $parser:expr, $name:literal, $value:literal, $default:expr, $help:literal;)+ }
        { $($(#[$fixed_meta:meta])* $fixed:ident: $fixed_type:ty = $fixed_value:expr,)* }
        { $($(#[$given_meta:meta])* $given:ident: $given_type:ty,)* }
    ) => {
        $(#[$meta])*
        pub struct $type {
            $(
                #[doc = concat!($help, ".")]
                pub $set: $set_type,
            )+
            $($(#[$fixed_meta])* pub $fixed: $fixed_type,)*
            $($(#[$given_meta])* pub $given: $given_type,)*
        }

        impl $type {
            /// The settings among them, as they are declared.
            pub const SETTINGS: &'static [$crate::settings::Setting] =
                &[$($crate::settings::Setting { name: $name, value: $value, default: $default, help: $help },)+];

            /// Reads them.
            ///
            /// # Errors
            /// The first that cannot be used.
            pub fn read(
                values: &$crate::settings::Values,
                $($given: $given_type,)*
            ) -> Result<Self, $crate::settings::BadValue> {
                Ok(Self {
                    $($set: values.read($name, $parser)?,)+
                    $($fixed: $fixed_value,)*
                    $($given,)*
                })
            }
        }
    };
}
pub(crate) use settings;

/// A value by its own parser.
///
/// # Errors
/// What is wrong with it.
pub fn parse<T: FromStr<Err: Display>>(text: Option<&str>) -> Result<T, String> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

/// A whole number of at least one.
///
/// # Errors
/// What is wrong with it.
pub fn count<T: TryFrom<u64>>(text: Option<&str>) -> Result<T, String> {
    let number: u64 = parse(text)?;
    let bad = || format!("{number} is out of range");
    if number == 0 { Err(bad()) } else { T::try_from(number).map_err(|_| bad()) }
}

/// A value, if it is set.
///
/// # Errors
/// What is wrong with it.
pub fn optional<T>(
    parser: impl FnOnce(Option<&str>) -> Result<T, String>,
) -> impl FnOnce(Option<&str>) -> Result<Option<T>, String> {
    |text| if text.is_some() { parser(text).map(Some) } else { Ok(None) }
}

/// A value, or `off`.
///
/// # Errors
/// What is wrong with it.
pub fn unless_off<T>(
    parser: impl FnOnce(Option<&str>) -> Result<T, String>,
) -> impl FnOnce(Option<&str>) -> Result<Option<T>, String> {
    |text| if text == Some("off") { Ok(None) } else { parser(text).map(Some) }
}

/// One of two words: the first of them is `true`.
///
/// # Errors
/// It is neither.
pub fn either(yes: &'static str, no: &'static str) -> impl FnOnce(Option<&str>) -> Result<bool, String> {
    move |text| match text {
        None => Ok(true),
        Some(text) if text == yes => Ok(true),
        Some(text) if text == no => Ok(false),
        Some(other) => Err(format!("{other:?} is neither {yes} nor {no}")),
    }
}

/// A text, or a path.
///
/// # Errors
/// None.
pub fn text<T: From<String>>(text: Option<&str>) -> Result<T, String> {
    Ok(text.unwrap_or_default().to_owned().into())
}

/// A path.
///
/// # Errors
/// None.
pub fn path(text: Option<&str>) -> Result<PathBuf, String> {
    self::text(text)
}

/// A span of at least one second.
///
/// # Errors
/// What is wrong with it.
pub fn seconds(text: Option<&str>) -> Result<Duration, String> {
    count::<u32>(text).map(|seconds| Duration::from_secs(seconds.into()))
}

/// A span of at least one minute.
///
/// # Errors
/// What is wrong with it.
pub fn minutes(text: Option<&str>) -> Result<TimeDelta, String> {
    count::<u32>(text).map(|minutes| TimeDelta::minutes(minutes.into()))
}

/// A span of at least one hour.
///
/// # Errors
/// What is wrong with it.
pub fn hours(text: Option<&str>) -> Result<TimeDelta, String> {
    count::<u16>(text).map(|hours| TimeDelta::hours(hours.into()))
}

/// A span of at least one day.
///
/// # Errors
/// What is wrong with it.
pub fn days(text: Option<&str>) -> Result<TimeDelta, String> {
    count::<u16>(text).map(|days| TimeDelta::days(days.into()))
}

/// At least one MiB, in bytes.
///
/// # Errors
/// What is wrong with it.
pub fn mebibytes(text: Option<&str>) -> Result<usize, String> {
    count::<usize>(text).map(|mebibytes| mebibytes.saturating_mul(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    settings! {
        /// How tea is made.
        #[derive(Debug)]
        pub struct Tea {
            cups: usize = count, "tea-cups", "N", "2", "How many cups are made";
            milk: Option<u8> = unless_off(parse), "tea-milk", "N|off", "off", "How much milk is in it";
        }
        fixed {
            /// How hot it is.
            degrees: u8 = 90,
        }
    }

    #[test]
    fn a_declaration_says_what_there_is_and_reads_it() {
        let Tea { cups, milk, degrees } = Tea::default();
        assert_eq!((cups, milk, degrees), (2, None, 90));
        let set = |name, value: &str| Values::from_iter([("tea-cups", "3".to_owned()), (name, value.to_owned())]);
        assert_eq!(Tea::read(&set("tea-milk", "7")).unwrap().milk, Some(7));
        let wrong = |name, value| Tea::read(&set(name, value)).unwrap_err();
        assert_eq!(wrong("tea-cups", "0"), BadValue { name: "tea-cups", what: "0 is out of range".to_owned() });
        assert_eq!(wrong("tea-milk", "x").what, "\"x\": invalid digit found in string");
        assert_eq!(wrong("tea-milk", "").what, "\"\": cannot parse integer from empty string");
        assert_eq!(Tea::SETTINGS.iter().map(|setting| setting.name).collect::<Vec<_>>(), ["tea-cups", "tea-milk"]);
    }

    #[test]
    fn one_of_two_words_is_meant() {
        assert_eq!(either("on", "off")(None), Ok(true));
        assert_eq!(either("on", "off")(Some("off")), Ok(false));
        assert_eq!(either("on", "off")(Some("On")), Err("\"On\" is neither on nor off".to_owned()));
    }
}
