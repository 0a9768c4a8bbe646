//! Each rule of the model, by a test that fails if the rule is broken: what may survive does in some future, what
//! may not survives in none.

use std::collections::BTreeSet;

use super::fate::Rng;
use super::file::{SECTOR, SimFile};
use super::*;

const SEEDS: u64 = 400;

/// A file's, if it is there.
type Contents = Option<Vec<u8>>;

fn at(name: &str) -> PathBuf {
    Path::new("/db").join(name)
}

fn machine() -> SimEnv {
    let sim = SimEnv::new(7);
    sim.create_dir(Path::new("/db")).unwrap();
    sim
}

/// A file that is durable, name and all.
fn durable(sim: &SimEnv, name: &str, bytes: &[u8]) -> Box<dyn AppendFile> {
    let file = sim.create(&at(name)).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
    sim.sync_dir(Path::new("/db")).unwrap();
    file
}

/// A durable segment of zeros.
fn segment(sim: &SimEnv, len: u64, kind: SegmentKind) -> Box<dyn SegmentFile> {
    let segment = sim.create_segment(&at("1.log"), len, kind).unwrap();
    segment.sync().unwrap();
    sim.sync_dir(Path::new("/db")).unwrap();
    segment
}

/// The engine's way: into the memory (which nobody reads here), then told to the observer; or by position.
fn store(segment: &dyn SegmentFile, offset: usize, bytes: &[u8]) {
    match segment.memory().observer() {
        Some(observer) => observer.stored(offset, bytes),
        None => segment.write(offset as u64, bytes).unwrap(),
    }
}

/// What a file is in all the futures.
fn futures(sim: &SimEnv, name: &str, model: CutModel) -> BTreeSet<Contents> {
    (0..SEEDS).map(|seed| sim.crash_image(seed, model).read_file(&at(name))).collect()
}

fn some(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

#[test]
fn what_was_synced_survives_and_nothing_else_has_to() {
    let sim = machine();
    let file = durable(&sim, "a", b"one");
    file.append(b"two").unwrap();
    assert_eq!(sim.read_file(&at("a")), some(b"onetwo"));
    assert_eq!(futures(&sim, "a", CutModel::Strict), [some(b"one")].into());
    for model in [CutModel::Ordered, CutModel::Hostile] {
        let futures = futures(&sim, "a", model);
        // Lost; there; and grown without its bytes.
        assert_eq!(futures, [some(b"one"), some(b"onetwo"), some(b"one\0\0\0")].into(), "{model:?}");
    }
    file.sync().unwrap();
    for model in [CutModel::Strict, CutModel::Ordered, CutModel::Hostile] {
        assert_eq!(futures(&sim, "a", model), [some(b"onetwo")].into(), "{model:?}");
    }
}

#[test]
fn sectors_survive_each_on_its_own_and_whole() {
    for kind in [SegmentKind::Mapped, SegmentKind::Positioned] {
        let sim = machine();
        let segment = segment(&sim, 4096, kind);
        store(&*segment, 0, &[7; 4096]);
        let mut kept = BTreeSet::new();
        for bytes in futures(&sim, "1.log", CutModel::Hostile) {
            let bytes = bytes.unwrap();
            assert_eq!(bytes.len(), 4096);
            let mut mask = 0u32;
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                assert!(sector.iter().all(|&byte| byte == sector[0]), "torn inside a sector, {kind:?}");
                mask |= u32::from(sector[0] == 7) << number;
            }
            kept.insert(mask);
        }
        assert!(kept.contains(&0) && kept.contains(&0xFF), "none and all: {kept:?}");
        for number in 0..8 {
            assert!(
                kept.iter().any(|mask| mask & 1 << number == 0 && *mask != 0),
                "{number} lost though others survive"
            );
            assert!(
                kept.iter().any(|mask| mask & 1 << number != 0 && *mask != 0xFF),
                "{number} kept though others don't"
            );
        }
        segment.sync().unwrap();
        assert_eq!(futures(&sim, "1.log", CutModel::Hostile), [some(&[7; 4096])].into());
    }
}

