//! What of an environment's rules applies to files in memory, and that opening copies nothing.

use super::*;
use crate::env::os::tests::{load, store};

fn at(name: &str) -> PathBuf {
    Path::new("(memory)").join(name)
}

fn names(env: &MemoryEnv) -> Vec<OsString> {
    env.list_dir(Path::new("(memory)")).unwrap()
}

#[test]
fn appends_and_reads_back() {
    let env = MemoryEnv::new();
    let path = at("MANIFEST");
    let file = env.create(&path).unwrap();
    file.append(b"one").unwrap();
    file.append(b"").unwrap();
    file.append(b"two").unwrap();
    file.sync().unwrap();
    env.sync_file(&path).unwrap();
    assert_eq!(env.create(&path).unwrap_err().os_code(), Some(Errno::EXIST.raw_os_error()));

    assert_eq!(env.open_append(&path, 5).unwrap_err().kind(), ErrorKind::Corruption);
    assert!(env.open_append(&at("none"), 0).is_err());
    env.open_append(&path, 6).unwrap().append(b"three").unwrap();

    let file = env.open_read(&path).unwrap().unwrap();
    assert_eq!(file.len(), 11);
    let mut buffer = [0; 8];
    file.read_at(3, &mut buffer).unwrap();
    assert_eq!(&buffer, b"twothree");
    for offset in [4, 11, 12, u64::MAX] {
        assert_eq!(file.read_at(offset, &mut buffer).unwrap_err().kind(), ErrorKind::Corruption, "{offset}");
    }
    assert_eq!(load(&file.map().unwrap(), 0, 11), b"onetwothree");
    assert!(env.open_read(&at("none")).unwrap().is_none());
    assert!(env.sync_file(&at("none")).is_err());
    env.create(&at("empty")).unwrap();
    assert_eq!(env.open_read(&at("empty")).unwrap().unwrap().map().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// Every way to open an appended file leads to the same bytes at the same place, and so does every later opening.
#[test]
fn opening_copies_nothing() {
    let env = MemoryEnv::new();
    let path = at("1.tbl");
    let file = env.create(&path).unwrap();
    let piece: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    (0..64).for_each(|_| file.append(&piece).unwrap());
    let read = env.open_read(&path).unwrap().unwrap();
    let segments = [SegmentKind::Mapped, SegmentKind::Positioned].map(|kind| env.open_segment(&path, kind).unwrap());
    let maps = [read.map().unwrap(), read.map().unwrap()];
    let base = maps[0].as_mut_ptr();
    for memory in maps.iter().chain(segments.iter().map(|segment| segment.memory())) {
        assert_eq!((memory.as_mut_ptr(), memory.len()), (base, 64 << 20));
        env.populate(memory);
    }
    assert_eq!(load(&maps[1], 63 << 20, 1 << 20), piece);
}

/// Who has a file open sees it as it was: bytes that were handed out are never changed nor moved.
#[test]
fn a_reader_keeps_what_it_opened() {
    let env = MemoryEnv::new();
    let path = at("MANIFEST");
    let file = env.create(&path).unwrap();
    file.append(b"one").unwrap();
    let memory = env.open_read(&path).unwrap().unwrap().map().unwrap();
    let base = memory.as_mut_ptr();
    file.append(b"two").unwrap();
    file.append(&[0; 10_000]).unwrap();
    assert_eq!((memory.as_mut_ptr(), memory.len()), (base, 3));
    assert_eq!(load(&memory, 0, 3), b"one");
    let read = env.open_read(&path).unwrap().unwrap();
    let mut buffer = [0; 6];
    read.read_at(0, &mut buffer).unwrap();
    assert_eq!((read.len(), &buffer), (10_006, b"onetwo"));
}

#[test]
fn a_segment_is_its_memory() {
    for kind in [SegmentKind::Mapped, SegmentKind::Positioned] {
        let env = MemoryEnv::new();
        let path = at("1.log");
        let created = env.create_segment(&path, 1 << 20, kind).unwrap();
        assert_eq!(created.kind(), SegmentKind::Mapped, "whatever was asked for");
        env.populate(created.memory());
        assert_eq!(load(created.memory(), 0, 1 << 20), vec![0; 1 << 20], "zeros at first");

        store(created.memory(), 8190, b"across a page");
        created.write(8190, b"across a page").unwrap();
        created.sync().unwrap();
        assert_eq!(created.write((1 << 20) - 2, b"abc").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(created.write(u64::MAX, b"abc").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(created.trim((1 << 20) + 1).unwrap_err().kind(), ErrorKind::Internal);
        created.trim(10_000).unwrap();
        let base = created.memory().as_mut_ptr();
        drop(created);

        let opened = env.open_segment(&path, kind).unwrap();
        assert_eq!(opened.memory().as_mut_ptr(), base, "not a copy");
        assert_eq!(load(opened.memory(), 8188, 15), b"\0\0across a page");
        assert_eq!(opened.sync().unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(opened.write(0, b"x").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(opened.trim(0).unwrap_err().kind(), ErrorKind::Internal);

        let read = env.open_read(&path).unwrap().unwrap();
        assert_eq!((read.len(), read.map().unwrap().as_mut_ptr()), (1 << 20, base));
        assert_eq!(read.read_at(0, &mut [0]).unwrap_err().kind(), ErrorKind::Internal, "its writer may be storing");
        assert_eq!(env.open_append(&path, 1 << 20).unwrap().append(b"x").unwrap_err().kind(), ErrorKind::Internal);

        assert_eq!(env.create_segment(&path, 4096, kind).unwrap_err().os_code(), Some(Errno::EXIST.raw_os_error()));
        assert_eq!(load(opened.memory(), 8190, 6), b"across", "and was left alone");
    }
}

#[test]
fn a_segment_that_finds_no_room_leaves_no_file() {
    let env = MemoryEnv::new();
    for (len, kind) in [(1 << 60, ErrorKind::Io), (0, ErrorKind::InvalidArgument), (u64::MAX, ErrorKind::TooLarge)] {
        let error = env.create_segment(&at("1.log"), len, SegmentKind::Mapped).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(names(&env).is_empty());
    }
}

/// Directories are there whatever they are called; names are the last parts of paths, as bytes.
#[test]
fn names_come_and_go() {
    let env = MemoryEnv::new();
    env.create_dir(Path::new("x/y")).unwrap();
    for name in ["a", "A", "b"] {
        env.create(&at(name)).unwrap().append(name.as_bytes()).unwrap();
    }
    assert_eq!(names(&env), ["A", "a", "b"]);
    env.rename(&at("a"), &at("b")).unwrap();
    env.sync_dir(Path::new("(memory)")).unwrap();
    assert_eq!(names(&env), ["A", "b"]);
    assert_eq!(load(&env.open_read(&at("b")).unwrap().unwrap().map().unwrap(), 0, 1), b"a");
    env.rename(&at("b"), &at("b")).unwrap();
    assert!(env.rename(&at("a"), &at("b")).is_err());
    env.unlink(&at("b")).unwrap();
    assert!(env.unlink(&at("b")).is_err());
    assert_eq!(names(&env), ["A"]);
    assert_eq!(env.create(Path::new("..")).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(env.free_space(Path::new("(memory)")).unwrap() > 0);
}

#[test]
fn a_file_outlives_its_name() {
    let env = MemoryEnv::new();
    let grows = env.create(&at("a")).unwrap();
    grows.append(b"one").unwrap();
    let read = env.open_read(&at("a")).unwrap().unwrap();
    let segment = env.create_segment(&at("1.log"), 4096, SegmentKind::Mapped).unwrap();
    env.unlink(&at("a")).unwrap();
    env.unlink(&at("1.log")).unwrap();
    grows.append(b"two").unwrap();
    let memory = read.map().unwrap();
    drop((read, env));
    assert_eq!(load(&memory, 0, 3), b"one");
    store(segment.memory(), 4000, b"x");
    assert_eq!(load(segment.memory(), 4000, 1), b"x");
}

#[test]
fn one_writer_or_many_readers() {
    let env = MemoryEnv::new();
    let path = at("LOCK");
    let writer = env.lock(&path, LockMode::Exclusive).unwrap();
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let error = env.lock(&path, mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("use that handle"), "{error}");
    }
    drop(writer);
    let readers = [env.lock(&path, LockMode::Shared).unwrap(), env.lock(&path, LockMode::Shared).unwrap()];
    let [first, second] = readers;
    drop(first);
    assert_eq!(env.lock(&path, LockMode::Exclusive).unwrap_err().kind(), ErrorKind::Locked, "one reader is left");
    drop(second);
    drop(env.lock(&path, LockMode::Exclusive).unwrap());
    drop(env.lock(&path, LockMode::Shared).unwrap());
    assert!(names(&env).is_empty());
}

/// Clock, forks and threads are the operating system's.
#[test]
fn the_rest_is_the_system() {
    let env = MemoryEnv::new();
    assert!(env.now() <= OsEnv.now());
    assert_eq!(env.fork_generation(), OsEnv.fork_generation());
    assert_ne!(env.random(), env.random());
    assert!(env.is_volatile() && !OsEnv.is_volatile());
    let Spawned::Thread(thread) = env.spawn("kvs-worker", Box::new(|| ())).unwrap() else { panic!("no thread") };
    thread.join().unwrap();
}
