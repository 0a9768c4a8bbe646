//! The worker's duties, turn by turn.

use std::path::Path;

use crate::engine::recovery;
use crate::engine::signal::{COMPACT, GARBAGE};
use crate::env::sim::SimEnv;
use crate::options::Options;

/// The one piece of other work that comes between two flushes is not spent on freeing, which there is to do all the time.
#[test]
fn freeing_is_not_the_piece_between_two_flushes() {
    let core = recovery::open(SimEnv::new(1).shared(), Path::new("/db"), Options::default()).unwrap();
    let mut background = core.background.lock();
    background.has_flushed = true;
    core.signal.tell_garbage();
    core.signal.ask_to_compact();
    assert!(core.turn(&mut background, false));
    assert!(!core.signal.has(GARBAGE | COMPACT));
}
