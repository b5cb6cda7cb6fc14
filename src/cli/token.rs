//! `be8 token`: issues, lists and revokes tokens that extend the life of accounts.

use std::io::Read as _;

use be8_events::Hash32;
use be8_events::token::Grant;
use be8_projections::TokenView;
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::json;

use super::columns::{Cell, Tone, coloured, table};
use super::print;
use crate::app::tokens;
use crate::config::{Config, flags};
use crate::domain::token::RevokeToken;
use crate::node::Attached;

/// The fewest characters of a fingerprint that name a token.
const LEAST: usize = 8;
/// A day in milliseconds.
const DAY: u64 = 86_400_000;

/// The command with its sub-commands.
pub fn command() -> Command {
    let format = Arg::new("format").long("format").value_name("FORMAT").value_parser(["text", "json"]);
    let kind = Arg::new("TYPE").required(true).value_parser(["endless", "promo"]);
    let number = |name, help| Arg::new(name).long(name).value_name("N").value_parser(value_parser!(u32)).help(help);
    Command::new("token")
        .about("Issue, list and revoke tokens that extend the life of accounts")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            flags(Command::new("add").about("Issue new tokens and print them, one a line: they are not kept"))
                .arg(kind.help("An endless life, to one account at a time; or a number of days from its use on, once"))
                .arg(number("days", "What a promo token gives").required_if_eq("TYPE", "promo"))
                .arg(number("count", "How many tokens").default_value("1")),
        )
        .subcommand(
            flags(Command::new("list").about("List the tokens, by their fingerprints"))
                .arg(format.default_value("text").help("For people or for programs")),
        )
        .subcommand(
            flags(Command::new("revoke").about("Revoke a token: it gives nothing any more; what it gave stays")).arg(
                Arg::new("TOKEN")
                    .required(true)
                    .help("The beginning of its fingerprint, as the list shows it; - reads the token itself from the standard input"),
            ),
        )
}

/// Runs what was asked for.
///
/// # Errors
/// One line for people.
pub async fn run(matches: &ArgMatches) -> Result<(), String> {
    let (name, matches) = matches.subcommand().ok_or("no such command")?;
    // Before anything is opened.
    let grant = if name == "add" { Some(grant(matches)?) } else { None };
    let config = Config::new(matches).map_err(|error| error.to_string())?;
    let attached = Attached::open(&config).await.map_err(|error| error.to_string())?;
    let done = match grant {
        Some(grant) => add(&attached, grant, matches.get_one::<u32>("count").copied().unwrap_or(1)).await,
        None if name == "list" => {
            list(&attached, matches.get_one::<String>("format").is_some_and(|f| f == "json")).await
        }
        None => revoke(&attached, matches.get_one::<String>("TOKEN").map_or("", String::as_str)).await,
    };
    attached.close().await;
    done
}

/// What the tokens to add give.
fn grant(matches: &ArgMatches) -> Result<Grant, String> {
    let days = matches.get_one::<u32>("days");
    match (matches.get_one::<String>("TYPE").map(String::as_str), days) {
        (Some("endless"), Some(_)) => Err("--days: an endless token gives no number of days".to_owned()),
        (Some("endless"), None) => Ok(Grant::Endless),
        (_, days) => {
            let millis = u64::from(days.copied().unwrap_or(0)) * DAY;
            if millis == 0 || millis > tokens::LONGEST_MILLIS {
                return Err("--days: from 1 to 36525".to_owned());
            }
            Ok(Grant::Promo { millis })
        }
    }
}

async fn add(attached: &Attached, grant: Grant, count: u32) -> Result<(), String> {
    let new: Vec<_> = (0..count).map(|_| tokens::generate(grant)).collect();
    tokens::issue(&attached.ledger, &attached.vault, &new).await.map_err(|error| error.to_string())?;
    // Issued first, so that a printed token can be used.
    for token in &new {
        print(&format!("{}\n", token.text.expose()));
    }
    Ok(())
}

async fn list(attached: &Attached, json: bool) -> Result<(), String> {
    let all = attached.read.tokens().await.map_err(|error| error.to_string())?;
    if json {
        for token in &all {
            print(&format!("{}\n", line(token)));
        }
    } else {
        print(&text(&all, coloured()));
    }
    Ok(())
}