#[test]
fn a_name_is_not_durable_before_its_directory_was_synced() {
    let sim = machine();
    let file = sim.create(&at("a")).unwrap();
    file.append(b"x").unwrap();
    file.sync().unwrap();
    assert_eq!(futures(&sim, "a", CutModel::Strict), [None].into());
    assert_eq!(futures(&sim, "a", CutModel::Hostile), [None, some(b"x")].into());
    sim.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(futures(&sim, "a", CutModel::Hostile), [some(b"x")].into());

    sim.unlink(&at("a")).unwrap();
    assert_eq!(sim.read_file(&at("a")), None);
    assert_eq!(futures(&sim, "a", CutModel::Strict), [some(b"x")].into());
    assert_eq!(futures(&sim, "a", CutModel::Hostile), [None, some(b"x")].into());
    sim.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(futures(&sim, "a", CutModel::Hostile), [None].into());
    file.append(b"still open").unwrap();
}

#[test]
fn a_name_may_be_durable_before_its_bytes() {
    let sim = machine();
    sim.create(&at("a")).unwrap().append(b"x").unwrap();
    sim.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(futures(&sim, "a", CutModel::Strict), [some(b"")].into());
    assert_eq!(futures(&sim, "a", CutModel::Hostile), [some(b""), some(b"\0"), some(b"x")].into());
}

#[test]
fn a_rename_may_be_lost_or_split() {
    let outcomes = |sim: &SimEnv, model| -> BTreeSet<(Contents, Contents)> {
        let image = |seed| sim.crash_image(seed, model);
        (0..SEEDS)
            .map(|seed| (image(seed).read_file(&at("MANIFEST")), image(seed).read_file(&at("MANIFEST.tmp"))))
            .collect()
    };
    let sim = machine();
    durable(&sim, "MANIFEST", b"old");
    durable(&sim, "MANIFEST.tmp", b"new");
    sim.rename(&at("MANIFEST.tmp"), &at("MANIFEST")).unwrap();
    assert_eq!(sim.list(), [at("MANIFEST")]);
    let lost = (some(b"old"), some(b"new"));
    let done = (some(b"new"), None);
    let both = (some(b"new"), some(b"new"));
    let neither = (some(b"old"), None);
    assert_eq!(outcomes(&sim, CutModel::Strict), [lost.clone()].into());
    assert_eq!(outcomes(&sim, CutModel::Ordered), [lost.clone(), done.clone()].into());
    assert_eq!(outcomes(&sim, CutModel::Hostile), [lost, done.clone(), both, neither].into());
    sim.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(outcomes(&sim, CutModel::Hostile), [done].into());
}

/// A file is not its name: bytes written after the rename belong to the file that was renamed.
#[test]
fn a_file_keeps_its_identity_through_a_rename() {
    let sim = machine();
    let file = durable(&sim, "tmp", b"1");
    sim.rename(&at("tmp"), &at("final")).unwrap();
    file.append(b"2").unwrap();
    file.sync().unwrap();
    for seed in 0..SEEDS {
        let image = sim.crash_image(seed, CutModel::Hostile);
        let found = [image.read_file(&at("tmp")), image.read_file(&at("final"))];
        assert!(
            found.iter().flatten().all(|bytes| bytes == b"12"),
            "the bytes were synced under either name: {found:?}"
        );
    }
    // Both names of a split rename are one file.
    let image = sim.crash_image_by(CutModel::Hostile, &mut |_| 0);
    assert_eq!(image.list(), [at("tmp")]);
    let mut questions = 0;
    let image = sim.crash_image_by(CutModel::Hostile, &mut |_| {
        questions += 1;
        usize::from(questions == 1)
    });
    assert_eq!((questions, image.list()), (2, vec![at("final"), at("tmp")]));
    let file = image.open_append(&at("tmp"), 2).unwrap();
    file.append(b"3").unwrap();
    assert_eq!(image.read_file(&at("final")), some(b"123"));
}

#[test]
fn a_journal_keeps_order_and_posix_does_not() {
    let sim = machine();
    for name in ["a", "b", "c"] {
        sim.create(&at(name)).unwrap();
    }
    let lists =
        |model| -> BTreeSet<Vec<PathBuf>> { (0..SEEDS).map(|seed| sim.crash_image(seed, model).list()).collect() };
    let (a, b, c) = (at("a"), at("b"), at("c"));
    let prefixes = [vec![], vec![a.clone()], vec![a.clone(), b.clone()], vec![a.clone(), b.clone(), c.clone()]];
    assert_eq!(lists(CutModel::Ordered), prefixes.into());
    assert_eq!(lists(CutModel::Hostile).len(), 8, "every subset");
}

