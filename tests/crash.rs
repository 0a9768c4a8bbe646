//! Power cuts.
//!
//! Proves: whatever a power cut leaves of what was not synced, the store opens, and holds exactly what some first commits left:
//! all that were acknowledged as durable, nothing that was not issued, no half batch, no gap. So it is after a second and a third
//! cut, in the middle of recovery. What recovery found is durable once it is done, and the store can be written again.
//!
//! How: random work on a simulated machine ([`SimEnv`]), once to its end to learn where the syncs are, then again and again
//! with the power cut near those, near rotations, and anywhere. Of each cut several images are made, under each model of what
//! a disk may forget, and each is opened with the real engine and compared with a model of the commits. Both ways to write logs.
//!
//! `KVS_SEED` repeats a run, `KVS_CRASH_IMAGES` lengthens it. A failure prints `seed`, `cut`, `image` and model.
//!
//! The classes of bugs that other stores had, and what would find them here:
//!
//! | class | found by |
//! |---|---|
//! | C1, C3 directory not synced, or not on some path | the images, hostile and ordered; `faults.rs` |
//! | C2 names removed before what replaces them is durable | the images; `c02_a_void_log_that_comes_back_stays_void` |
//! | C4 manifest used before it is durable | the images |
//! | C5 a later log synced before an earlier one | the images |
//! | C6 empty and zeroed files | the images; `c16_a_log_in_the_wrong_place_is_never_believed` |
//! | C7 half a commit accepted | the images; `c13_rot_is_corruption_and_a_torn_tail_is_not` |
//! | C8 growth not durable before it is relied on | the images: lengths survive on their own |
//! | C9 a failed sync ignored or tried again | `faults.rs`; `regressions.rs` |
//! | C10 an error at close ignored | `faults.rs`: close; the images: closed and opened |
//! | C11 a failed write comes back, or its number is used again | `faults.rs`; `regressions.rs`; the images |
//! | C12 a full disk | `faults/full.rs` |
//! | C13 rot taken for a torn tail | `c13_*` in `crash/damage.rs` |
//! | C14 hostile lengths | `c14_cut_grown_and_hostile_lengths` in `corruption.rs` |
//! | C16 a block or a log in the wrong place | `c16_*` in `crash/damage.rs` and `corruption.rs` |
//! | C17 recovery cut off | the images: a fifth are cut again while they recover |
//! | C18 the file system at fault | `c18_verify_finds_every_live_byte` |
//! | C20 two processes, one directory | `kill.rs` |

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/mod.rs"]
mod common;
#[path = "crash/damage.rs"]
mod damage;
#[path = "crash/history.rs"]
mod history;

use common::Rng;
use history::{History, Run, frames, logs, open, run};
use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Durability, LogBackend, Options};

const MODELS: [CutModel; 3] = [CutModel::Strict, CutModel::Ordered, CutModel::Hostile];
/// Of each piece of work, so many cuts are tried, and of each cut so many images.
const CUTS: u64 = 8;
const IMAGES: u64 = 9;

/// What was met.
#[derive(Debug, Default)]
struct Met {
    images: u64,
    /// Not every commit that was begun survived.
    shorter: u64,
    /// And some that were not acknowledged did.
    longer: u64,
    torn_tails: u64,
    void_logs: u64,
    unused_logs: u64,
    cuts_in_recovery: u64,
    second_cuts_in_recovery: u64,
    went_on: u64,
    flushes: u64,
    merge_steps: u64,
    refills: u64,
    /// Images of work that was cut off when it had refilled a segment.
    after_refills: u64,
    written_over: u64,
    /// Images of work that was cut off when a table had been written over another's file.
    after_written_over: u64,
}

fn crash(seed: u64, backend: LogBackend, images: u64) {
    let mut rng = Rng::new(seed);
    let mut met = Met::default();
    while met.images < images {
        let work = rng.next();
        let whole = run(work, backend, None);
        met.flushes += whole.flushes;
        met.merge_steps += whole.merge_steps;
        met.refills += whole.refills;
        met.written_over += whole.written_over;
        let (syncs, edges, ops) = (whole.sim.sync_points(), whole.edges, whole.sim.ops());
        for _ in 0..CUTS {
            let near = |rng: &mut Rng, points: &[u64], reach: u64| match points.len() as u64 {
                0 => rng.below(ops),
                n => (points[rng.below(n) as usize] + rng.below(2 * reach + 1)).saturating_sub(reach),
            };
            let cut = match rng.below(4) {
                0 | 1 => near(&mut rng, &syncs, 2),
                2 => near(&mut rng, &edges, 12),
                _ => rng.below(ops + 1),
            };
            let cut_run = run(work, backend, Some(cut.clamp(1, ops)));
            met.after_refills += if cut_run.refills > 0 { IMAGES } else { 0 };
            met.after_written_over += if cut_run.written_over > 0 { IMAGES } else { 0 };
            for n in 0..IMAGES {
                let model = MODELS[(n % 3) as usize];
                let image = rng.next();
                let context = || format!("seed {seed}, {backend:?}, work {work}, cut {cut}, image {image} {model:?}");
                survive(&cut_run, image, model, &mut met, &context);
            }
        }
    }
    println!("{backend:?}: {met:?}");
    let Met { shorter, longer, torn_tails, void_logs, unused_logs, cuts_in_recovery, second_cuts_in_recovery, .. } =
        met;
    for (what, count) in [
        ("a commit lost", shorter),
        ("an unacknowledged commit kept", longer),
        ("a torn tail", torn_tails),
        ("a void log", void_logs),
        ("a prepared log", unused_logs),
        ("a cut in recovery", cuts_in_recovery),
        ("a second cut in recovery", second_cuts_in_recovery),
        ("life after the crash", met.went_on),
        ("a flush", met.flushes),
        ("a step of a merge", met.merge_steps),
    ] {
        assert!(count * 500 >= images, "{backend:?}: {what} was met {count} times: this proves too little");
    }
    if backend == LogBackend::Mapped {
        let (refills, after) = (met.refills, met.after_refills);
        assert!(refills * 500 >= images && after * 20 >= images, "{refills} segments refilled, {after} images after");
        let (written_over, after) = (met.written_over, met.after_written_over);
        let is_met = written_over * 500 >= images && after * 20 >= images;
        assert!(is_met, "{written_over} tables written over, {after} images after");
    }
}