async fn revoke(attached: &Attached, named: &str) -> Result<(), String> {
    let token = if named == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
        let token = tokens::fingerprint(&attached.vault, text.trim()).await.map_err(|error| error.to_string())?;
        token.ok_or("there is no such token")?
    } else {
        let all = attached.read.tokens().await.map_err(|error| error.to_string())?;
        one_of(&all, named)?
    };
    let done = attached.ledger.execute(RevokeToken { token }).await;
    done.map_err(|error| error.to_string())?;
    print(&format!("{} is revoked\n", tokens::short(token)));
    Ok(())
}

/// The token that the beginning of a fingerprint names.
fn one_of(all: &[TokenView], named: &str) -> Result<Hash32, String> {
    if named.len() < LEAST {
        return Err(format!("{named:?}: at least {LEAST} characters of the fingerprint"));
    }
    let mut found = all.iter().map(|token| token.token).filter(|token| token.to_string().starts_with(named));
    match (found.next(), found.next()) {
        (Some(token), None) => Ok(token),
        (None, _) => Err(format!("there is no token {named}")),
        (Some(_), Some(_)) => Err(format!("{named} begins more than one fingerprint")),
    }
}

/// What a token is now: a word for programs.
const fn state(token: &TokenView) -> &'static str {
    match token {
        TokenView { revoked: true, .. } => "revoked",
        TokenView { used_up: true, .. } => "used",
        TokenView { holder: Some(_), .. } => "taken",
        _ => "free",
    }
}

fn line(token: &TokenView) -> serde_json::Value {
    let (kind, millis) = match token.grant {
        Grant::Endless => ("endless", None),
        Grant::Promo { millis } => ("promo", Some(millis)),
    };
    json!({
        "token": token.token, "type": kind, "validTime": millis, "issued": token.issued, "state": state(token),
        "account": token.holder.map(|account| account.to_string()),
    })
}

/// Tokens as a table.
fn text(all: &[TokenView], colour: bool) -> String {
    if all.is_empty() {
        return "No tokens.\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = all
        .iter()
        .map(|token| {
            let gives = match token.grant {
                Grant::Endless => "endless life".to_owned(),
                Grant::Promo { millis } if millis.is_multiple_of(DAY) => format!("{} days", millis / DAY),
                Grant::Promo { millis } => format!("{millis} ms"),
            };
            let tone = if token.revoked { Tone::Bad } else { Tone::Plain };
            vec![
                (tokens::short(token.token), Tone::Strong),
                (gives, Tone::Plain),
                (token.issued.to_string(), Tone::Quiet),
                (state(token).to_owned(), tone),
                (token.holder.map_or_else(|| "-".to_owned(), |account| account.to_string()), Tone::Plain),
            ]
        })
        .collect();
    table(&["TOKEN", "GIVES", "ISSUED", "STATE", "ACCOUNT"], &rows, colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Vec<TokenView> {
        let token = |nth: u8, grant, holder: Option<i64>| TokenView {
            token: Hash32([nth; 32]),
            grant,
            issued: "2026-11-23T12:00:00Z".parse().unwrap(),
            holder: holder.and_then(be8_events::AccId::new),
            used_up: false,
            revoked: false,
        };
        vec![
            token(1, Grant::Endless, None),
            token(2, Grant::Endless, Some(10_001)),
            TokenView { used_up: true, ..token(3, Grant::Promo { millis: 180 * DAY }, Some(10_002)) },
            TokenView { revoked: true, ..token(4, Grant::Promo { millis: 1500 }, None) },
        ]
    }

    #[test]
    fn tokens_are_a_table_or_lines() {
        insta::assert_snapshot!(text(&tokens(), false));
        let lines: Vec<String> = tokens().iter().map(|token| line(token).to_string()).collect();
        insta::assert_snapshot!(lines.join("\n"));
        assert_eq!(text(&[], false), "No tokens.\n");
    }

    #[test]
    fn a_token_is_named_by_the_beginning_of_its_fingerprint() {
        let mut all = tokens();
        assert_eq!(one_of(&all, "01010101"), Ok(all[0].token));
        assert!(one_of(&all, "0101010").unwrap_err().contains("at least 8"));
        assert!(one_of(&all, "05050505").unwrap_err().contains("no token"));
        all[1].token.0[4..].fill(1);
        all[0].token.0[..4].fill(2);
        assert!(one_of(&all, "02020202").unwrap_err().contains("more than one"));
    }
}