#[test]
fn a_directory_is_lost_with_its_name() {
    let sim = SimEnv::new(0);
    sim.cut_after(1);
    // Made, but the power goes before its parent is synced.
    assert!(sim.create_dir(Path::new("/db")).is_err());
    let there = |seed| sim.crash_image(seed, CutModel::Hostile).list_dir(Path::new("/db")).is_ok();
    assert!((0..SEEDS).any(there) && !(0..SEEDS).all(there));
    let sim = machine();
    assert!((0..SEEDS).all(|seed| sim.crash_image(seed, CutModel::Hostile).list_dir(Path::new("/db")).is_ok()));
    assert!(sim.create_dir(Path::new("/none/x")).is_err());
    sim.write_file(&at("file"), b"");
    assert_eq!(sim.create_dir(&at("file")).unwrap_err().kind(), ErrorKind::NotADatabase);
}

#[test]
fn growth_may_stop_half_way_and_reads_as_zeros() {
    let sim = machine();
    let file = durable(&sim, "a", b"");
    file.append(&[7; 2000]).unwrap();
    let futures = futures(&sim, "a", CutModel::Hostile);
    let lens: BTreeSet<usize> = futures.iter().map(|bytes| bytes.as_ref().unwrap().len()).collect();
    assert_eq!(lens, [0, 512, 1024, 1536, 2000].into());
    for bytes in futures.iter().flatten() {
        for sector in bytes.chunks(SECTOR) {
            assert!(sector == vec![7; sector.len()] || sector == vec![0; sector.len()]);
        }
    }
}

#[test]
fn a_segment_s_length_is_unsynced_until_its_file_is_synced() {
    for kind in [SegmentKind::Mapped, SegmentKind::Positioned] {
        let sim = machine();
        let segment = sim.create_segment(&at("1.log"), 2048, kind).unwrap();
        sim.sync_dir(Path::new("/db")).unwrap();
        let lens = |sim: &SimEnv| -> BTreeSet<usize> {
            futures(sim, "1.log", CutModel::Hostile).iter().map(|bytes| bytes.as_ref().unwrap().len()).collect()
        };
        assert_eq!(lens(&sim), [0, 512, 1024, 1536, 2048].into());
        segment.sync().unwrap();
        assert_eq!(lens(&sim), [2048].into());
        store(&*segment, 0, b"frame");
        segment.trim(5).unwrap();
        assert_eq!(sim.read_file(&at("1.log")), some(b"frame"));
        let futures = futures(&sim, "1.log", CutModel::Hostile);
        let mut untrimmed = vec![0; 2048];
        assert!(futures.contains(&some(&untrimmed)), "nothing");
        untrimmed[..5].copy_from_slice(b"frame");
        assert!(futures.contains(&some(&untrimmed)), "only the store");
        assert!(
            futures.contains(&some(b"frame")) && futures.contains(&some(&[0; 5])),
            "the trim with and without the store"
        );
        assert_eq!(futures.len(), 4);
    }
}

#[test]
fn a_trim_that_is_lost_leaves_what_it_cut_off() {
    let sim = machine();
    let segment = segment(&sim, 2048, SegmentKind::Mapped);
    store(&*segment, 0, &[7; 2048]);
    segment.sync().unwrap();
    segment.trim(600).unwrap();
    let futures = futures(&sim, "1.log", CutModel::Hostile);
    let mut cut_sector_zeroed = [7; 2048];
    cut_sector_zeroed[600..1024].fill(0);
    // The sector in which the cut falls is rewritten with zeros at its end; those after it are not touched.
    assert_eq!(futures, [some(&[7; 600]), some(&[7; 2048]), some(&cut_sector_zeroed)].into());
}

