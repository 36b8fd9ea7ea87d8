//! What the operating system allows, counted before the first socket.

use std::{fs, path::PathBuf};

/// epoll, a copy of it, and an event descriptor of the client's runtime, and its socket.
const DESCRIPTORS_PER_CLIENT: u64 = 4;

/// For standard streams that are opened late, name look-ups and log files.
const SPARE_DESCRIPTORS: u64 = 16;

/// A thread's stack and its signal stack, each with a guard.
const MAPPINGS_PER_THREAD: u64 = 4;

/// What there is not enough of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// File descriptors of this process (`ulimit -n`); the soft limit is raised to the hard one.
    Descriptors,
    /// Threads: the least of what the kernel's limits (`threads-max`, `pid_max`, and
    /// `max_map_count` at four mappings a thread) and the control group's `pids.max` leave.
    Threads,
}

impl Resource {
    /// Where its limit is set.
    pub(crate) fn to_raise(self) -> &'static str {
        match self {
            Self::Descriptors => "raise the limit (`ulimit -n`, or LimitNOFILE= of a service)",
            Self::Threads => "raise the limit (`ulimit -u`, or TasksMax= of a service)",
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "file descriptors",
            Self::Threads => "threads",
        })
    }
}

/// More is needed than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) resource: Resource,
    pub(crate) needed: u64,
    pub(crate) available: u64,
}

/// Checks that a fleet fits, and raises the soft limit of descriptors where that makes it fit.
pub(crate) fn check(clients: u64, other_threads: u64) -> Result<(), Shortage> {
    check_descriptors(clients)?;
    let needed = clients + other_threads;
    match available_threads() {
        Some(available) if available < needed => Err(Shortage {
            resource: Resource::Threads,
            needed,
            available,
        }),
        _ => Ok(()),
    }
}

fn check_descriptors(clients: u64) -> Result<(), Shortage> {
    let Ok((soft, _hard)) = rlimit::Resource::NOFILE.get() else {
        // No such limit on this system.
        return Ok(());
    };
    let open = fs::read_dir("/proc/self/fd").map_or(SPARE_DESCRIPTORS, |open| open.count() as u64);
    let needed = clients * DESCRIPTORS_PER_CLIENT;
    let reserved = open + SPARE_DESCRIPTORS;
    let limit = match soft.checked_sub(reserved) {
        Some(free) if free >= needed => soft,
        _ => rlimit::increase_nofile_limit(u64::MAX).unwrap_or(soft),
    };
    let available = limit.saturating_sub(reserved);
    if available < needed {
        return Err(Shortage {
            resource: Resource::Descriptors,
            needed,
            available,
        });
    }
    Ok(())
}

/// The least of the limits that this system shows; `None` where it shows none.
fn available_threads() -> Option<u64> {
    let running = fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count() as u64);
    let own = |limit: u64| limit.saturating_sub(running);
    let kernel = ["/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"]
        .into_iter()
        .filter_map(number_in)
        .map(own)
        .min();
    let mappings = number_in("/proc/sys/vm/max_map_count").map(|maps| {
        let used = fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
        maps.saturating_sub(used as u64) / MAPPINGS_PER_THREAD
    });
    [kernel, mappings, control_group()]
        .into_iter()
        .flatten()
        .min()
}

/// What is left of `pids.max` of this process's control group and of all above it: containers
/// and systemd's `TasksMax` bind here.
fn control_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| {
        let (_id, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            "pids" => "/sys/fs/cgroup/pids",
            _ => return None,
        };
        Some(PathBuf::from(format!("{root}{path}")))
    })?;
    path.ancestors()
        .take_while(|group| group.starts_with("/sys/fs/cgroup"))
        .filter_map(|group| {
            let limit = number_in(group.join("pids.max"))?;
            let used = number_in(group.join("pids.current")).unwrap_or(0);
            Some(limit.saturating_sub(used))
        })
        .min()
}

/// The number in a file; `None` also for the word `max`.
fn number_in(file: impl AsRef<std::path::Path>) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fleet_fits_and_an_absurd_one_does_not() {
        assert_eq!(check(2, 1), Ok(()));
        let shortage = check(100_000_000, 0).unwrap_err();
        assert_eq!(shortage.resource, Resource::Descriptors);
        assert_eq!(shortage.needed, 400_000_000);
        assert!(shortage.available > 0);
    }
}
