//! Repairs that do not come to their end: the power goes, or a call fails.

use std::path::Path;

use kvs::env::fault::{Fault, FaultEnv};
use kvs::env::sim::{CutModel, SimEnv};
use kvs::{Db, Options, repair_with};

use crate::{DIR, KEYS, OUT, Store, common, key, options, store};

/// What is in the new store, if it opens as one.
fn contents(env: &SimEnv) -> Option<Vec<Option<Vec<u8>>>> {
    let options = Options { create: false, ..options() };
    let db = Db::open_with(env.shared(), OUT, options).ok()?;
    let contents = (0..KEYS).map(|n| db.get_owned(key(n)).unwrap()).collect();
    db.close().unwrap();
    Some(contents)
}

fn truth(store: &Store) -> Vec<Option<Vec<u8>>> {
    (0..KEYS).map(|n| store.truth.get(&key(n)).cloned()).collect()
}

/// The power goes at any call of a repair: what opens afterwards is the whole store, or one without a key; never a part. When the
/// repair has returned it is the whole store, whatever was not synced.
#[test]
fn a_repair_that_is_cut_off_leaves_nothing_that_looks_whole() {
    let seed = common::seed(811);
    let store = store(seed, true);
    let truth = truth(&store);
    let image = store.copy();
    let before = image.ops();
    repair_with(image.shared(), DIR, OUT, &options()).unwrap();
    let ops = image.ops() - before;
    assert_eq!(contents(&image.crash_image(seed, CutModel::Strict)), Some(truth.clone()), "it was durable");
    let (mut refused, mut empty, mut whole) = (0, 0, 0);
    for op in 0..ops {
        let image = store.copy();
        image.cut_after(image.ops() + op);
        let _ = repair_with(image.shared(), DIR, OUT, &options());
        for model in [CutModel::Strict, CutModel::Ordered, CutModel::Hostile] {
            let after = image.crash_image(seed ^ op, model);
            match contents(&after) {
                None => refused += 1,
                Some(found) if found.iter().all(Option::is_none) => empty += 1,
                Some(found) => {
                    assert_eq!(found, truth, "seed {seed}, cut after {op} of {ops} calls, {model:?}");
                    whole += 1;
                }
            }
            let old = |sim: &SimEnv| store.files().iter().map(|path| sim.read_file(path)).collect::<Vec<_>>();
            assert!(old(&image) == old(&store.sim), "seed {seed}: the old store changed");
        }
    }
    println!("of {ops} calls, three times: refused {refused}, empty {empty}, whole {whole}");
    assert!(refused > 10 && empty < 20, "{refused} {empty} {whole}");
}

/// Any call fails once, or all from then on: an error and nothing left behind that opens, or a store of which the list says what is
/// not in it. (A file that can't be read is as good as a damaged one.)
#[test]
fn any_call_of_a_repair_may_fail() {
    let seed = common::seed(812);
    let store = store(seed, true);
    let truth = truth(&store);
    let (mut failed, mut listed, mut complete) = (0, 0, 0);
    for forever in [false, true] {
        for n in 1.. {
            let image = store.copy();
            let (env, plan) = FaultEnv::over_sim(&image);
            let fault = if forever { Fault::eio().forever() } else { Fault::eio() };
            plan.fail_nth(n, fault);
            let repaired = repair_with(env, DIR, OUT, &options());
            let fired = plan.fired();
            plan.clear();
            let context = format!("seed {seed}, call {n}, for ever {forever}");
            match repaired {
                Ok(repaired) => {
                    let found = contents(&image).unwrap_or_else(|| panic!("{context}: it opens"));
                    for (n, found) in (0..KEYS).zip(found) {
                        let is_listed = repaired.left_out.iter().any(|lost| store.speaks_of(lost, &key(n)));
                        let known = store.truth.get(&key(n)) == found.as_ref();
                        assert!(known || is_listed, "{context}: {:?}\n{repaired}", key(n).escape_ascii().to_string());
                    }
                    *(if repaired.is_complete() { &mut complete } else { &mut listed }) += 1;
                }
                Err(failure) => {
                    failed += 1;
                    let left =
                        image.list().into_iter().any(|path| path.starts_with(OUT) && path.ends_with("REPAIRING"));
                    let found = contents(&image).filter(|found| found.iter().any(Option::is_some));
                    // Only the very last call can fail when the store is whole.
                    assert!(found.is_none_or(|found| found == truth), "{context}: a part of a store opens");
                    assert!(
                        forever || !left,
                        "{context}: it was not cleared away: {failure:?}\n{:?}",
                        plan.log().last_chunk::<20>()
                    );
                }
            }
            assert!(image.read_file(&Path::new(DIR).join("REPAIRING")).is_none());
            if fired == 0 {
                break;
            }
        }
    }
    println!("failed {failed}, listed {listed}, complete {complete}");
    assert!(failed > 20 && listed > 5 && complete > 0);
}