#[test]
fn the_power_goes_between_two_stores() {
    let sim = machine();
    sim.set_written_back_once_in(0);
    let segment = segment(&sim, 512, SegmentKind::Mapped);
    sim.cut_after(sim.ops() + 1);
    store(&*segment, 0, b"first");
    assert!(sim.power_is_off());
    store(&*segment, 8, b"second");
    let mut with_first = [0; 512];
    with_first[..5].copy_from_slice(b"first");
    assert_eq!(futures(&sim, "1.log", CutModel::Hostile), [some(&[0; 512]), some(&with_first)].into());

    let errors = [
        segment.sync().unwrap_err(),
        segment.trim(1).unwrap_err(),
        sim.create(&at("x")).map(|_| ()).unwrap_err(),
        sim.create_segment(&at("x"), 1, SegmentKind::Mapped).map(|_| ()).unwrap_err(),
        sim.rename(&at("1.log"), &at("x")).unwrap_err(),
        sim.unlink(&at("1.log")).unwrap_err(),
        sim.sync_dir(Path::new("/db")).unwrap_err(),
        sim.create_dir(&at("sub")).unwrap_err(),
        sim.lock(&at("LOCK"), LockMode::Exclusive).map(|_| ()).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("the power is off"), "{error}");
    }
    assert_eq!(sim.list(), [at("1.log")]);
    let image = sim.crash_image(1, CutModel::Hostile);
    image.create(&at("x")).unwrap();
    assert_eq!(image.ops(), 1, "the new machine has power");
}

#[test]
fn every_effect_counts_once_and_syncs_are_known() {
    let sim = machine();
    assert_eq!((sim.ops(), sim.sync_points()), (2, vec![2]), "a directory is made and synced");
    let file = sim.create(&at("a")).unwrap();
    file.append(b"x").unwrap();
    file.sync().unwrap();
    sim.sync_dir(Path::new("/db")).unwrap();
    let segment = sim.create_segment(&at("b"), 512, SegmentKind::Mapped).unwrap();
    store(&*segment, 0, b"x");
    segment.write(0, b"x").unwrap();
    segment.trim(1).unwrap();
    sim.rename(&at("a"), &at("c")).unwrap();
    sim.unlink(&at("c")).unwrap();
    assert_eq!((sim.ops(), sim.sync_points()), (11, vec![2, 5, 6]), "what a mapping has need not be written");
    assert_eq!(sim.sync_count(), 3);
    sim.open_read(&at("b")).unwrap().unwrap().map().unwrap();
    assert!(sim.create(&at("b")).is_err() && sim.unlink(&at("c")).is_err());
    assert_eq!(sim.ops(), 11, "reading and being refused change nothing");
}

#[test]
fn versions_in_between_may_survive() {
    let versions = |once_in| {
        let sim = machine();
        let segment = segment(&sim, 1024, SegmentKind::Mapped);
        sim.set_written_back_once_in(once_in);
        for version in 1..=3u8 {
            store(&*segment, 512, &[version; 16]);
        }
        let futures = futures(&sim, "1.log", CutModel::Hostile);
        futures.into_iter().map(|bytes| bytes.unwrap()[512..528].to_vec()).collect::<BTreeSet<_>>()
    };
    assert_eq!(versions(0), [vec![0; 16], vec![3; 16]].into());
    // Written back at every store; which ones, and how much of them, is for the seed of the machine: ask several.
    let mut all = BTreeSet::new();
    for machine_seed in 0..100 {
        let sim = SimEnv::new(machine_seed);
        sim.set_written_back_once_in(1);
        let segment = sim.create_segment(Path::new("/1.log"), 512, SegmentKind::Mapped).unwrap();
        segment.sync().unwrap();
        sim.sync_dir(Path::new("/")).unwrap();
        store(&*segment, 0, &[1; 16]);
        store(&*segment, 0, &[2; 16]);
        let image = |seed| sim.crash_image(seed, CutModel::Hostile).read_file(Path::new("/1.log")).unwrap();
        all.extend((0..50).map(|seed| image(seed)[..16].to_vec()));
        assert!((0..50).all(|seed| sim.crash_image(seed, CutModel::Strict).read_file(Path::new("/1.log")).unwrap() == [0; 512]));
    }
    let words = |low: u8, high: u8| [[low; 8], [high; 8]].concat();
    // The last word of the second store never stands without the first: it was not the version of any moment.
    let moments = [words(0, 0), words(1, 0), words(1, 1), words(2, 1), words(2, 2)];
    assert!(all.is_subset(&moments.into()), "{all:?}");
    assert!(all.contains(&words(1, 1)) && all.contains(&words(2, 1)), "a version in between, and a torn one");
}

