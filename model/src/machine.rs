//! What this process may use of the machine.

use std::path::Path;

/// Bytes of memory: the machine's, or fewer where a control group (version 2) that the process is in allows fewer. `None`
/// where the system does not say.
pub fn memory_bytes() -> Option<u64> {
    let total = of_machine(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    // Systems without control groups have no such file; theirs is the machine's.
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(least_allowed(Path::new("/sys/fs/cgroup"), &groups).map_or(total, |allowed| allowed.min(total)))
}

fn of_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The least that the group of a process, or one around it, allows; `max` is no limit.
fn least_allowed(root: &Path, groups: &str) -> Option<u64> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = root.join(group);
    let around = folder.ancestors().take_while(|folder| folder.starts_with(root));
    around.filter_map(|folder| std::fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_machines_unless_a_group_allows_less() {
        assert_eq!(of_machine("MemFree: 1 kB\nMemTotal:       24595076 kB\n"), Some(24_595_076 * 1024));
        assert_eq!(of_machine("MemFree: 1 kB\n"), None);

        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("jobs/one");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(least_allowed(root.path(), "4:memory:/x\n0::/jobs/one\n"), None);
        std::fs::write(root.path().join("jobs/memory.max"), "4096\n").unwrap();
        assert_eq!(least_allowed(root.path(), "0::/jobs/one\n"), Some(4_096));
        std::fs::write(inner.join("memory.max"), "1024\n").unwrap();
        assert_eq!(least_allowed(root.path(), "0::/jobs/one\n"), Some(1_024));
        assert_eq!(least_allowed(root.path(), "4:memory:/jobs/one\n"), None);
        assert!(memory_bytes().is_none_or(|bytes| bytes > 0));
    }
}
