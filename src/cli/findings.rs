//! `be8 findings`: what is wrong in a group's history.

use clap::ArgMatches;

use super::columns::{Cell, Tone, coloured, table};
use super::{named_group, print};
use crate::audit::{AuditError, Finding, Point, Visibility, findings, state_at};
use crate::config::Config;
use crate::json::findings::Finding as FindingJson;
use crate::ledger::Log;
use crate::node::Database;
use crate::support::clock::{Clock, SystemClock};

/// Prints the findings of the named group.
///
/// # Errors
/// One line for people.
pub async fn run(config: Config, matches: &ArgMatches) -> Result<(), String> {
    let (group, json) = named_group(matches)?;
    let database = Database::open_to_read(&config).await.map_err(|error| error.to_string())?;
    let log = Log::new(database.reader(&config));
    let now = SystemClock.now();
    let found = async {
        let state = state_at(&log, group, Point::Time(now)).await?;
        Ok::<_, AuditError>((state.is_some(), findings(&log, group, &Visibility::Everything, now).await?))
    };
    let found = found.await;
    database.close().await;
    let (exists, found) = found.map_err(|error| error.to_string())?;
    if !exists {
        return Err(format!("there is no group {group}"));
    }
    if json {
        for finding in &found {
            let line = serde_json::to_string(&FindingJson::from(finding)).map_err(|error| error.to_string())?;
            print(&format!("{line}\n"));
        }
    } else {
        print(&text(&found, coloured()));
    }
    Ok(())
}

/// Findings as a table.
pub(super) fn text(findings: &[Finding], colour: bool) -> String {
    if findings.is_empty() {
        return "No findings.\n".to_owned();
    }
    let rows: Vec<Vec<Cell>> = findings
        .iter()
        .map(|finding| {
            let mut details = vec![format!("version {}", finding.version)];
            details.extend(finding.knowledge.map(|knowledge| knowledge.name().to_owned()));
            details.extend(finding.messages.map(|messages| format!("{messages} messages")));
            let until = match (finding.until, finding.rule.lasts()) {
                (Some(position), _) => position.to_string(),
                (None, true) => "open".to_owned(),
                (None, false) => "-".to_owned(),
            };
            let proof: Vec<String> = finding.proof.iter().map(ToString::to_string).collect();
            vec![
                (finding.rule.name().to_owned(), Tone::Bad),
                (finding.account.to_string(), Tone::Strong),
                (finding.from.to_string(), Tone::Plain),
                (until, Tone::Plain),
                (finding.since.to_string(), Tone::Quiet),
                (details.join(", "), Tone::Plain),
                (proof.join(" "), Tone::Quiet),
            ]
        })
        .collect();
    table(&["FINDING", "ACCOUNT", "FROM", "UNTIL", "SINCE", "DETAILS", "PROOF"], &rows, colour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::sample_findings;

    #[test]
    fn findings_are_a_table() {
        insta::assert_snapshot!(text(&sample_findings(), false));
    }

    #[test]
    fn no_findings_are_said() {
        assert_eq!(text(&[], false), "No findings.\n");
    }
}
