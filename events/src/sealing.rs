//! Under which keys the secret part of an event is sealed.

#[cfg(doc)]
use crate::Sealed;
use crate::{AccId, Day, StayNo, Subject, ThreadId};

/// Under which key or keys a secret payload is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// Under the key of one subject; kept until that is erased.
    Lasting(Subject),
    /// Under a key derived from three: the author's account, the stay, and the day of the event.
    Message {
        /// Who wrote.
        author: AccId,
        /// The thread.
        thread: ThreadId,
        /// Which of the author's stays in it.
        stay: StayNo,
    },
}

impl Sealing {
    /// The subjects whose keys are needed, in the order in which [`Sealed::keys`] names them.
    ///
    /// ```
    /// use be8_events::{AccId, Sealing, Subject, ThreadId};
    ///
    /// let author = AccId::new(10_001).unwrap();
    /// let thread: ThreadId = "10001:10002".parse().unwrap();
    /// let today = "2026-11-23".parse().unwrap();
    /// let names = |sealing: Sealing| sealing.subjects(today).iter().map(Subject::to_string).collect::<Vec<_>>();
    /// assert_eq!(names(Sealing::Lasting(Subject::PublicKey(author))), ["public-key/10001"]);
    /// assert_eq!(
    ///     names(Sealing::Message { author, thread, stay: 1 }),
    ///     ["account/10001", "stay/10001:10002/10001/1", "day/2026-11-23"]
    /// );
    /// ```
    pub fn subjects(self, day: Day) -> Vec<Subject> {
        match self {
            Self::Lasting(subject) => vec![subject],
            Self::Message { author, thread, stay } => {
                vec![Subject::Account(author), Subject::Stay { thread, author, stay }, Subject::Day(day)]
            }
        }
    }
}
