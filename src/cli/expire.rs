//! `be8 expire`: ends once what has expired, as servers do all the time; or says what that would be.

use be8_events::Position;
use clap::ArgMatches;

use super::print;
use crate::config::Config;
use crate::ledger::Lead;
use crate::node::Attached;
use crate::process::expiry::{Due, EXPIRY, Expiry};
use crate::process::removal::{REMOVAL, follow};
use crate::process::sweep::{SWEEPING, deletions};
use crate::process::{Process as _, ProcessError};

/// The most accounts and names that a dry run counts.
const MOST: i64 = 10_000;
/// The most ids that are printed of each.
const SHOWN: usize = 20;

/// Does it, or says what there is to do.
///
/// # Errors
/// One line for people.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let attached = Attached::open(&config).await.map_err(|error| error.to_string())?;
    let expiry = attached.expiry(&config);
    let text = async {
        let dry = matches.get_flag("dry-run");
        let confirmed = if matches.get_flag("confirm-clock") { confirm(&attached, dry).await? } else { String::new() };
        let done = if dry { foresee(&attached, &expiry).await? } else { expire(&attached, &expiry).await? };
        let clock = attached.ledger.trusted_time().state().sentences();
        Ok::<_, ProcessError>(
            clock.into_iter().fold(confirmed + &done, |text, sentence| text + "\n" + &sentence + "\n"),
        )
    };
    let text = text.await;
    attached.close().await;
    print(&text.map_err(|error| error.to_string())?);
    Ok(())
}

/// Takes the operator's word that the clock is right.
async fn confirm(attached: &Attached, dry: bool) -> Result<String, ProcessError> {
    let trusted = attached.ledger.trusted_time();
    if dry {
        return Ok(format!("If the clock is right: {}.\n\n", trusted.suppose()));
    }
    let now = trusted.confirm().await?;
    Ok(format!("The clock is taken to be right: {now}.\n\n"))
}

/// What there is to do.
struct Ahead {
    due: Due,
    /// Ends that are not followed to their end.
    ends: usize,
    /// Deletions of keys whose payloads still have bytes, perhaps.
    deletions: usize,
}

async fn foresee(attached: &Attached, expiry: &Expiry) -> Result<String, ProcessError> {
    let reached = async |name| attached.leads.checkpoint(name).await.map(Position);
    let due = expiry.due(reached(EXPIRY).await?, MOST).await?;
    let ends = attached.read.ends(reached(REMOVAL).await?, MOST).await?.len();
    let mut after = reached(SWEEPING).await?;
    let mut waiting = 0;
    loop {
        let page = deletions(attached.ledger.log(), after).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        waiting += page.len();
    }
    Ok(text(&Ahead { due, ends, deletions: waiting }))
}

async fn expire(attached: &Attached, expiry: &Expiry) -> Result<String, ProcessError> {
    let Attached { ledger, read, leads, .. } = attached;
    let mut accounts = 0;
    loop {
        let removed = expiry.accounts().await?;
        accounts += removed;
        if removed == 0 {
            break;
        }
    }
    // Where a server leads already, this is done beside it: nothing suffers from being done twice.
    let mut lead = leads.take(REMOVAL).await?;
    let mut after = reached(attached, &mut lead, REMOVAL).await?;
    let mut ends = 0;
    while let Some((position, end)) = read.ends(after, 1).await?.pop() {
        follow(ledger, read, end).await?;
        (after, ends) = (position, ends + 1);
        save(&mut lead, after).await?;
    }
    resign(lead).await;

    let mut lead = leads.take(expiry.name()).await?;
    let mut after = reached(attached, &mut lead, EXPIRY).await?;
    let mut names = 0;
    loop {
        let (position, count) = expiry.group_names(after).await?;
        if count == 0 {
            break;
        }
        (after, names) = (position, names + count);
        save(&mut lead, after).await?;
    }
    let (days, partitions) = expiry.days().await?;
    resign(lead).await;

    let mut lead = leads.take(SWEEPING).await?;
    let mut after = reached(attached, &mut lead, SWEEPING).await?;
    let mut sweeper = attached.sweepers.take().await?;
    let mut swept = 0;
    loop {
        let page = deletions(ledger.log(), after).await?;
        if page.is_empty() {
            break;
        }
        for (position, keys) in page {
            for key in &keys {
                swept += sweeper.sweep(key).await?;
            }
            after = position;
            save(&mut lead, after).await?;
        }
    }
    sweeper.close().await;
    resign(lead).await;
    Ok(format!(
        "accounts removed, their time being over   {accounts}\n\
         removals and ends of groups followed      {ends}\n\
         days whose messages were erased           {days}\n\
         partitions dropped                        {partitions}\n\
         names of destroyed groups erased          {names}\n\
         sealed payloads freed                     {swept}\n"
    ))
}

async fn reached(attached: &Attached, lead: &mut Option<Lead>, name: &str) -> Result<Position, ProcessError> {
    Ok(Position(match lead {
        Some(lead) => lead.checkpoint().await?,
        None => attached.leads.checkpoint(name).await?,
    }))
}

async fn save(lead: &mut Option<Lead>, reached: Position) -> Result<(), ProcessError> {
    if let Some(lead) = lead {
        lead.save_position(reached).await?;
    }
    Ok(())
}

async fn resign(lead: Option<Lead>) {
    if let Some(lead) = lead {
        lead.resign().await;
    }
}

/// What there is to do, for people.
fn text(ahead: &Ahead) -> String {
    let Ahead { due, ends, deletions } = ahead;
    let line = |what: &str, count: usize, names: Vec<String>| {
        let more = if count > SHOWN { " ..." } else { "" };
        let names = names.into_iter().take(SHOWN).collect::<Vec<_>>().join(" ");
        let names = if names.is_empty() { names } else { format!("  {names}{more}") };
        format!("{what:<41} {count}{names}\n")
    };
    let names = |of: &[be8_events::Day]| of.iter().map(ToString::to_string).collect();
    [
        "Nothing was done. To be done now:\n".to_owned(),
        line(
            "accounts to be removed, their time over",
            due.accounts.len(),
            due.accounts.iter().map(ToString::to_string).collect(),
        ),
        line("removals and ends of groups to follow", *ends, Vec::new()),
        line("days whose messages are to be erased", due.days.len(), names(&due.days)),
        line("partitions to be dropped", due.partitions.len(), names(&due.partitions)),
        line(
            "names of destroyed groups to be erased",
            due.group_names.len(),
            due.group_names.iter().map(|(_, group)| group.to_string()).collect(),
        ),
        line("deletions of keys to be swept", *deletions, Vec::new()),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ahead_is_reported() {
        let accounts = (10_001..10_030).map(|n| be8_events::AccId::new(n).unwrap()).collect();
        let day = "2026-10-23".parse().unwrap();
        let group_names = vec![(Position(7), "g10001".parse().unwrap())];
        let due = Due { accounts, days: vec![day], partitions: vec![], group_names };
        insta::assert_snapshot!(text(&Ahead { due, ends: 2, deletions: 3 }));
    }
}
