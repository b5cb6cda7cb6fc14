//! The blocks of commands on the pages of the project: each is run here, or says by what else, or what it would need.

use std::fs;
use std::path::Path;

use tokio::process::Command;

use crate::cluster::{fresh_database, passable_directory};
use crate::pages::{pages, read, root};
use crate::patience::in_the_end;

/// What a block that nothing runs may need.
const NEEDS: [&str; 6] = ["systemd", "containers", "build", "quiet", "release", "hand"];

/// A block of a page, between two fences.
struct Block {
    page: String,
    line: usize,
    language: String,
    /// What else stands behind the first fence.
    marks: Vec<String>,
    text: String,
}

/// The blocks of a page, also those in lists.
fn blocks(page: &str) -> Vec<Block> {
    let (text, mut found, mut open) = (read(page), Vec::new(), None::<(usize, Block)>);
    for (nth, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => {
                let mut words = info.split_whitespace().map(str::to_owned);
                let language = words.next().unwrap_or_default();
                let (page, marks) = (page.to_owned(), words.collect());
                let indent = line.len() - line.trim_start().len();
                open = Some((indent, Block { page, line: nth + 1, language, marks, text: String::new() }));
            }
            (Some(_), Some(_)) => found.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{page}: a block without an end");
    found
}

fn all_blocks() -> Vec<Block> {
    pages().iter().map(String::as_str).chain(["openapi/released/README.md"]).flat_map(blocks).collect()
}

/// What happens with some blocks. Each line of the script that begins with `@` stands for one block: `@PAGE WORDS` for the
/// block with these words to run, `@PAGE file=NAME` for a file to write. The words of blocks are exchanged in their order, and
/// all of them must be there to be exchanged.
struct Scene {
    name: &'static str,
    script: &'static str,
    words: &'static [(&'static str, &'static str)],
    /// What is printed in the end.
    prints: &'static [&'static str],
}

/// What all scripts begin with. A server listens where nobody else does, and ends with the shell.
const PRELUDE: &str = r#"
set -euo pipefail
be8() {
  if [ "$1" != serve ]; then "$PROGRAM" "$@"; return; fi
  shift
  : > "$HERE/served"
  setpriv --pdeathsig TERM "$PROGRAM" serve --listen 127.0.0.1:0 "$@" > "$HERE/served" 2>> "$HERE/log" &
  server=$!
  until BE8=$(sed -n 's/^ *listening *//p' "$HERE/served") && [ -n "$BE8" ] && curl -fsS -o ready "$BE8/readyz"; do
    kill -0 "$server"
    sleep 0.1
  done
}
stop() { kill "$server"; wait "$server"; server=; }
server=
ended() { local status=$?; [ -z "$server" ] || { kill "$server"; wait "$server"; } || true; exit "$status"; }
trap ended EXIT
"#;

