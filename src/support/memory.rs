//! How much memory there is: of the machine, or of the control group that the process is confined
//! to, whichever is less.
//!
//! Not `sysinfo`: a large crate for a few files to read, and what a control group keeps of files has to count as free.

/// The bytes that can be had now without hurting anybody; none if that cannot be found out.
pub fn available() -> Option<u64> {
    let group = || group_room(&group("max")?, &group("current")?, &group("stat")?);
    [machine("MemAvailable:"), group()].into_iter().flatten().min()
}

/// The bytes that there are in all; none if that cannot be found out.
pub fn total() -> Option<u64> {
    let group = || group("max")?.trim().parse().ok();
    [machine("MemTotal:"), group()].into_iter().flatten().min()
}

fn machine(name: &str) -> Option<u64> {
    field(&std::fs::read_to_string("/proc/meminfo").ok()?, name)?.checked_mul(1024)
}

/// A file of a control group, version 2.
fn group(name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok()
}

/// What a control group may still take. What it keeps of files goes when it is needed.
fn group_room(max: &str, current: &str, stat: &str) -> Option<u64> {
    let (max, current): (u64, u64) = (max.trim().parse().ok()?, current.trim().parse().ok()?);
    let files = field(stat, "inactive_file").unwrap_or(0) + field(stat, "active_file").unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(files)))
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(char::is_whitespace))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_can_be_had() {
        let text = "MemTotal:       24682548 kB\nMemFree:         1000 kB\nMemAvailable:   23173000 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(23_173_000));
        assert_eq!(field(text, "MemAvail"), None);
        let stat = "anon 700\nfile 300\ninactive_file 100\nactive_file 150\n";
        assert_eq!(group_room("2000\n", "1000\n", stat), Some(1250));
        assert_eq!(group_room("500\n", "1000\n", stat), Some(0));
        assert_eq!(group_room("max\n", "1000\n", stat), None);
    }

    #[test]
    fn this_machine_has_some() {
        let (available, total) = (available().unwrap(), total().unwrap());
        assert!(0 < available && available <= total, "{available} of {total}");
    }
}
