//! Bugs that were, one file each, opening with its story. None may come back.
#![allow(clippy::unwrap_used, reason = "a test that fails stops")]

#[path = "common/crew.rs"]
mod crew;

mod regressions {
    mod a_merge_that_somebody_waits_for;
    mod durability;
    mod earlier_put_of_a_batch;
    mod estimate_that_poisoned;
    mod merges;
    mod table_of_another_life;
    mod unwritten_tail_at_rotation;
}
