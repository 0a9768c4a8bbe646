//! What only the real system can show: special files, locks, mappings, signals.

use std::os::unix::fs::PermissionsExt;

use std::path::PathBuf;

use rustix::fs::FlockOperation;

use super::*;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Stores through the raw pointer, as `log/segment.rs` does.
#[expect(unsafe_code, reason = "stores into mapped memory are what is tested")]
pub(in crate::env) fn store(memory: &Memory, offset: usize, bytes: &[u8]) {
    assert!(offset + bytes.len() <= memory.len());
    // SAFETY: the target range lies within the memory (asserted above), which is writable as its segment was created;
    // `bytes` is other memory, and no reference to the target exists: the tests read it only through `load`,
    // on the same thread.
    unsafe { memory.as_mut_ptr().add(offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

/// Copies out of mapped memory.
#[expect(unsafe_code, reason = "loads from mapped memory are what is tested")]
pub(in crate::env) fn load(memory: &Memory, offset: usize, len: usize) -> Vec<u8> {
    assert!(offset + len <= memory.len());
    // SAFETY: the range lies within the memory (asserted above), which is zeroed or file-backed, thus initialised; nothing
    // stores into it meanwhile, since each test uses its segment on one thread.
    unsafe { std::slice::from_raw_parts(memory.as_mut_ptr().add(offset), len) }.to_vec()
}

#[expect(clippy::disallowed_methods, reason = "looks behind the environment's back")]
fn bytes_of(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "looks behind the environment's back")]
fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "looks behind the environment's back")]
fn mode_of(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn appends_and_reads_back() {
    let dir = directory();
    let path = dir.path().join("MANIFEST");
    let file = OsEnv.create(&path).unwrap();
    file.append(b"one").unwrap();
    file.append(b"").unwrap();
    file.append(b"two").unwrap();
    file.sync().unwrap();
    assert_eq!(mode_of(&path), 0o600);
    assert_eq!(OsEnv.create(&path).unwrap_err().os_code(), Some(Errno::EXIST.raw_os_error()));

    let wrong = OsEnv.open_append(&path, 5).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Corruption);
    OsEnv.open_append(&path, 6).unwrap().append(b"three").unwrap();

    let file = OsEnv.open_read(&path).unwrap().unwrap();
    assert_eq!(file.len(), 11);
    let mut buffer = [0; 8];
    file.read_at(3, &mut buffer).unwrap();
    assert_eq!(&buffer, b"twothree");
    for offset in [4, 11, 12, u64::MAX] {
        assert_eq!(file.read_at(offset, &mut buffer).unwrap_err().kind(), ErrorKind::Corruption, "{offset}");
    }
    assert_eq!(load(&file.map().unwrap(), 0, 11), b"onetwothree");
    assert!(OsEnv.open_read(&dir.path().join("none")).unwrap().is_none());
}

