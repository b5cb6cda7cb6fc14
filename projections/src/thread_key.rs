//! The key of a thread in SQL: the names of what `ThreadId::key` packs into one number. No other file takes a key apart.

use be8_events::{AccId, GroupId, ThreadId};

use crate::{ReadError, rows};

/// The key of a thread as an SQL expression, such as the column `t.id`. What follows from it are expressions, too, which an index
/// is used for like for any value that is known.
///
/// ```
/// use be8_projections::ThreadKey;
///
/// let key = ThreadKey("t.id");
/// assert_eq!(
///     format!("join groups g on g.id = {}", key.group()),
///     "join groups g on g.id = case when (t.id < 0 and t.id % 2 = 0) then -t.id / 2 end",
/// );
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ThreadKey<'s>(pub &'s str);

impl ThreadKey<'_> {
    /// The key of the thread of a group, from the group's number.
    pub fn of_group(group: &str) -> String {
        format!("(-2 * {group})")
    }

    /// Whether it is a dialog.
    pub fn is_dialog(self) -> String {
        format!("({} > 0)", self.0)
    }

    /// Whether it is the thread of a group.
    pub fn is_group(self) -> String {
        format!("({0} < 0 and {0} % 2 = 0)", self.0)
    }

    /// The number of the group; null if it is none of a group.
    pub fn group(self) -> String {
        format!("case when {} then -{} / 2 end", self.is_group(), self.0)
    }

    /// The number of the other account of a dialog that `account` takes part in; null if it is no dialog.
    pub fn partner(self, account: &str) -> String {
        let (smaller, larger) = (format!("{} >> 31", self.0), format!("{} & {}", self.0, AccId::MAX));
        format!(
            "case when not {} then null when {smaller} = {account} then {larger} else {smaller} end",
            self.is_dialog()
        )
    }
}

/// A thread from its key and, for a dialog, who began it.
pub(crate) fn thread_id(key: i64, initiator: Option<i64>) -> Result<ThreadId, ReadError> {
    let damaged = ReadError::Damaged("key of a thread");
    if key < 0 {
        let number = -(key / 2);
        return if key % 2 == 0 {
            GroupId::new(number).map(ThreadId::Group).ok_or(damaged)
        } else {
            rows::account(number).map(ThreadId::System)
        };
    }
    let (smaller, larger) = (key >> 31, key & i64::from(AccId::MAX));
    let initiator = initiator.ok_or(damaged)?;
    let receiver = if initiator == smaller { larger } else { smaller };
    Ok(ThreadId::Dialog { initiator: rows::account(initiator)?, receiver: rows::account(receiver)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_known_again_by_their_keys() {
        for name in ["10001:10002", "10002:10001", "g10001", "10001:s1", "1:2147483647"] {
            let thread: ThreadId = name.parse().unwrap();
            let initiator = match thread {
                ThreadId::Dialog { initiator, .. } => Some(initiator.number()),
                ThreadId::Group(_) | ThreadId::System(_) => None,
            };
            assert_eq!(thread_id(thread.key(), initiator).unwrap(), thread);
        }
        assert!(thread_id(5, None).is_err());
    }
}
