//! A group of the kernel's memory controller (cgroups, version 1 or 2), for one process each.
//!
//! 1. Which of the two versions has the controller, and where, stand in `/proc/self/mountinfo`; our own group in `/proc/self/cgroup`. Version 1 goes
//!    first: a controller belongs to one version at a time, and where both are mounted the second has none of memory.
//! 2. A new group is made below our own. Version 2 lets a group with processes in it hand no controller down, so there it is made below the nearest one
//!    above that does.
//! 3. The process that is to be limited writes itself into the group before it does anything else: all that it allocates and reads from then on is
//!    counted. What others have read before is not: [`measure::drop_cached`](crate::measure::drop_cached) sees to that.
//! 4. Counted are anonymous memory, the page cache of what the group read or wrote first, and what the kernel keeps for it (directory entries,
//!    page tables). There is no swap: the limit is also that of both together.
//! 5. When the process has ended, the group's peak and failures are read, and it is removed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Result;

/// Of the kernel's two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where groups with a limit of memory are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    version: Version,
    /// The uppermost group that can be seen.
    top: PathBuf,
    /// That of this process.
    own: PathBuf,
}

/// A limited group, removed when dropped.
#[derive(Debug)]
pub struct Group {
    dir: PathBuf,
    version: Version,
}

/// What a group used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The most at one time, in bytes.
    pub peak_bytes: u64,
    /// How often the limit was in the way: the kernel then took back what it could. None: this kernel does not count that, as it seems.
    pub limited: Option<u64>,
    /// Pages that were asked for where they are mapped, and had to be read from the disk.
    pub major_faults: u64,
    /// Processes that were killed since nothing could be taken back.
    pub kills: u64,
}

impl Group {
    /// A new one, in which at most so many bytes may be used.
    pub fn create(bytes: u64) -> Result<Group> {
        let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let made = read("/proc/self/mountinfo")
            .and_then(|mounts| Ok((mounts, read("/proc/self/cgroup")?)))
            .map_err(Into::into)
            .and_then(|(mounts, own)| place(&mounts, &own))
            .and_then(|place| Group::create_at(&place, bytes));
        made.map_err(|error| {
            format!("memory cannot be limited here: {error}. It needs root and the memory controller of cgroups, version 1 or 2").into()
        })
    }