const SCENES: &[Scene] = &[
    Scene {
        name: "the first conversation",
        script: "be8 serve\n@README.md /startconversation",
        words: &[],
        prints: &[
            "Anna is 10001, Ben is 10002",
            r#"{"valid":true,"threadID":"10001:10002"}"#,
            r#"{"valid":true,"messageID":"message:10001:10002:2"}"#,
            r#""text":"8t1Bq0cZ3mJrXw==","messageType":"text""#,
            r#""action":"newMessage""#,
        ],
    },
    Scene {
        name: "a history",
        script: r#"
be8 serve --checkpoint-interval 1
cd "$ROOT"
@docs/audit.md verify-bundle
newest=$(curl -sS "$BE8/metrics" | sed -n 's/^be8_log_position //p')
@docs/audit.md be8 history g10001
"#,
        words: &[
            ("2026-11-23T12:00:00Z", "$(date -u -d '+1 second' +%Y-%m-%dT%H:%M:%SZ)"),
            ("--at 118", "--at \"$newest\""),
        ],
        prints: &[
            "The bundle of g10001 for 10001 is whole and in the log.",
            "the key that you named",
            "No findings.",
            "MemberJoined",
            "refused, as it should be",
            "g10001 at position",
        ],
    },
    Scene {
        name: "a backup that starts again",
        script: r#"
database=$BE8_DATABASE_URL
unset BE8_DATABASE_URL BE8_DATA_DIR
export BE8_CHECKPOINT_INTERVAL=1 BE8_VAPID_SUBJECT=mailto:you@example.org
@docs/operations.md be8 serve --data-dir /var/lib/be8 --public-url
@README.md /startconversation
until [ -e "$HERE/be8/audit.key.head" ]; do sleep 0.1; done
be8 vapid --data-dir "$HERE/be8"
@docs/operations.md pg_dump -Fc
key=$(curl -sS "$BE8/audit/log/key")
stop
socket=${database#*host=}
socket=$(printf '%b' "$(printf %s "${socket%%&*}" | sed 's/%/\\x/g')")
@docs/operations.md pg_restore
for file in master.key audit.key vapid.key; do cmp "$HERE/be8/$file" "$HERE/be8-restored/$file"; done
[ "$key" = "$(curl -sS "$BE8/audit/log/key")" ]
echo "The key is chat.example.org/audit/log and no other: ${key%%+*}"
say anna /writemessage -d "{\"threadID\": \"$anna:$ben\", \"sender\": \"$anna\", \"receiver\": \"$ben\",
  \"messageType\": \"text\", \"text\": \"after the restore\"}"
echo "Read again: $(say ben /getmessages -d "{\"threadID\": \"$anna:$ben\"}")"
"#,
        words: &[
            ("postgres://ROLE@HOST/be8", "\"${database/test_+([0-9])/be8}\""),
            ("HOST", "\"$socket\""),
            ("ROLE", "be8"),
            ("/var/lib/be8", "$HERE/be8"),
        ],
        prints: &[
            "The key is chat.example.org/audit/log and no other: chat.example.org/audit/log\n",
            "\"messageID\":\"message:10001:10002:3\"",
            "Read again: ",
            "after the restore",
        ],
    },
    Scene {
        name: "an export and an import",
        script: r#"
be8 serve
@README.md /startconversation
stop
@docs/operations.md be8 export --with-vault
export BE8_DATABASE_URL=$OTHER_DATABASE_URL
be8 serve
echo "Read again: $(say ben /getmessages -d "{\"threadID\": \"$anna:$ben\"}")"
"#,
        words: &[("postgres://ROLE@HOST/be8", "\"$OTHER_DATABASE_URL\"")],
        prints: &["Read again: {\"valid\":true"],
    },
    Scene {
        name: "a key pair for pushes",
        script: "mkdir \"$HERE/be8\"\n@docs/operations.md be8 vapid\ncurl -fsS \"$BE8/readyz\"",
        words: &[("/var/lib/be8", "$HERE/be8")],
        prints: &[],
    },
    Scene {
        name: "tokens",
        script: r#"
@docs/operations.md file=tokens.toml
chmod 600 tokens.toml
export BE8_TOKENS_FILE=tokens.toml
be8 serve
token() { be8 token list --format json | grep -o '[0-9a-f]\{64\}' | head -n 1; }
@docs/operations.md be8 token add
echo "There are $(be8 token list --format json | wc -l) tokens."
"#,
        words: &[("3f9a52c077d1", "\"$(token | cut -c -12)\"")],
        prints: &["is revoked", "There are 53 tokens."],
    },
    Scene {
        name: "the rotating key",
        script: r#"
be8 serve
@README.md /startconversation
@docs/operations.md be8 vault rotate
echo "Read again: $(say ben /getmessages -d "{\"threadID\": \"$anna:$ben\"}")"
"#,
        words: &[],
        prints: &["older keys    kept", "older keys    destroyed", "Read again: {\"valid\":true"],
    },
    Scene {
        name: "the settings of the service",
        script: r#"
@docs/operations.md file=be8.toml
unset BE8_DATA_DIR
export BE8_CONFIG=be8.toml
be8 serve
be8 check --config be8.toml
cat "$HERE/served"
"#,
        words: &[("/var/lib/be8", "$HERE/be8")],
        prints: &["be8 0", "serves on https://chat.example.org"],
    },
    Scene {
        name: "two operators who watch each other",
        script: r#"
be8 audit-key --data-dir "$HERE/other" --public-url https://other.example --witness-key "$HERE/other/witness.key" > theirs
{
@docs/audit.md be8 audit-key
} > ours
cat ours
log=$(sed -n 1p theirs) witness=$(sed -n 2p theirs)
@docs/audit.md --witness-logs
cat "$HERE/served"
[ "$(sed -n 's/.*witness key *//p' "$HERE/served")" = "$(sed -n 2p ours)" ]
[ "$(sed -n 's/.*audit key *//p' "$HERE/served")" = "$(sed -n 1p ours)" ]
"#,
        words: &[
            ("'other.example/audit/log+...'", "\"$log\""),
            (
                "'https://other.example/audit/witness#other.example/audit/witness+...'",
                "http://127.0.0.1:9/#\"$witness\"",
            ),
            ("/var/lib/be8", "$HERE/be8"),
        ],
        prints: &["\nbe8.example/audit/witness+", "audit key     be8.example/audit/log+"],
    },
];

/// The block that a line of a script stands for.
fn named<'a>(blocks: &'a [Block], line: &str) -> &'a Block {
    let (page, words) = line.split_once(' ').expect("a page and words");
    let fits = |block: &&Block| {
        let (runs, of_the_page) = (block.marks == ["run"], block.page == page);
        of_the_page && (runs && block.text.contains(words) || block.marks == [words])
    };
    let found: Vec<&Block> = blocks.iter().filter(fits).collect();
    assert!(found.len() == 1, "{page}: {} blocks with {words:?}", found.len());
    found[0]
}

