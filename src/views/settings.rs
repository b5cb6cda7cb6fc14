//! How much views keep, as it is set.

use std::time::Duration;

use crate::settings::{BadValue, either, mebibytes, optional, settings};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewSettings {
    /// The bytes of all entries.
    pub budget: usize,
    /// How many of the newest events are kept, for what is loaded meanwhile.
    pub tail: usize,
    /// How much later than it came a batch is folded, in tests.
    pub delay: Duration,
}

impl Default for ViewSettings {
    fn default() -> Self {
        Self { budget: LEAST, tail: 4096, delay: Duration::ZERO }
    }
}

/// The least and the most memory if none is set.
const LEAST: usize = 32 << 20;
const MOST: usize = 2048 << 20;

settings! {
    /// What is set of views.
    #[derive(Debug, Clone, Copy)]
    pub struct ViewFlags {
        on: bool = either("on", "off"), "views", "on|off", "on", "Answers reads from memory, exact at the position of the log that a read asks for; off: from PostgreSQL";
        mebibytes: Option<usize> = optional(mebibytes), "view-memory-mib", "MIB", "", "Memory for that; a sixteenth of the machine's, from 32 to 2048";
        test: Option<ViewSettings> = optional(for_tests), "test-views", "BYTES,EVENTS,MILLISECONDS", "", "Views of so many bytes, which keep so many of the newest events and follow the log so much later, for tests; refused without test-mode";
    }
}

impl ViewFlags {
    /// How much is kept on a machine with this memory; none: there are to be no views.
    ///
    /// # Errors
    /// What is for tests only, without `test_mode`.
    pub fn settings(&self, memory: Option<u64>, test_mode: bool) -> Result<Option<ViewSettings>, BadValue> {
        if self.test.is_some() && !test_mode {
            return Err(BadValue { name: "test-views", what: "only with test-mode".to_owned() });
        }
        let set =
            ViewSettings { budget: self.mebibytes.unwrap_or_else(|| sixteenth(memory)), ..ViewSettings::default() };
        Ok(self.on.then(|| self.test.unwrap_or(set)))
    }
}

/// Bytes, events and milliseconds.
fn for_tests(text: Option<&str>) -> Result<ViewSettings, String> {
    let numbers: Vec<u32> = text.unwrap_or_default().split(',').filter_map(|number| number.parse().ok()).collect();
    let [budget, tail, delay] = numbers[..] else { return Err("not three numbers".to_owned()) };
    Ok(ViewSettings { budget: budget as usize, tail: tail as usize, delay: Duration::from_millis(delay.into()) })
}

/// A sixteenth of the memory, within bounds: PostgreSQL takes four times as much of a machine of its own.
fn sixteenth(memory: Option<u64>) -> usize {
    memory.and_then(|bytes| usize::try_from(bytes / 16).ok()).unwrap_or(0).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Values;

    #[test]
    fn views_take_a_sixteenth_of_the_memory_within_bounds() {
        let gib = |n: u64| Some(n << 30);
        let mib = [None, gib(0), gib(1), gib(16), gib(1024)].map(|memory| sixteenth(memory) >> 20);
        assert_eq!(mib, [32, 32, 64, 1024, 2048]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let read = |given: &[(&'static str, &'static str)], test_mode: bool| {
            let given = given.iter().map(|(name, text)| (*name, (*text).to_owned()));
            let flags = ViewFlags::read(&Values::from_iter(given));
            flags.and_then(|flags| flags.settings(Some(1 << 34), test_mode)).map_err(|bad| bad.name)
        };
        assert_eq!(read(&[("views", "off")], false), Ok(None));
        assert_eq!(read(&[], false).unwrap().unwrap().budget, 1 << 30);
        assert_eq!(read(&[("view-memory-mib", "5")], false).unwrap().unwrap().budget, 5 << 20);
        let tiny = ViewSettings { budget: 100, tail: 1, delay: Duration::from_millis(7) };
        assert_eq!(read(&[("test-views", "100,1,7")], true), Ok(Some(tiny)));
        for (name, text) in [("views", "yes"), ("view-memory-mib", "0"), ("view-memory-mib", "x"), ("test-views", "1")]
        {
            assert_eq!(read(&[(name, text)], true), Err(name), "{text}");
        }
        assert_eq!(read(&[("test-views", "1,2,3")], false), Err("test-views"));
    }
}
