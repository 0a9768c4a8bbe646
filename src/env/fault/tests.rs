//! Every call can be made to fail, exactly when planned, and leaves what the traits allow and nothing else.

use super::*;
use crate::env::os::OsEnv;
use crate::env::sim::CutModel;
use crate::error::ErrorKind;

fn db() -> PathBuf {
    PathBuf::from("/db")
}

fn at(name: &str) -> PathBuf {
    db().join(name)
}

/// Every kind of call at least once, in a fixed order; stops at the first error.
fn scenario(env: &dyn Env, dir: &Path) -> Result<()> {
    let at = |name: &str| dir.join(name);
    env.create_dir(dir)?;
    let lock = env.lock(&at("LOCK"), LockMode::Exclusive)?;
    env.free_space(dir)?;
    env.preferred_segment(dir)?;
    let file = env.create(&at("MANIFEST.tmp"))?;
    file.append(b"first")?;
    file.sync()?;
    env.rename(&at("MANIFEST.tmp"), &at("MANIFEST"))?;
    env.sync_dir(dir)?;
    env.open_append(&at("MANIFEST"), 5)?.append(b" second")?;
    let segment = env.create_segment(&at("1.log"), 4096, SegmentKind::Positioned)?;
    env.populate(segment.memory());
    segment.write(0, b"frame")?;
    segment.sync()?;
    segment.trim(5)?;
    drop(segment);
    env.open_segment(&at("1.log"), SegmentKind::Positioned)?;
    env.sync_file(&at("1.log"))?;
    if let Some(read) = env.open_read(&at("MANIFEST"))? {
        read.read_at(0, &mut [0; 12])?;
        read.map()?;
    }
    assert_eq!(env.list_dir(dir)?.len(), 3);
    env.unlink(&at("1.log"))?;
    if let Spawned::Thread(thread) = env.spawn("worker", Box::new(|| ()))? {
        thread.join().unwrap();
    }
    drop(lock);
    Ok(())
}

#[test]
fn calls_are_counted_and_noted() {
    let (env, plan) = FaultEnv::over_sim(&SimEnv::new(0));
    scenario(&*env, &db()).unwrap();
    let log = plan.log();
    assert_eq!((plan.calls(), plan.fired()), (log.len() as u64, 0));
    for kind in CallKind::ALL {
        let of_kind = log.iter().filter(|(logged, _)| *logged == kind).count();
        assert_eq!(plan.calls_of(kind), of_kind as u64);
        assert!(of_kind > 0, "{kind:?} is in the scenario");
    }
    assert_eq!(log[0], (CallKind::CreateDir, db()));
    assert!(log.contains(&(CallKind::Rename, at("MANIFEST.tmp"))));
    assert!(log.contains(&(CallKind::Spawn, "worker".into())));
    plan.reset();
    assert_eq!((plan.calls(), plan.calls_of(CallKind::Sync), plan.log().len()), (0, 0, 0));
}

#[test]
fn kinds_are_their_own_indices() {
    for (index, kind) in CallKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, index);
    }
}

#[test]
fn the_nth_call_of_all_fails_and_no_other() {
    let (env, plan) = FaultEnv::over_sim(&SimEnv::new(0));
    scenario(&*env, &db()).unwrap();
    let whole = plan.log();
    for reach in [Reach::Nothing, Reach::Part, Reach::Whole] {
        for n in 1..=whole.len() {
            let (env, plan) = FaultEnv::over_sim(&SimEnv::new(0));
            plan.fail_nth(n as u64, Fault::eio().reaching(reach));
            let error = scenario(&*env, &db()).unwrap_err();
            assert_eq!((error.kind(), error.os_code()), (ErrorKind::Io, Some(libc::EIO)), "call {n}: {error}");
            assert!(error.to_string().contains("injected"), "{error}");
            assert_eq!(plan.log(), whole[..n], "stopped there");
            assert_eq!(plan.fired(), 1);
        }
    }
}

#[test]
fn the_real_environment_can_fail_too() {
    let temporary = tempfile::tempdir().unwrap();
    let (env, plan) = FaultEnv::new(OsEnv::shared());
    scenario(&*env, &temporary.path().join("whole")).unwrap();
    for n in 1..=plan.calls() {
        let (env, plan) = FaultEnv::new(OsEnv::shared());
        plan.fail_nth(n, Fault::emfile());
        let dir = temporary.path().join(n.to_string());
        assert_eq!(scenario(&*env, &dir).unwrap_err().os_code(), Some(libc::EMFILE));
        // The lock that the scenario held is free again.
        if n > 1 {
            drop(OsEnv.lock(&dir.join("LOCK"), LockMode::Exclusive).unwrap());
        }
    }
}