/// Runs a scene; answers what it printed.
async fn play(name: &str) {
    let scene = SCENES.iter().find(|scene| scene.name == name).expect("the scene");
    let (all, here) = (all_blocks(), passable_directory());
    let place = here.path().display().to_string();
    let mut unused: Vec<&str> = scene.words.iter().map(|(word, _)| *word).collect();
    let mut script = PRELUDE.to_owned();
    for line in scene.script.lines() {
        let Some(line) = line.strip_prefix('@') else {
            script.push_str(line);
            script.push('\n');
            continue;
        };
        let block = named(&all, line);
        let mut text = block.text.clone();
        for (word, instead) in scene.words {
            unused.retain(|other| other != word || !text.contains(word));
            text = text.replace(word, &instead.replace("$HERE", &place));
        }
        match block.marks[0].strip_prefix("file=") {
            Some(file) => fs::write(here.path().join(file), text).expect("a file of a page"),
            None => script.push_str(&text),
        }
    }
    assert!(unused.is_empty(), "{name}: no block has {unused:?}");
    let (database, other) = (fresh_database().await, fresh_database().await);
    let mut shell = Command::new("bash");
    shell.args(["-O", "extglob", "-c", &script]).current_dir(here.path()).kill_on_drop(true);
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    shell.env("PROGRAM", env!("CARGO_BIN_EXE_be8")).env("HERE", here.path()).env("TMPDIR", here.path());
    shell.env("ROOT", root()).env("OTHER_DATABASE_URL", &other.url).env("BE8_LOG", "warn");
    shell.env("BE8_DATABASE_URL", &database.url).env("BE8_DATA_DIR", here.path().join("be8"));
    let output = in_the_end(name, shell.output()).await.expect("bash");
    let said = String::from_utf8_lossy(&output.stdout);
    let log = fs::read_to_string(here.path().join("log")).unwrap_or_default();
    let everything = format!("{said}\n{}\n{log}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {everything}");
    for expected in scene.prints {
        assert!(said.contains(expected), "{name}: no {expected} in:\n{everything}");
    }
}

#[tokio::test]
async fn the_first_conversation_of_the_readme_works_as_it_stands() {
    play("the first conversation").await;
}

#[tokio::test]
async fn the_walk_through_of_the_audit_works_as_it_stands() {
    play("a history").await;
}

#[tokio::test]
async fn a_backup_as_the_page_makes_it_starts_again() {
    play("a backup that starts again").await;
}

#[tokio::test]
async fn an_export_as_the_page_makes_it_is_imported() {
    play("an export and an import").await;
}

#[tokio::test]
async fn the_other_commands_of_operators_work_as_they_stand() {
    for name in ["a key pair for pushes", "tokens", "the rotating key", "the settings of the service"] {
        play(name).await;
    }
}

#[tokio::test]
async fn the_keys_of_two_operators_have_their_names() {
    play("two operators who watch each other").await;
}

/// Why a block that is said to be kept true by these files is not.
fn kept_by(block: &Block, files: &str) -> Option<String> {
    let mut texts = String::new();
    for file in files.split(',') {
        if !root().join(file).is_file() {
            return Some(format!("there is no {file}"));
        }
        texts.push_str(&read(file));
    }
    if block.language != "sh" && texts.contains(&block.page) {
        return None;
    }
    let comment = if block.language == "sh" { " #" } else { " //" };
    let lines = block.text.lines().map(|line| line.split(comment).next().unwrap_or_default().trim());
    let missing: Vec<&str> = lines.filter(|line| !texts.contains(line)).collect();
    (!missing.is_empty()).then(|| format!("{files} has no {missing:?}"))
}

#[test]
fn every_block_runs_or_says_what_it_needs() {
    let all = all_blocks();
    let played: Vec<&Block> = SCENES
        .iter()
        .flat_map(|scene| scene.script.lines().filter_map(|line| line.strip_prefix('@')))
        .map(|line| named(&all, line))
        .collect();
    let is_played = |block: &Block| played.iter().any(|other| std::ptr::eq(*other, block));
    let mut wrong = Vec::new();
    for block in &all {
        let mark = match &block.marks[..] {
            [] if ["text", "mermaid"].contains(&block.language.as_str()) => continue,
            [mark] => mark.split_once('=').unwrap_or((mark, "")),
            marks => ("", if marks.is_empty() { "no mark" } else { "more than one mark" }),
        };
        let what = match mark {
            ("run", "") if !["sh", "bash"].contains(&block.language.as_str()) => Some("is nothing to run".to_owned()),
            ("run" | "file", _) if is_played(block) => None,
            ("run" | "file", _) => Some("is in no scene of tests/it/blocks.rs".to_owned()),
            ("by", files) => kept_by(block, files),
            ("needs", need) if NEEDS.contains(&need) => None,
            (mark, what) => Some(format!("{mark} {what}")),
        };
        wrong.extend(what.map(|what| format!("{}:{}: {what}", block.page, block.line)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all.len() > 30, "only {} blocks found", all.len());
    let tests = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file!())).expect("this file");
    for scene in SCENES {
        assert!(tests.matches(&format!("\"{}\"", scene.name)).count() > 1, "nobody plays {}", scene.name);
    }
}