#[test]
fn versions_from_before_a_sync_do_not_come_back() {
    let sim = machine();
    let segment = segment(&sim, 512, SegmentKind::Mapped);
    sim.set_written_back_once_in(1);
    store(&*segment, 0, &[1; 512]);
    store(&*segment, 0, &[2; 512]);
    segment.sync().unwrap();
    sim.set_written_back_once_in(0);
    store(&*segment, 0, &[3; 512]);
    assert_eq!(futures(&sim, "1.log", CutModel::Hostile), [some(&[2; 512]), some(&[3; 512])].into());
}

#[test]
fn growing_step_by_step_is_one_effect() {
    let sim = machine();
    let file = durable(&sim, "a", b"");
    for _ in 0..100 {
        file.append(b"12345").unwrap();
    }
    assert_eq!(sim.unsynced_effects(), 2, "a sector and a length");
    file.sync().unwrap();
    assert_eq!(sim.unsynced_effects(), 0);
}

#[test]
fn an_open_file_outlives_its_name() {
    let sim = machine();
    durable(&sim, "a", b"bytes");
    let file = sim.open_read(&at("a")).unwrap().unwrap();
    sim.unlink(&at("a")).unwrap();
    sim.sync_dir(Path::new("/db")).unwrap();
    let mut buffer = [0; 5];
    file.read_at(0, &mut buffer).unwrap();
    assert_eq!(&buffer, b"bytes");
    assert_eq!(sim.disk().file_count(), 1);
}

#[test]
fn a_failed_sync_loses_and_later_ones_do_not_notice() {
    let sim = machine();
    let segment = segment(&sim, 1024, SegmentKind::Mapped);
    store(&*segment, 0, b"lost");
    sim.break_next_sync(5);
    let error = segment.sync().unwrap_err();
    assert_eq!((error.kind(), error.os_code()), (ErrorKind::Io, Some(5)));
    store(&*segment, 512, b"later");
    segment.sync().unwrap();
    assert_eq!(&sim.read_file(&at("1.log")).unwrap()[..4], b"lost", "the process still sees it");
    let mut expected = [0; 1024];
    expected[512..517].copy_from_slice(b"later");
    for model in [CutModel::Strict, CutModel::Hostile] {
        assert_eq!(futures(&sim, "1.log", model), [some(&expected)].into());
    }
    // Touched again it is dirty again, all of the sector.
    store(&*segment, 8, b"x");
    segment.sync().unwrap();
    expected[..9].copy_from_slice(b"lost\0\0\0\0x");
    assert_eq!(futures(&sim, "1.log", CutModel::Hostile), [some(&expected)].into());

    // Lengths and names too.
    let file = durable(&sim, "a", b"");
    file.append(b"x").unwrap();
    assert!(sim.lose_unsynced(&at("a")));
    file.sync().unwrap();
    assert_eq!(futures(&sim, "a", CutModel::Hostile), [some(b"")].into());
    sim.create(&at("b")).unwrap();
    sim.break_next_sync(5);
    assert!(sim.sync_dir(Path::new("/db")).is_err());
    sim.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(futures(&sim, "b", CutModel::Hostile), [None].into());
    assert!(!sim.lose_unsynced(&at("none")));
}

#[test]
fn a_full_disk_is_an_error_that_heals() {
    let no_space = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::NoSpace);
    let sim = machine();
    sim.set_capacity(Some(4096));
    let mapped = sim.create_segment(&at("1.log"), 2048, SegmentKind::Mapped).unwrap();
    assert_eq!(sim.free_space(Path::new("/db")).unwrap(), 2048);
    no_space(sim.create_segment(&at("2.log"), 2049, SegmentKind::Mapped).map(|_| ()));
    no_space(sim.create_segment(&at("2.log"), 2049, SegmentKind::Positioned).map(|_| ()));
    assert_eq!(sim.list(), [at("1.log")]);
    let file = sim.create(&at("a")).unwrap();
    file.append(&[1; 2000]).unwrap();
    no_space(file.append(&[1; 49]));
    assert_eq!(sim.read_file(&at("a")).unwrap().len(), 2000, "nothing of it");
    file.append(&[1; 48]).unwrap();
    no_space(sim.create(&at("b")).map(|_| ()));
    store(&*mapped, 0, &[1; 2048]);

    // Removed, but space comes back when the last handle goes.
    sim.unlink(&at("1.log")).unwrap();
    assert_eq!(sim.free_space(Path::new("/db")).unwrap(), 0);
    drop(mapped);
    assert_eq!(sim.free_space(Path::new("/db")).unwrap(), 2048);
    sim.set_reserves(false);
    let lazy = sim.create_segment(&at("3.log"), 8192, SegmentKind::Positioned).unwrap();
    lazy.write(0, &[1; 2048]).unwrap();
    no_space(lazy.write(2048, &[1; 1]));
    sim.set_capacity(None);
    lazy.write(2048, &[1; 1]).unwrap();
    sim.set_capacity(Some(1));
    assert_eq!(sim.free_space(Path::new("/db")).unwrap(), 0);
    let image = sim.crash_image(0, CutModel::Hostile);
    assert!(image.free_space(Path::new("/db")).unwrap() <= 1, "the next machine has the same disk");
}