    fn create_at(place: &Place, bytes: u64) -> Result<Group> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("kvs-versus-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let above = match place.version {
            Version::One if place.own.is_dir() => place.own.clone(),
            // The path is that of an outer namespace.
            Version::One => place.top.clone(),
            Version::Two => above_in_two(place)?,
        };
        let dir = above.join(name);
        std::fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let group = Group { dir, version: place.version };
        match group.version {
            Version::One => {
                group.write("memory.limit_in_bytes", &bytes.to_string())?;
                // Not where swap is not counted.
                if group.dir.join("memory.memsw.limit_in_bytes").exists() {
                    group.write("memory.memsw.limit_in_bytes", &bytes.to_string())?;
                }
            }
            Version::Two => {
                group.write("memory.max", &bytes.to_string())?;
                if group.dir.join("memory.swap.max").exists() {
                    group.write("memory.swap.max", "0")?;
                }
            }
        }
        Ok(group)
    }

    /// The file that a process writes itself into: see [`join`].
    pub fn procs(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    /// What was used until now.
    pub fn used(&self) -> Result<Used> {
        match self.version {
            Version::One => {
                let number = |name: &str| -> Result<u64> { Ok(self.read(name)?.trim().parse()?) };
                let (peak_bytes, failures) = (number("memory.max_usage_in_bytes")?, number("memory.failcnt")?);
                // Recent kernels leave the count at zero however often it happens.
                let counts = failures > 0 || peak_bytes + (1 << 20) < number("memory.limit_in_bytes")?;
                Ok(Used {
                    peak_bytes,
                    limited: counts.then_some(failures),
                    major_faults: field(&self.read("memory.stat")?, "pgmajfault")?,
                    kills: field(&self.read("memory.oom_control")?, "oom_kill")?,
                })
            }
            Version::Two => {
                let events = self.read("memory.events")?;
                Ok(Used {
                    peak_bytes: self.read("memory.peak")?.trim().parse()?,
                    limited: Some(field(&events, "max")?),
                    major_faults: field(&self.read("memory.stat")?, "pgmajfault")?,
                    kills: field(&events, "oom_kill")?,
                })
            }
        }
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        Ok(std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        Ok(std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that has just ended may be in it for a moment more.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        eprintln!("the group {} could not be removed", self.dir.display());
    }
}

/// Moves this process, with all its threads, into the group of this `cgroup.procs`.
pub fn join(procs: &Path) -> Result<()> {
    std::fs::write(procs, std::process::id().to_string())
        .map_err(|error| format!("{}: {error}", procs.display()).into())
}

/// The nearest group at or above ours that hands memory's controller down to those below it, or can be made to.
fn above_in_two(place: &Place) -> Result<PathBuf> {
    let start = if place.own.is_dir() { &place.own } else { &place.top };
    for dir in start.ancestors().take_while(|dir| dir.starts_with(&place.top)) {
        let has = |file: &str| {
            let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
            text.split_whitespace().any(|controller| controller == "memory")
        };
        if has("cgroup.subtree_control") {
            return Ok(dir.to_owned());
        }
        // The kernel refuses where the group has processes of its own and is not the uppermost.
        if has("cgroup.controllers") && std::fs::write(dir.join("cgroup.subtree_control"), "+memory").is_ok() {
            return Ok(dir.to_owned());
        }
    }
    Err(format!("no group from {} up hands memory's controller down", start.display()).into())
}

/// Finds memory's groups in the text of `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn place(mounts: &str, own: &str) -> Result<Place> {
    let mounts = || mounts.lines().filter_map(Mount::parse);
    let one =
        mounts().find(|mount| mount.kind == "cgroup" && mount.options.split(',').any(|option| option == "memory"));
    let (version, mount) = match one {
        Some(mount) => (Version::One, mount),
        None => {
            let two = mounts().find(|mount| mount.kind == "cgroup2");
            (Version::Two, two.ok_or("no file system of cgroups is mounted")?)
        }
    };
    // hierarchy:controllers:path
    let mine = own.lines().find_map(|line| {
        let (hierarchy, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let found = match version {
            Version::One => controllers.split(',').any(|controller| controller == "memory"),
            Version::Two => hierarchy == "0",
        };
        found.then_some(path)
    });
    let mine = mine.ok_or("/proc/self/cgroup does not say in which group this process is")?;
    // The mount may show a part of the tree only.
    let below = Path::new(mine).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let below =
        if below.components().any(|part| part == std::path::Component::ParentDir) { Path::new("") } else { below };
    Ok(Place { version, own: mount.point.join(below), top: mount.point })
}

/// A line of `/proc/self/mountinfo`.
struct Mount<'a> {
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (unescaped(before.next()?), unescaped(before.next()?));
        let mut after = after.split(' ');
        let kind = after.next()?;
        Some(Mount { root, point, kind, options: after.nth(1)? })
    }
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let digits =
            tail.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..b'8').contains(digit)));
        if let Some(digits) = digits {
            out.push(digits.iter().fold(0u8, |byte, digit| byte.wrapping_mul(8).wrapping_add(digit - b'0')));
            rest = &tail[3..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// The number behind `name` in lines of a name and a number.
fn field(text: &str, name: &str) -> Result<u64> {
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(number.ok_or_else(|| format!("no {name} in {text:?}"))?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: Version, top: &str, own: &str) -> Place {
        Place { version, top: top.into(), own: own.into() }
    }

    /// Both are mounted and memory belongs to the first: names that merely contain the word do not count.
    #[test]
    fn version_one_is_found_beside_two() {
        let mounts = "23 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                      34 31 0:31 / /sys/fs/cgroup/nomemory rw,relatime - cgroup cgroup rw,name=nomemory\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let own = "9:name=systemd:/\n4:cpuset,memory:/some/group\n0::/\n";
        let expected = of(Version::One, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/some/group");
        assert_eq!(place(mounts, own).unwrap(), expected);
    }

    #[test]
    fn version_two_alone_is_found() {
        let mounts = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let expected = of(Version::Two, "/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/a b:c");
        assert_eq!(place(mounts, "0::/user.slice/a b:c\n").unwrap(), expected);
    }

    /// In a container the mount is a part of the tree; where our group is not below it, groups are made at its top.
    #[test]
    fn a_mount_of_a_part_is_understood() {
        let mounts = "35 31 0:32 /docker/1f\\040x /sys/fs/cgroup/my\\134memory ro - cgroup cgroup rw,memory\n";
        let top = "/sys/fs/cgroup/my\\memory";
        let at = |own: &str| place(mounts, own).unwrap();
        assert_eq!(at("4:memory:/docker/1f x/in"), of(Version::One, top, &format!("{top}/in")));
        assert_eq!(at("4:memory:/docker/1f x"), of(Version::One, top, top));
        assert_eq!(at("4:memory:/elsewhere"), of(Version::One, top, top));
        let mounts = "30 24 0:26 / /c rw - cgroup2 cgroup2 rw\n";
        assert_eq!(place(mounts, "0::/../../outside").unwrap(), of(Version::Two, "/c", "/c"));
    }

    #[test]
    fn without_groups_it_says_so() {
        let none = place("23 1 254:0 / / rw - ext4 /dev/vda rw\n\nnonsense\n", "0::/\n").unwrap_err();
        assert!(none.to_string().contains("no file system of cgroups"));
        let lost = place("35 31 0:32 / /m rw - cgroup cgroup rw,memory\n", "0::/\n").unwrap_err();
        assert!(lost.to_string().contains("/proc/self/cgroup"));
    }

    /// Version 2 in directories that look like it: a group is made below the nearest that hands memory down, not below its own.
    #[test]
    fn version_two_goes_up_to_who_delegates() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        let own = top.join("slice/unit");
        std::fs::create_dir_all(&own).unwrap();
        let place = Place { version: Version::Two, top: top.clone(), own: own.clone() };
        assert!(above_in_two(&place).unwrap_err().to_string().contains("slice/unit"));
        std::fs::write(top.join("cgroup.subtree_control"), "cpu memory\n").unwrap();
        std::fs::write(own.join("cgroup.subtree_control"), "cpu hugetlb_memory\n").unwrap();
        assert_eq!(above_in_two(&place).unwrap(), top);
        std::fs::write(top.join("slice/cgroup.subtree_control"), "memory\n").unwrap();
        assert_eq!(above_in_two(&place).unwrap(), top.join("slice"));
    }

    #[test]
    fn fields_are_whole_words() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(text, "oom_kill").unwrap(), 3);
        assert_eq!(field("low 0\nhigh 1\nmax 22\noom 0\noom_kill 4\n", "max").unwrap(), 22);
        assert!(field(text, "oom").is_err());
    }
}