#[test]
fn once_or_for_ever_over_all_or_of_one_kind() {
    let results = |env: &dyn Env, calls: usize| -> Vec<bool> {
        (0..calls).map(|_| env.free_space(Path::new("/")).is_ok() & env.list_dir(Path::new("/")).is_ok()).collect()
    };
    let fresh = || FaultEnv::over_sim(&SimEnv::new(0));
    let (env, plan) = fresh();
    plan.fail_nth(2, Fault::eio().on(CallKind::ListDir));
    assert_eq!(results(&*env, 4), [true, false, true, true]);
    let (env, plan) = fresh();
    plan.fail_nth(2, Fault::eio().on(CallKind::ListDir).forever());
    assert_eq!(results(&*env, 4), [true, false, false, false]);
    assert_eq!(plan.fired(), 3);
    plan.clear();
    assert_eq!(results(&*env, 1), [true]);
    let (env, plan) = fresh();
    plan.fail_nth(5, Fault::eio());
    plan.fail_nth(8, Fault::eio());
    assert_eq!(results(&*env, 5), [true, true, false, false, true]);
    plan.fail_next(Fault::eio());
    assert!(env.free_space(Path::new("/")).is_err());
    plan.fail_next(Fault::eio().on(CallKind::ListDir));
    assert!(env.free_space(Path::new("/")).is_ok() && env.list_dir(Path::new("/")).is_err());
    plan.fail_nth(1, Fault::eio());
    assert_eq!(results(&*env, 2), [true, true], "the first call is over");
}

#[test]
fn errors_have_the_kind_of_their_number() {
    let (env, plan) = FaultEnv::over_sim(&SimEnv::new(0));
    for (fault, kind) in [
        (Fault::eio(), ErrorKind::Io),
        (Fault::enospc(), ErrorKind::NoSpace),
        (Fault::edquot(), ErrorKind::NoSpace),
        (Fault::emfile(), ErrorKind::Io),
        (Fault::new(libc::EROFS), ErrorKind::ReadOnly),
    ] {
        plan.fail_next(fault);
        assert_eq!(env.create(Path::new("/a")).unwrap_err().kind(), kind);
    }
}

#[test]
fn a_failed_append_leaves_a_part_and_a_broken_handle() {
    let mut parts = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let sim = SimEnv::new(0);
        let (env, plan) = FaultEnv::over_sim(&sim);
        plan.set_seed(seed);
        let file = env.create(Path::new("/a")).unwrap();
        file.append(b"good").unwrap();
        plan.fail_next(Fault::eio());
        file.append(b"bad").unwrap_err();
        let bytes = sim.read_file(Path::new("/a")).unwrap();
        let retried = file.append(b"again");
        assert_eq!(retried.is_err(), bytes.len() > 4, "broken if anything was left: {retried:?}");
        parts.insert(bytes);
    }
    assert_eq!(parts, [b"good".to_vec(), b"goodb".to_vec(), b"goodba".to_vec()].into());

    let sim = SimEnv::new(0);
    let (env, plan) = FaultEnv::over_sim(&sim);
    let file = env.create(Path::new("/a")).unwrap();
    plan.fail_next(Fault::enospc());
    file.append(b"bad").unwrap_err();
    file.append(b"good").unwrap();
    assert_eq!(sim.read_file(Path::new("/a")).unwrap(), b"good", "a full disk heals");
    plan.fail_next(Fault::eio().reaching(Reach::Whole));
    file.append(b"!").unwrap_err();
    assert_eq!(sim.read_file(Path::new("/a")).unwrap(), b"good!", "done, but nobody knows");
    assert!(file.append(b"?").is_err());
}

#[test]
fn a_failed_write_leaves_a_part_and_may_be_repeated() {
    let mut parts = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let sim = SimEnv::new(0);
        let (env, plan) = FaultEnv::over_sim(&sim);
        plan.set_seed(seed);
        let segment = env.create_segment(Path::new("/1.log"), 4, SegmentKind::Positioned).unwrap();
        plan.fail_next(Fault::eio());
        segment.write(1, b"abc").unwrap_err();
        parts.insert(sim.read_file(Path::new("/1.log")).unwrap());
        segment.write(1, b"abc").unwrap();
        assert_eq!(sim.read_file(Path::new("/1.log")).unwrap(), b"\0abc");
    }
    assert_eq!(parts, [b"\0\0\0\0".to_vec(), b"\0a\0\0".to_vec(), b"\0ab\0".to_vec()].into());
}