#[test]
fn a_file_that_shrank_is_not_mapped() {
    let dir = directory();
    let path = dir.path().join("1.tbl");
    put(&path, &[7; 10_000]);
    let file = OsEnv.open_read(&path).unwrap().unwrap();
    put(&path, &[7; 100]);
    assert_eq!(file.map().unwrap_err().kind(), ErrorKind::Corruption);
    assert_eq!(file.read_at(90, &mut [0; 20]).unwrap_err().kind(), ErrorKind::Corruption);
    put(&path, &[]);
    let empty = OsEnv.open_read(&path).unwrap().unwrap();
    assert!(empty.is_empty());
    assert_eq!(empty.map().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn special_files_are_refused_and_do_not_hang() {
    let dir = directory();
    let target = dir.path().join("target");
    put(&target, b"x");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
    let sub = dir.path().join("sub");
    OsEnv.create_dir(&sub).unwrap();
    for path in [&link, &fifo, &sub, &PathBuf::from("/dev/null")] {
        let errors = [
            OsEnv.open_read(path).map(|_| ()).unwrap_err(),
            OsEnv.open_append(path, 0).map(|_| ()).unwrap_err(),
            OsEnv.open_segment(path, SegmentKind::Mapped).map(|_| ()).unwrap_err(),
            OsEnv.lock(path, LockMode::Exclusive).map(|_| ()).unwrap_err(),
            OsEnv.lock(path, LockMode::Shared).map(|_| ()).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::NotADatabase, "{error}");
        }
        assert!(OsEnv.create(path).is_err());
        assert!(OsEnv.create_segment(path, 4096, SegmentKind::Positioned).is_err());
    }
    // A failed creation must not have removed what it did not create.
    assert_eq!(bytes_of(&target), b"x");
    assert!(std::fs::symlink_metadata(&fifo).is_ok());
}

#[test]
fn directories() {
    let dir = directory();
    let sub = dir.path().join("sub");
    OsEnv.create_dir(&sub).unwrap();
    OsEnv.create_dir(&sub).unwrap();
    assert_eq!(mode_of(&sub), 0o700);
    for name in ["a", "b"] {
        OsEnv.create(&sub.join(name)).unwrap().append(name.as_bytes()).unwrap();
    }
    let error = OsEnv.create_dir(&sub.join("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotADatabase, "{error}");
    assert!(OsEnv.create_dir(&sub.join("x/y")).is_err());

    OsEnv.rename(&sub.join("a"), &sub.join("b")).unwrap();
    OsEnv.sync_dir(&sub).unwrap();
    assert_eq!(bytes_of(&sub.join("b")), b"a");
    assert_eq!(OsEnv.list_dir(&sub).unwrap(), ["b"]);
    OsEnv.unlink(&sub.join("b")).unwrap();
    assert!(OsEnv.unlink(&sub.join("b")).is_err());
    assert!(OsEnv.list_dir(&sub).unwrap().is_empty());
    assert!(OsEnv.sync_dir(&sub.join("none")).is_err());
    assert!(OsEnv.free_space(&sub).unwrap() > 0);
    assert_eq!(parent(Path::new("name")), Path::new("."));
    assert_eq!(parent(Path::new("/")), Path::new("/"));
}

#[test]
fn a_segment_of_either_kind_holds_what_was_put_in() {
    for kind in [SegmentKind::Mapped, SegmentKind::Positioned] {
        let dir = directory();
        let path = dir.path().join("1.log");
        let created = match OsEnv.create_segment(&path, 1 << 20, kind) {
            Err(e) if kind == SegmentKind::Mapped && e.os_code() == Some(Errno::OPNOTSUPP.raw_os_error()) => continue,
            result => result.unwrap(),
        };
        assert_eq!(created.kind(), kind);
        assert_eq!(created.memory().len(), 1 << 20);
        OsEnv.populate(created.memory());
        assert_eq!(load(created.memory(), 0, 1 << 20), vec![0; 1 << 20], "zeros at first");
        assert_eq!(bytes_of(&path).len(), 1 << 20);

        store(created.memory(), 8190, b"across a page");
        created.write(8190, b"across a page").unwrap();
        created.sync().unwrap();
        assert_eq!(&bytes_of(&path)[8190..8203], b"across a page");
        assert_eq!(created.write((1 << 20) - 2, b"abc").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(created.write(u64::MAX, b"abc").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(created.trim((1 << 20) + 1).unwrap_err().kind(), ErrorKind::Internal);
        created.trim(10_000).unwrap();
        drop(created);
        assert_eq!(bytes_of(&path).len(), 10_000);

        let opened = OsEnv.open_segment(&path, kind).unwrap();
        assert_eq!(load(opened.memory(), 8188, 15), b"\0\0across a page");
        assert_eq!(opened.memory().len(), 10_000);
        assert_eq!(opened.sync().unwrap_err().kind(), ErrorKind::Internal);
        OsEnv.sync_file(&path).unwrap();
        assert!(OsEnv.sync_file(&dir.path().join("none")).is_err());
        assert_eq!(opened.write(0, b"x").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(opened.trim(0).unwrap_err().kind(), ErrorKind::Internal);

        assert!(OsEnv.create_segment(&path, 4096, kind).is_err(), "exists");
        assert_eq!(bytes_of(&path).len(), 10_000, "and was left alone");
    }
}

#[test]
fn a_segment_that_finds_no_room_leaves_no_file() {
    let dir = directory();
    let path = dir.path().join("1.log");
    for kind in [SegmentKind::Mapped, SegmentKind::Positioned] {
        // An eighth of the address space: more than any disk has, and for some file systems than a file may be long.
        let error = OsEnv.create_segment(&path, 1 << 60, kind).map(|_| ()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Io), "{error:?}");
        assert_eq!(OsEnv.create_segment(&path, 0, kind).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(OsEnv.create_segment(&path, u64::MAX, kind).unwrap_err().kind(), ErrorKind::TooLarge);
        assert!(OsEnv.list_dir(dir.path()).unwrap().is_empty());
    }
}

#[test]
fn an_append_that_finds_a_full_disk_leaves_the_file_as_it_was() {
    // /dev/full answers every write with ENOSPC; it is no regular file, so it comes in by the back door.
    let Ok(file) = rustix::fs::open("/dev/full", OFlags::WRONLY, Mode::empty()) else { return };
    let full = OsAppend::over(file, Path::new("/dev/full"), 0);
    assert_eq!(full.append(b"x").unwrap_err().kind(), ErrorKind::NoSpace);
    // It cannot be cut back either, so the handle is broken and says so.
    let error = full.append(b"x").unwrap_err();
    assert!(error.to_string().contains("replaced"), "{error}");
}

#[test]
fn one_writer_or_many_readers() {
    let dir = directory();
    let path = dir.path().join("LOCK");
    let writer = OsEnv.lock(&path, LockMode::Exclusive).unwrap();
    assert_eq!(bytes_of(&path), format!("{}\n", std::process::id()).as_bytes());
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let error = OsEnv.lock(&path, mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains(&format!("this process (pid {})", std::process::id())), "{error}");
        assert!(error.to_string().contains("use that handle"), "the registry, not the kernel, knows: {error}");
        assert!(error.to_string().contains("LOCK"), "{error}");
    }
    // Another path to the same file is the same lock.
    let sub = dir.path().join("sub");
    OsEnv.create_dir(&sub).unwrap();
    assert_eq!(OsEnv.lock(&sub.join("../LOCK"), LockMode::Shared).unwrap_err().kind(), ErrorKind::Locked);
    drop(writer);
    assert_eq!(bytes_of(&path), b"", "the pid goes with the writer");

    let readers = [OsEnv.lock(&path, LockMode::Shared).unwrap(), OsEnv.lock(&path, LockMode::Shared).unwrap()];
    let [first, second] = readers;
    drop(first);
    assert_eq!(OsEnv.lock(&path, LockMode::Exclusive).unwrap_err().kind(), ErrorKind::Locked, "one reader is left");
    drop(second);
    drop(OsEnv.lock(&path, LockMode::Exclusive).unwrap());
}

/// A forked child is played by a duplicate of the descriptor: like the child's, it is the same open file description.
#[test]
fn a_child_that_was_forked_does_not_keep_the_lock() {
    let dir = directory();
    let path = dir.path().join("LOCK");
    let lock = lock::OsLock::take(&path, LockMode::Exclusive).unwrap();
    let of_child = rustix::io::dup(lock.file.as_ref().unwrap()).unwrap();
    drop(lock);
    drop(OsEnv.lock(&path, LockMode::Exclusive).unwrap());
    drop(of_child);
}

/// Another process is played by another open file description, which is all that `flock` looks at.
#[test]
fn another_process_is_named() {
    let dir = directory();
    let path = dir.path().join("LOCK");
    put(&path, b"4711\n");
    let other = rustix::fs::open(&path, OFlags::RDWR, Mode::empty()).unwrap();
    rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let error = OsEnv.lock(&path, mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("process 4711"), "{error}");
    }
    put(&path, b"47\x0011");
    let error = OsEnv.lock(&path, LockMode::Shared).unwrap_err();
    assert!(error.to_string().contains("another process has"), "a pid that cannot be read is not told: {error}");

    rustix::fs::flock(&other, FlockOperation::NonBlockingLockShared).unwrap();
    put(&path, b"4711\n");
    let error = OsEnv.lock(&path, LockMode::Exclusive).unwrap_err();
    assert!(error.to_string().contains("read-only"), "the dead writer's pid is not told: {error}");
    drop(OsEnv.lock(&path, LockMode::Shared).unwrap());
    drop(other);
    drop(OsEnv.lock(&path, LockMode::Exclusive).unwrap());
}

#[test]
fn threads_block_signals() {
    let mask = |task: &str| {
        let status = String::from_utf8(bytes_of(Path::new(task))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
        u64::from_str_radix(&line, 16).unwrap()
    };
    let before = mask("/proc/thread-self/status");
    let (send, receive) = std::sync::mpsc::channel();
    let body = move || send.send(mask("/proc/thread-self/status")).unwrap();
    let Spawned::Thread(thread) = OsEnv.spawn("kvs-worker", Box::new(body)).unwrap() else { panic!("no thread") };
    assert_eq!(thread.thread().name(), Some("kvs-worker"));
    thread.join().unwrap();
    let inside = receive.recv().unwrap();
    let bit = |signal: i32| 1u64 << (signal - 1);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD, libc::SIGALRM, libc::SIGUSR1] {
        assert_ne!(inside & bit(signal), 0, "signal {signal} is blocked");
    }
    for signal in threads::SYNCHRONOUS {
        assert_eq!(inside & bit(signal), 0, "signal {signal} is not");
    }
    assert_eq!(mask("/proc/thread-self/status"), before, "the caller's own mask is as it was");
}

#[test]
fn the_clock_does_not_go_back() {
    let first = OsEnv.now();
    assert!(OsEnv.now() >= first);
}

#[test]
fn a_segment_kind_is_preferred_and_works() {
    let dir = directory();
    let kind = OsEnv.preferred_segment(dir.path()).unwrap();
    OsEnv.create_segment(&dir.path().join("1.log"), 1 << 16, kind).unwrap().sync().unwrap();
    assert_eq!(OsEnv.list_dir(dir.path()).unwrap().len(), 1, "the trial leaves nothing");
    assert!(OsEnv.preferred_segment(&dir.path().join("none")).is_err());
}

/// Needs what a test may not make itself: `mount -t tmpfs -o ro none DIR; KVS_READ_ONLY_DIR=DIR cargo test read_only_medium -- --ignored`
#[test]
#[ignore = "needs a directory on an empty read-only medium, named by KVS_READ_ONLY_DIR"]
fn a_read_only_medium_can_be_read() {
    let dir = PathBuf::from(std::env::var_os("KVS_READ_ONLY_DIR").unwrap());
    let shared = OsEnv.lock(&dir.join("LOCK"), LockMode::Shared).unwrap();
    drop(OsEnv.lock(&dir.join("LOCK"), LockMode::Shared).unwrap());
    drop(shared);
    assert_eq!(OsEnv.lock(&dir.join("LOCK"), LockMode::Exclusive).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(OsEnv.create(&dir.join("x")).unwrap_err().kind(), ErrorKind::ReadOnly);
    OsEnv.preferred_segment(&dir).unwrap();
    OsEnv.create_dir(&dir).unwrap();
}

/// `mount -t tmpfs -o size=256k none DIR; KVS_SMALL_DIR=DIR cargo test full_disk -- --ignored`
#[test]
#[ignore = "needs a directory on a medium of 256 KiB, named by KVS_SMALL_DIR"]
fn a_full_disk_is_an_error_at_creation() {
    let dir = PathBuf::from(std::env::var_os("KVS_SMALL_DIR").unwrap());
    let before = OsEnv.list_dir(&dir).unwrap();
    for kind in [SegmentKind::Mapped, SegmentKind::Positioned] {
        let error = OsEnv.create_segment(&dir.join("1.log"), 1 << 20, kind).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        assert_eq!(OsEnv.list_dir(&dir).unwrap(), before);
    }
    let file = OsEnv.create(&dir.join("a")).unwrap();
    file.append(b"good").unwrap();
    assert_eq!(file.append(&vec![1; 1 << 20]).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(bytes_of(&dir.join("a")), b"good", "cut back");
    file.append(b", healed").unwrap();
    assert_eq!(bytes_of(&dir.join("a")), b"good, healed");
    OsEnv.unlink(&dir.join("a")).unwrap();
}

/// A file that grows by many megabytes is synced meanwhile, and is what was appended.
#[test]
fn a_file_that_is_synced_while_it_grows_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("grows");
    let file = OsEnv::shared().create(&path).unwrap();
    let piece = |n: u8| vec![n; 1 << 20];
    (0..20).for_each(|n| file.append(&piece(n)).unwrap());
    file.sync().unwrap();
    // And again: nothing is under way any more.
    file.append(&piece(20)).unwrap();
    file.sync().unwrap();
    let read = bytes_of(&path);
    assert!(read.chunks(1 << 20).zip(0..).all(|(part, n)| part == piece(n)) && read.len() == 21 << 20);
    // One that is given up while it is synced.
    (0..20).for_each(|n| file.append(&piece(n)).unwrap());
    drop(file);
}

/// A sync that fails behind the back of who appends is told by the next sync, and by every one after it, whatever the system would say.
#[test]
fn a_sync_that_failed_meanwhile_is_told_for_ever() {
    // A pipe can't be synced.
    let (_reader, writer) = std::io::pipe().unwrap();
    let file = Arc::new(writer.into());
    let behind = behind::Behind::start(&file).unwrap();
    behind.ask();
    let failure = loop {
        // Asked and not yet begun, it ends without a sync: the file's own does it then.
        match behind.failure() {
            Some(failure) => break failure,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(failure, Errno::INVAL);
    behind.ask();
    assert_eq!(behind.finish(), Err(Errno::INVAL));

    let file = OsAppend::over(std::io::pipe().unwrap().1.into(), std::path::Path::new("pipe"), 0);
    let first = file.sync().unwrap_err().to_string();
    assert_eq!(file.sync().unwrap_err().to_string(), first);
}

/// What is reserved takes the disk's blocks, is in nobody's way when it is there already, and is nothing if there is no room.
#[test]
#[expect(clippy::disallowed_methods, reason = "looks behind the environment's back")]
fn a_reserve_takes_room() {
    use std::os::unix::fs::MetadataExt;
    let dir = directory();
    let path = dir.path().join("RESERVE");
    OsEnv.reserve(&path, 300_001).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.blocks() * 512 >= 300_001, "{metadata:?}");
    assert_eq!((metadata.len(), mode_of(&path)), (300_001, 0o600));
    assert_eq!(OsEnv.reserve(&path, 10).unwrap_err().os_code(), Some(Errno::EXIST.raw_os_error()));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 300_001);
    OsEnv.unlink(&path).unwrap();
    // More than any disk has.
    OsEnv.reserve(&path, 1 << 60).unwrap_err();
    assert!(!path.exists());
}
