//! Random commands in groups against a model that is too simple to be wrong: verdicts, members, versions, keys, and who
//! may read which message.

mod history;
mod model;

use std::collections::{BTreeMap, BTreeSet};

use be8_events::group::{Access, GroupKeySecret, GroupSecret};
use be8_events::message::MessageSecret;
use be8_events::{GroupId, MessageNo, Secret, Subject};
use proptest::prelude::*;

use super::super::group::{AddMember, CreateGroup, DestroyGroup, JoinGroup, KickMember, LeaveGroup};
use super::super::group_keys::{AllocateVersion, StoreKey};
use super::super::message::{NamedVersion, Receiver, WriteMessage};
use super::*;
use history::History;
use model::{Key, Model, ModelGroup};

/// The accounts; the last one does not exist.
const ACCOUNTS: std::ops::Range<i64> = 10_001..10_007;
/// The groups that there may be.
const GROUPS: std::ops::Range<i64> = 10_001..10_005;

/// What somebody does. Accounts and groups are named by small numbers, some of which do not exist.
#[derive(Debug, Clone, Copy)]
enum Step {
    Create { private: bool, capacity: u32 },
    Join,
    Add { whom: i64 },
    Leave,
    Kick { whom: i64 },
    Destroy,
    Allocate,
    Store { whom: i64, keyholder: i64, key: u8 },
    Rekey,
    Write { version: Option<u32> },
}

/// A step of somebody in a group.
type Steps = Vec<(i64, i64, Step)>;

fn steps() -> impl Strategy<Value = Steps> {
    let one = || ACCOUNTS;
    let step = prop_oneof![
        2 => (any::<bool>(), 1..5u32).prop_map(|(private, capacity)| Step::Create { private, capacity }),
        8 => Just(Step::Join),
        6 => one().prop_map(|whom| Step::Add { whom }),
        4 => Just(Step::Leave),
        4 => one().prop_map(|whom| Step::Kick { whom }),
        1 => Just(Step::Destroy),
        4 => Just(Step::Allocate),
        8 => (one(), one(), 0..3u8).prop_map(|(whom, keyholder, key)| Step::Store { whom, keyholder, key }),
        4 => Just(Step::Rekey),
        8 => prop::option::of(0..6u32).prop_map(|version| Step::Write { version }),
    ];
    // Mostly in the first group, so that it lives an eventful life.
    let group = prop_oneof![6 => Just(GROUPS.start), 1 => GROUPS];
    // The first is the admin of most groups: the one whose commands come through.
    let who = prop_oneof![2 => Just(ACCOUNTS.start), 3 => ACCOUNTS];
    prop::collection::vec((who, group, step), 1..150)
}

fn exists(account: i64) -> bool {
    account < ACCOUNTS.end - 1
}

/// Both worlds side by side.
struct Both {
    world: World,
    model: Model,
    history: History,
}

fn secret(key: u8) -> String {
    format!("wrapped key {key}")
}

impl Both {
    fn new() -> Self {
        let mut world = World::new();
        for account in ACCOUNTS.filter(|account| exists(*account)) {
            world.account(account);
        }
        Self { world, model: Model::default(), history: History::default() }
    }

    /// Executes a command, compares its verdict with the expected one, and lets it happen.
    fn execute<C: Command<Reply: Debug + PartialEq>>(&mut self, command: &C, expected: Result<C::Reply, Rejection>) {
        let decision = self.world.when(command);
        assert_eq!(decision.as_ref().map(|d| &d.reply).map_err(|r| *r), expected.as_ref().map_err(|r| *r));
        let Ok(Decision { events, erase, .. }) = decision else { return };
        for new in &events {
            self.history.record(new.stream, &new.event);
        }
        for (subject, _) in erase {
            assert!(self.history.erased.insert(subject), "{subject} twice");
        }
        self.world.happen(events);
    }

    fn step(&mut self, who: i64, number: i64, step: Step) {
        let session = Some(token(who));
        let group = GroupId::new(number);
        match step {
            Step::Create { .. } if self.model.groups.len() as i64 >= GROUPS.end - GROUPS.start - 1 => {}
            Step::Create { private, capacity } => {
                let number = self.world.groups + 1;
                let name = Some(Secret::new(GroupSecret { name: "n".to_owned() }));
                let access = Some(if private { Access::Private } else { Access::Public });
                let expected =
                    if exists(who) { Ok(GroupId::new(number).unwrap()) } else { Err(Rejection::NotAuthenticated) };
                if expected.is_ok() {
                    let new = ModelGroup {
                        admin: who,
                        private,
                        capacity: capacity as usize,
                        members: BTreeSet::from([who]),
                        listed: BTreeSet::new(),
                        said: Vec::new(),
                        versions: Vec::new(),
                        mine: BTreeMap::new(),
                    };
                    self.model.groups.insert(number, Some(new));
                }
                self.execute(&CreateGroup { session, name, access, capacity }, expected);
            }
            Step::Join => {
                let expected = self.speaks(who).and_then(|()| self.model.join(who, number));
                self.execute(&JoinGroup { session, group }, expected);
            }
            Step::Add { whom } => {
                let expected = self.speaks(who).and_then(|()| self.model.add(who, number, whom));
                self.execute(&AddMember { session, group, member: Some(id(whom)) }, expected);
            }
            Step::Leave => {
                let expected = self.speaks(who).and_then(|()| self.model.leave(who, number));
                self.execute(&LeaveGroup { session, group }, expected);
            }
            Step::Kick { whom } => {
                let expected = self.speaks(who).and_then(|()| self.model.kick(who, number, whom));
                self.execute(&KickMember { session, group, member: Some(id(whom)) }, expected);
            }
            Step::Destroy => {
                let expected = self.speaks(who).and_then(|()| self.model.destroy(who, number));
                self.execute(&DestroyGroup { session, group }, expected);
            }
            Step::Allocate => {
                self.allocate(who, number);
            }
            Step::Store { whom, keyholder, key } => self.store(who, number, whom, keyholder, key),
            Step::Rekey => {
                if !self.allocate(who, number) {
                    return;
                }
                let members = self.model.group(number).unwrap().members.clone();
                for whom in members {
                    self.store(who, number, whom, who, 9);
                }
            }
            Step::Write { version } => {
                let expected = self.speaks(who).and_then(|()| self.model.write(who, number, version));
                let thread = ThreadId::Group(group.unwrap());
                let content = MessageSecret { text: "t".to_owned(), iv: None, kind: None, endless: None };
                let command = WriteMessage {
                    session,
                    receiver: group.map(Receiver::Group),
                    sender: Some(id(who)),
                    thread: Some(thread),
                    version: version
                        .map_or(NamedVersion::Absent, |version| NamedVersion::Version(group.unwrap(), version)),
                    content: Ok(Secret::new(content)),
                };
                self.execute(&command, expected.map(|no| (thread, no)));
            }
        }
    }