#[test]
fn locks_exclude_and_do_not_survive() {
    let sim = machine();
    let path = at("LOCK");
    let lock = |sim: &SimEnv, path: &Path, mode| sim.lock(path, mode).map_err(|e| e.kind());
    let writer = lock(&sim, &path, LockMode::Exclusive).unwrap();
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        assert_eq!(lock(&sim, Path::new("db/./LOCK"), mode).unwrap_err(), ErrorKind::Locked);
    }
    drop(lock(&sim.crash_image(0, CutModel::Hostile), &path, LockMode::Exclusive).unwrap());
    drop(writer);
    let readers = [lock(&sim, &path, LockMode::Shared).unwrap(), lock(&sim, &path, LockMode::Shared).unwrap()];
    let [first, second] = readers;
    drop(first);
    assert_eq!(lock(&sim, &path, LockMode::Exclusive).unwrap_err(), ErrorKind::Locked);
    drop(second);
    drop(lock(&sim, &path, LockMode::Exclusive).unwrap());
    assert_eq!(sim.list(), [path]);
}

#[test]
fn files_are_read_and_mapped_as_they_are() {
    let sim = machine();
    durable(&sim, "a", b"0123456789");
    let file = sim.open_read(&at("a")).unwrap().unwrap();
    let mut buffer = [0; 4];
    file.read_at(6, &mut buffer).unwrap();
    assert_eq!((&buffer, file.len()), (b"6789", 10));
    for offset in [7, 10, u64::MAX] {
        assert_eq!(file.read_at(offset, &mut buffer).unwrap_err().kind(), ErrorKind::Corruption);
    }
    assert_eq!(file.map().unwrap().len(), 10);
    assert_eq!(sim.open_append(&at("a"), 9).map(|_| ()).unwrap_err().kind(), ErrorKind::Corruption);
    assert!(sim.open_append(&at("b"), 0).is_err());
    assert!(sim.open_read(&at("b")).unwrap().is_none());
    assert_eq!(sim.open_read(Path::new("/db")).map(|_| ()).unwrap_err().kind(), ErrorKind::NotADatabase);
    let opened = sim.open_segment(&at("a"), SegmentKind::Mapped).unwrap();
    assert_eq!(opened.memory().len(), 10);
    assert!(opened.memory().observer().is_none());
    assert_eq!(opened.sync().unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(opened.write(0, b"x").unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(opened.trim(0).unwrap_err().kind(), ErrorKind::Internal);
    assert!(sim.open_segment(&at("b"), SegmentKind::Mapped).is_err());
    sim.write_file(&at("empty"), b"");
    assert!(sim.open_segment(&at("empty"), SegmentKind::Positioned).is_err());
    assert_eq!(sim.list_dir(Path::new("/db")).unwrap(), ["a", "empty"]);
    assert!(sim.list_dir(&at("none")).is_err());
}

#[test]
fn damage_is_durable() {
    let sim = machine();
    let file = durable(&sim, "a", &[0; 600]);
    file.append(b"x").unwrap();
    assert!(sim.flip(&at("a"), 599, 3) && !sim.flip(&at("a"), 601, 0) && !sim.flip(&at("b"), 0, 0));
    for model in [CutModel::Strict, CutModel::Hostile] {
        assert!(futures(&sim, "a", model).iter().flatten().all(|bytes| bytes[599] == 8), "wherever it stands");
    }
    sim.unlink(&at("a")).unwrap();
    sim.write_file(&at("a"), b"stale");
    sim.write_file(Path::new("/deep/er/b"), b"b");
    assert_eq!(sim.list(), [at("a"), PathBuf::from("/deep/er/b")]);
    assert_eq!(futures(&sim, "a", CutModel::Hostile), [some(b"stale")].into());
    assert!(sim.remove(&at("a")) && !sim.remove(&at("a")));
    assert_eq!(futures(&sim, "a", CutModel::Hostile), [None].into());
    let image = sim.crash_image(3, CutModel::Hostile);
    assert_eq!(image.read_file(Path::new("/deep/er/b")), some(b"b"));
}

#[test]
fn images_are_functions_of_their_seeds_and_durable() {
    let run = || {
        let sim = machine();
        sim.set_written_back_once_in(4);
        let segment = segment(&sim, 8192, SegmentKind::Mapped);
        for number in 0..200u64 {
            store(&*segment, (number * 37) as usize, &number.to_le_bytes());
        }
        sim.create(&at("a")).unwrap().append(&[1; 5000]).unwrap();
        sim
    };
    let contents =
        |sim: &SimEnv| -> Vec<_> { sim.list().into_iter().map(|path| (sim.read_file(&path), path)).collect() };
    let (one, other) = (run(), run());
    let mut all = BTreeSet::new();
    for seed in 0..50 {
        let image = one.crash_image(seed, CutModel::Hostile);
        assert_eq!(contents(&image), contents(&other.crash_image(seed, CutModel::Hostile)));
        assert_eq!(image.unsynced_effects(), 0);
        assert_eq!(contents(&image), contents(&image.crash_image(seed + 1, CutModel::Hostile)));
        all.insert(contents(&image));
    }
    assert!(all.len() > 30, "{} different futures of 50", all.len());
}

#[test]
fn a_test_can_walk_through_every_future() {
    let sim = machine();
    sim.set_written_back_once_in(0);
    let segment = segment(&sim, 4096, SegmentKind::Mapped);
    for sector in [0, 3, 5] {
        store(&*segment, sector * SECTOR, b"x");
    }
    sim.create(&at("a")).unwrap();
    assert_eq!(sim.unsynced_effects(), 4);
    // An odometer over the answers, as a test of the engine would write it.
    let (mut answers, mut futures) = (Vec::<(usize, usize)>::new(), BTreeSet::new());
    loop {
        let mut asked = 0;
        let image = sim.crash_image_by(CutModel::Hostile, &mut |ways| {
            if asked == answers.len() {
                answers.push((0, ways));
            }
            asked += 1;
            answers[asked - 1].0
        });
        futures.insert((image.read_file(&at("1.log")), image.read_file(&at("a"))));
        while answers.last().is_some_and(|(answer, ways)| answer + 1 == *ways) {
            answers.pop();
        }
        match answers.last_mut() {
            Some((answer, _)) => *answer += 1,
            None => break,
        }
    }
    assert_eq!(futures.len(), 16);
}

#[test]
fn what_nobody_can_reach_is_forgotten() {
    let sim = machine();
    for _ in 0..100 {
        durable(&sim, "a", &[1; 1000]);
        sim.unlink(&at("a")).unwrap();
    }
    sim.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(sim.free_space(Path::new("/db")).unwrap(), 1 << 50);
    assert_eq!(sim.disk().file_count(), 0);
    sim.create(&at("a")).unwrap();
    sim.unlink(&at("a")).unwrap();
    // Its creation may survive without its removal.
    assert_eq!(futures(&sim, "a", CutModel::Hostile), [None, some(b"")].into());
}

#[test]
fn time_and_threads_are_the_test_s() {
    let sim = machine();
    assert_eq!(sim.now(), Duration::ZERO);
    sim.advance(Duration::from_secs(3));
    assert_eq!(sim.now(), Duration::from_secs(3));
    assert_eq!(sim.crash_image(0, CutModel::Strict).now(), Duration::from_secs(3), "time goes on");
    assert!(matches!(sim.spawn("worker", Box::new(|| panic!("runs"))).unwrap(), Spawned::Stepped));
    assert_eq!(sim.preferred_segment(Path::new("/db")).unwrap(), SegmentKind::Mapped);
    sim.set_preferred_segment(SegmentKind::Positioned);
    assert_eq!(
        sim.crash_image(0, CutModel::Strict).preferred_segment(Path::new("/db")).unwrap(),
        SegmentKind::Positioned
    );
}

/// The difference that `SimFile` keeps, against a plain history of whole files: what is synced is exact, and every
/// surviving sector is one of the versions it had since.
#[test]
fn a_file_agrees_with_its_plain_history() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut file = SimFile::default();
        let mut history = vec![Vec::new()];
        for step in 0..60 {
            let now = history.last().unwrap().clone();
            match rng.below(10) {
                0 => {
                    file.sync();
                    history = vec![now];
                }
                1 => {
                    let len = rng.below(now.len() + 700);
                    file.set_len(len);
                    let mut next = now;
                    next.resize(len, 0);
                    history.push(next);
                }
                _ => {
                    let (offset, len) = (rng.below(now.len() + 100), rng.below(1500));
                    let bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
                    // Torn versions are tested elsewhere: they are in no history.
                    file.write(offset, &bytes, 0, &mut rng);
                    let mut next = now;
                    if len > 0 {
                        next.resize(next.len().max(offset + len), 0);
                        next[offset..offset + len].copy_from_slice(&bytes);
                    }
                    history.push(next);
                }
            }
            let (first, last) = (history.first().unwrap(), history.last().unwrap());
            assert_eq!(file.bytes(), last, "seed {seed} step {step}");
            assert_eq!(&file.survive(CutModel::Strict, &mut Seeded::new(0)), first, "seed {seed} step {step}");
            let lens = history.iter().map(Vec::len);
            let (shortest, longest) = (lens.clone().min().unwrap(), lens.max().unwrap());
            let survivor = file.survive(CutModel::Hostile, &mut Seeded::new(rng.next()));
            assert!((shortest..=longest).contains(&survivor.len()), "seed {seed} step {step}");
            for (number, sector) in survivor.chunks(SECTOR).enumerate() {
                let padded = |bytes: &[u8]| -> Vec<u8> {
                    let rest = bytes.get(number * SECTOR..).unwrap_or_default();
                    rest.iter().copied().chain(std::iter::repeat(0)).take(sector.len()).collect()
                };
                assert!(history.iter().any(|bytes| padded(bytes) == sector), "seed {seed} step {step} sector {number}");
            }
        }
    }
}