#[test]
fn a_failed_read_may_have_filled_a_part() {
    let sim = SimEnv::new(0);
    sim.write_file(Path::new("/a"), b"abc");
    let (env, plan) = FaultEnv::over_sim(&sim);
    let file = env.open_read(Path::new("/a")).unwrap().unwrap();
    let mut parts = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let mut buffer = *b"___";
        plan.fail_next(Fault::eio());
        file.read_at(0, &mut buffer).unwrap_err();
        parts.insert(buffer);
    }
    assert_eq!(parts, [*b"___", *b"a__", *b"ab_"].into());
}

#[test]
fn a_failed_sync_loses_what_it_should_have_written() {
    let sim = SimEnv::new(0);
    let (env, plan) = FaultEnv::over_sim(&sim);
    let (path, moved) = (Path::new("/a"), Path::new("/b"));
    let file = env.create(path).unwrap();
    env.sync_dir(Path::new("/")).unwrap();
    file.append(b"lost").unwrap();
    // It is the file that loses, whatever its name is by now.
    env.rename(path, moved).unwrap();
    env.sync_dir(Path::new("/")).unwrap();
    plan.fail_next(Fault::eio().on(CallKind::Sync));
    assert_eq!(file.sync().unwrap_err().os_code(), Some(libc::EIO));
    file.sync().unwrap();
    assert_eq!(sim.read_file(moved).unwrap(), b"lost");
    assert!((0..100).all(|seed| sim.crash_image(seed, CutModel::Hostile).read_file(moved).unwrap() == b""));

    env.unlink(moved).unwrap();
    plan.fail_next(Fault::eio().on(CallKind::SyncDir));
    env.sync_dir(Path::new("/")).unwrap_err();
    env.sync_dir(Path::new("/")).unwrap();
    assert!((0..100).all(|seed| sim.crash_image(seed, CutModel::Hostile).read_file(moved).is_some()));

    let file = env.create(path).unwrap();
    file.append(b"kept").unwrap();
    env.sync_dir(Path::new("/")).unwrap();
    plan.fail_next(Fault::eio().reaching(Reach::Whole));
    file.sync().unwrap_err();
    assert_eq!(sim.crash_image(0, CutModel::Strict).read_file(path).unwrap(), b"kept", "done, but nobody knows");
}

#[test]
fn a_call_may_do_all_and_still_fail_but_leaves_no_segment_and_no_thread() {
    let sim = SimEnv::new(0);
    let (env, plan) = FaultEnv::over_sim(&sim);
    let whole = Fault::eio().reaching(Reach::Whole);
    plan.fail_next(whole);
    env.create(Path::new("/a")).unwrap_err();
    assert_eq!(sim.list(), [Path::new("/a")]);
    plan.fail_next(whole);
    env.rename(Path::new("/a"), Path::new("/b")).unwrap_err();
    assert_eq!(sim.list(), [Path::new("/b")]);
    plan.fail_next(whole);
    env.create_segment(Path::new("/1.log"), 512, SegmentKind::Mapped).unwrap_err();
    assert_eq!(sim.list(), [Path::new("/b")]);
    plan.fail_next(whole);
    env.lock(Path::new("/b"), LockMode::Exclusive).unwrap_err();
    drop(env.lock(Path::new("/b"), LockMode::Exclusive).unwrap());

    let (env, plan) = FaultEnv::new(OsEnv::shared());
    plan.fail_next(whole);
    env.spawn("worker", Box::new(|| panic!("it ran"))).unwrap_err();
}

/// Stores into a mapped segment reach the file through the wrapper, uncounted.
#[test]
fn a_mapped_segment_is_passed_through() {
    let sim = SimEnv::new(0);
    let (env, plan) = FaultEnv::over_sim(&sim);
    let segment = env.create_segment(Path::new("/1.log"), 8, SegmentKind::Mapped).unwrap();
    assert_eq!((segment.kind(), segment.memory().len()), (SegmentKind::Mapped, 8));
    plan.fail_next(Fault::eio().forever());
    segment.memory().observer().unwrap().stored(2, b"ab");
    segment.write(2, b"ab").unwrap();
    assert_eq!(sim.read_file(Path::new("/1.log")).unwrap(), b"\0\0ab\0\0\0\0");
    assert_eq!(plan.calls(), 1);
    segment.sync().unwrap_err();
    assert_eq!(env.now(), sim.now());
}