    fn speaks(&self, who: i64) -> Result<(), Rejection> {
        if exists(who) { Ok(()) } else { Err(Rejection::NotAuthenticated) }
    }

    fn allocate(&mut self, who: i64, number: i64) -> bool {
        let of_member = self.speaks(who).and_then(|()| self.model.of_member(who, number));
        let expected = of_member.map(|group| group.allocate(who) as u32);
        let taken = expected.is_ok();
        self.execute(&AllocateVersion { session: Some(token(who)), group: GroupId::new(number) }, expected);
        taken
    }

    fn store(&mut self, who: i64, number: i64, whom: i64, keyholder: i64, key: u8) {
        let stored = self.speaks(who).and_then(|()| self.model.store(who, number, whom, keyholder, key));
        let command = StoreKey {
            session: Some(token(who)),
            group: GroupId::new(number),
            account: Some(id(whom)),
            keyholder: Some(id(keyholder)),
            key: Some(Secret::new(GroupKeySecret { key: secret(key), iv: None })),
        };
        self.execute(&command, stored.map(|version| version as u32));
    }

    /// States and events say what the model says.
    fn agree(&mut self) {
        for (number, model) in &self.model.groups {
            let group = GroupId::new(*number).unwrap();
            let view = self.world.view();
            let state = view.group(group).unwrap();
            assert_eq!(state.lives(), model.is_some());
            let Some(model) = model else {
                assert_eq!(state.members().count(), 0);
                // All that was written is erased with the keys of all stays, and so are the wrapped keys.
                let stays = self.history.messages.range((group, 0)..=(group, MessageNo::MAX)).filter_map(|(_, by)| *by);
                for (author, stay) in stays {
                    let stay = Subject::Stay { thread: ThreadId::Group(group), author, stay };
                    assert!(self.history.erased.contains(&stay), "{stay} outlives the group");
                }
                assert!(self.history.erased.contains(&Subject::GroupKeys(group)));
                continue;
            };
            assert_eq!(state.members().collect::<Vec<_>>(), model.members.iter().copied().map(id).collect::<Vec<_>>());
            assert!(state.members().count() <= model.capacity);
            assert_eq!(state.version().unwrap_or(0) as usize, model.versions.len());
            let said = self.history.messages.range((group, 0)..=(group, MessageNo::MAX));
            assert_eq!(
                said.map(|((_, no), _)| *no as usize).collect::<Vec<_>>(),
                (1..=model.said.len()).collect::<Vec<_>>()
            );
            for (no, said) in (1..).zip(&model.said) {
                let author = self.history.messages[&(group, no)];
                assert_eq!(author.map(|(author, _)| author), said.sender.map(id));
                let removed = author.is_some_and(|(author, stay)| {
                    self.history.erased.contains(&Subject::Stay { thread: ThreadId::Group(group), author, stay })
                });
                assert_eq!(removed, said.removed, "message {no}");
                for account in ACCOUNTS {
                    let sees = self.history.sees(group, id(account), no);
                    assert_eq!(sees, said.audience.contains(&account), "message {no} of {group} to {account}");
                }
            }
            for (version, taken) in (1..).zip(&model.versions) {
                assert_eq!(self.history.allocated[&(group, version)], id(taken.by));
                let stored = self.history.keys.range((group, version, id(1))..(group, version + 1, id(1)));
                let stored: Vec<_> = stored.map(|((_, _, account), key)| (*account, *key)).collect();
                let fingerprint = |key: &Key| (Hash32::sha256(secret(key.key).as_bytes()), id(key.keyholder));
                let expected = taken.keys.iter().map(|(account, key)| (id(*account), fingerprint(key)));
                assert_eq!(stored, expected.collect::<Vec<_>>(), "keys of version {version}");
            }
        }
        for (state, _) in self.world.states.values() {
            let stored = serde_json::to_vec(state).unwrap();
            assert_eq!(&serde_json::from_slice::<State>(&stored).unwrap(), state, "what a snapshot keeps is the state");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn groups_do_what_the_model_does(steps in steps()) {
        let mut both = Both::new();
        // There is always a group to live in.
        both.step(ACCOUNTS.start, GROUPS.start, Step::Create { private: false, capacity: 4 });
        for (who, group, step) in steps {
            both.step(who, group, step);
            both.agree();
        }
    }
}