/// Makes one image and lets it come up again.
fn survive(run: &Run, seed: u64, model: CutModel, met: &mut Met, context: &dyn Fn() -> String) {
    let Run { sim, options, history, claimed, .. } = run;
    let mut rng = Rng::new(seed);
    met.images += 1;
    let mut image = sim.crash_image(rng.next(), model);
    for nth in 0..2 {
        // A fifth dies again while it recovers, and a third of those once more.
        if !rng.one_in(if nth == 0 { 5 } else { 3 }) {
            break;
        }
        let logs_before = logs(&image).len() as u64;
        image.cut_after(rng.below(6 + 2 * logs_before));
        match open(&image, options) {
            Err(e) => assert!(image.power_is_off(), "{}: recovery failed: {e:?}", context()),
            Ok(db) => drop(history.check(&db, history.durable, context)),
        }
        *(if nth == 0 { &mut met.cuts_in_recovery } else { &mut met.second_cuts_in_recovery }) += 1;
        let model = MODELS[rng.below(3) as usize];
        image = image.crash_image(rng.next(), model);
    }

    let before = logs(&image);
    let db = open(&image, options).unwrap_or_else(|e| panic!("{}: it does not open: {e:?}", context()));
    let n = history.check(&db, history.durable, context);
    met.shorter += u64::from(n < history.len());
    met.longer += u64::from(n > history.durable);
    let seq = db.stats().visible_seq;
    assert!(seq >= *claimed, "{}: {claimed} writes were called durable, {seq} are there", context());
    let after = logs(&image);
    for (path, bytes) in before {
        let zeros = bytes.iter().all(|&b| b == 0);
        match after.iter().any(|(kept, _)| *kept == path) {
            false if zeros => met.unused_logs += 1,
            false => met.void_logs += 1,
            true => {
                let whole = frames(&bytes).into_iter().take_while(|(_, _, first, count)| first + count - 1 <= seq);
                let end = whole.last().map_or(80, |(at, len, ..)| at + len);
                met.torn_tails += u64::from(bytes[end.min(bytes.len())..].iter().any(|&b| b != 0));
            }
        }
    }

    // What recovery accepted stays: it was made durable.
    let again = image.crash_image(rng.next(), MODELS[rng.below(3) as usize]);
    let mut accepted = history.clone();
    accepted.settle(n);
    match open(&again, options) {
        Ok(db) => drop(accepted.check(&db, n, &|| format!("{}: a cut right after recovery", context()))),
        Err(e) => panic!("{}: a cut right after recovery: {e:?}", context()),
    }
    if rng.one_in(4) {
        met.went_on += 1;
        go_on(&image, db, accepted, options, &mut rng, context);
    }
}

/// The store is as good as new: it can be written, synced, cut off and opened.
fn go_on(
    sim: &SimEnv,
    db: kvs::Db,
    mut history: History,
    options: &Options,
    rng: &mut Rng,
    context: &dyn Fn() -> String,
) {
    let mapped = options.log_backend == LogBackend::Mapped;
    let fail = |e: kvs::Error| -> ! { panic!("{}: writing after recovery: {e:?}", context()) };
    for _ in 0..1 + rng.below(12) {
        history.write(&db, rng, Durability::Process, mapped).unwrap_or_else(|e| fail(e));
    }
    history.write(&db, rng, Durability::Sync, mapped).unwrap_or_else(|e| fail(e));
    let model = MODELS[rng.below(3) as usize];
    let image = sim.crash_image(rng.next(), model);
    let reopened = open(&image, options).unwrap_or_else(|e| fail(e));
    history.check(&reopened, history.len(), &|| format!("{}: cut after a later sync", context()));
    reopened.verify().unwrap_or_else(|e| fail(e));
    db.close().unwrap_or_else(|e| fail(e));
    let reopened = open(sim, options).unwrap_or_else(|e| fail(e));
    history.check(&reopened, history.len(), &|| format!("{}: closed and opened after a recovery", context()));
}

#[test]
fn a_power_cut_leaves_a_prefix_of_whole_commits_mapped() {
    crash(common::seed(101), LogBackend::Mapped, common::scale("KVS_CRASH_IMAGES", 10_000) / 2);
}

#[test]
fn a_power_cut_leaves_a_prefix_of_whole_commits_positioned() {
    crash(common::seed(102), LogBackend::Positioned, common::scale("KVS_CRASH_IMAGES", 10_000) / 2);
}
