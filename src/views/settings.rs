//! How much views keep, as it is set.

use std::time::Duration;

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

impl ViewSettings {
    /// What is set, `text` being the value of a setting; none: there are to be no views. `memory` is that of the machine.
    ///
    /// # Errors
    /// The name of a setting that cannot be used, and what is wrong with it.
    pub fn new<'a>(
        text: impl Fn(&'static str) -> Option<&'a str>,
        memory: Option<u64>,
        test_mode: bool,
    ) -> Result<Option<Self>, (&'static str, String)> {
        match text("views") {
            Some("off") => return Ok(None),
            Some("on") | None => {}
            Some(other) => return Err(("views", format!("{other:?} is neither on nor off"))),
        }
        let budget = match text("view-memory-mib") {
            None => sixteenth(memory),
            Some(text) => {
                let mib = text.parse::<u32>().ok().filter(|mib| *mib > 0);
                mib.ok_or_else(|| ("view-memory-mib", format!("{text:?} is out of range")))? as usize * (1 << 20)
            }
        };
        let bad = |what: &str| ("test-views", what.to_owned());
        let Some(test) = text("test-views") else { return Ok(Some(Self { budget, ..Self::default() })) };
        if !test_mode {
            return Err(bad("only with test-mode"));
        }
        let numbers: Vec<u32> = test.split(',').filter_map(|number| number.parse().ok()).collect();
        let [budget, tail, delay] = numbers[..] else { return Err(bad("not three numbers")) };
        let delay = Duration::from_millis(u64::from(delay));
        Ok(Some(Self { budget: budget as usize, tail: tail as usize, delay }))
    }
}

/// A sixteenth of the memory, within bounds: PostgreSQL takes four times as much of a machine of its own.
fn sixteenth(memory: Option<u64>) -> usize {
    memory.and_then(|bytes| usize::try_from(bytes / 16).ok()).unwrap_or(0).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_take_a_sixteenth_of_the_memory_within_bounds() {
        let gib = |n: u64| Some(n << 30);
        let mib = [None, gib(0), gib(1), gib(16), gib(1024)].map(|memory| sixteenth(memory) >> 20);
        assert_eq!(mib, [32, 32, 64, 1024, 2048]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let read = |given: &[(&'static str, &'static str)], test_mode: bool| {
            let text = |name| given.iter().find(|(of, _)| *of == name).map(|(_, text)| *text);
            ViewSettings::new(text, Some(1 << 34), test_mode).map_err(|(name, _)| name)
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