/// Not a test of time but a figure for whoever wants it: `cargo test --release image_cost -- --ignored --nocapture`.
#[test]
#[ignore = "prints a figure"]
#[expect(clippy::disallowed_methods, reason = "measures real time")]
fn image_cost() {
    let sim = machine();
    let segment = segment(&sim, 65_536, SegmentKind::Mapped);
    for name in ["2.tbl", "3.tbl", "4.tbl", "MANIFEST"] {
        durable(&sim, name, &[1; 65_536]);
    }
    let start = std::time::Instant::now();
    for number in 0..100_000 {
        store(&*segment, number * 144 % 65_000 / 8 * 8, &[number as u8; 144]);
    }
    println!("store: {:?}", start.elapsed() / 100_000);
    let start = std::time::Instant::now();
    for seed in 0..5_000 {
        assert!(!sim.crash_image(seed, CutModel::Hostile).list().is_empty());
    }
    println!("image: {:?}", start.elapsed() / 5_000);
}

/// What is reserved is charged, whether segments are or not; without room nothing stays behind.
#[test]
fn a_reserve_is_charged() {
    let sim = SimEnv::new(1);
    sim.set_reserves(false);
    sim.set_capacity(Some(200_000));
    let (dir, path) = (Path::new("/db"), Path::new("/db/RESERVE"));
    sim.create_dir(dir).unwrap();
    let free = sim.free_space(dir).unwrap();
    sim.reserve(path, 150_000).unwrap();
    assert_eq!(sim.free_space(dir).unwrap(), free - 150_000u64.next_multiple_of(512));
    sim.unlink(path).unwrap();
    assert_eq!(sim.reserve(path, 250_000).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!((sim.free_space(dir).unwrap(), sim.read_file(path)), (free, None));
}
