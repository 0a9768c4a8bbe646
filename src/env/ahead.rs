//! Reading ahead of a walk that waits for the disk.
//!
//! A table is mapped and told to be read [anywhere](Memory::expect_random_reads), or the kernel reads around each page that
//! is missing, by up to what its disk is set to: 8 MiB for a value of 100 bytes, where that is what fits into memory at all. A walk
//! from block to block then waits for each page alone. So walks say where they are, and
//!
//! 1. the clock is read whenever one has gone on by a piece, which is 8 KiB at first and twice as much each time, up to 1 MiB;
//! 2. if the piece took longer than it does from memory, the kernel is asked for what comes next, after this piece and the sixteen that follow:
//!    a walk that is helped may not have to wait, and yet would without help;
//! 3. a thread remembers whether its last walk had to wait. Then a seek asks for what a short scan reads ([`sought`]) before it waits for the
//!    first page. The thread, and not the file: what threads share is not written by those who read.
//!
//! A file that is in memory costs a look at the clock for each piece. A caller who takes his time between two entries looks like a disk, and
//! costs a system call for each piece that finds all pages there.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::env::Memory;

/// The first piece: two blocks of usual size.
const PIECE_MIN: u64 = 8 << 10;
/// The longest.
const PIECE_MAX: u64 = 1 << 20;
/// So many pieces are asked for at a time.
const PIECES_AHEAD: u64 = 2;
/// What a seek asks for.
const SOUGHT: u64 = 20 << 10;
/// A piece of this size ...
const SLOW_BYTES: u64 = 1 << 20;
/// ... in more than this time is slow: a walk that checks records of 140 bytes takes an eighth of it from memory.
const SLOW_TIME: Duration = Duration::from_millis(2);
/// How many pieces the answer counts for.
const TRUST: u32 = 16;

thread_local! {
    /// Did the last walk of this thread have to wait?
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// A walk will begin in the block `start..end` of `memory`.
#[inline]
pub fn sought(memory: &Memory, (start, end): (u64, u64), forward: bool) {
    if WAITS.get() {
        memory.will_need(if forward { start } else { end.saturating_sub(SOUGHT) }, SOUGHT);
    }
}

/// How far one walk has come, and whether it waits.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// Where the piece began, and when. None before the second block.
    began: Option<(u64, Instant)>,
    /// Where the block starts that comes next if the walk goes on, or, backwards, ends.
    edge: u64,
    piece: u64,
    trust: u32,
}

impl Default for Ahead {
    fn default() -> Ahead {
        Ahead { began: None, edge: u64::MAX, piece: PIECE_MIN, trust: 0 }
    }
}

impl Ahead {
    /// The walk enters the block `start..end` of `memory`. One that is not its neighbour begins anew.
    #[inline]
    pub fn reach(&mut self, memory: &Memory, (start, end): (u64, u64), forward: bool) {
        let (here, next) = if forward { (start, end) } else { (end, start) };
        if here != self.edge {
            // Most seeks end in the block that they begin in: no clock for these.
            *self = Ahead { edge: next, ..Ahead::default() };
            return;
        }
        self.edge = next;
        match self.began {
            Some((from, _)) if here.abs_diff(from) < self.piece => {}
            _ => self.passed(memory, here, forward),
        }
    }

    #[cold]
    fn passed(&mut self, memory: &Memory, offset: u64, forward: bool) {
        #[expect(clippy::disallowed_methods, reason = "this is the environment")]
        let now = Instant::now();
        let Some((from, since)) = self.began.replace((offset, now)) else { return };
        let gone = offset.abs_diff(from);
        self.piece = (2 * self.piece).min(PIECE_MAX);
        if is_slow(gone, now - since) {
            self.trust = TRUST + 1;
        }
        WAITS.set(self.trust > 0);
        if self.trust > 0 {
            self.trust -= 1;
            let len = PIECES_AHEAD * self.piece;
            memory.will_need(if forward { offset } else { offset.saturating_sub(len) }, len);
        }
    }
}

fn is_slow(bytes: u64, took: Duration) -> bool {
    took.as_nanos() * u128::from(SLOW_BYTES) > SLOW_TIME.as_nanos() * u128::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_depends_on_the_bytes() {
        assert!(!is_slow(1 << 20, Duration::from_millis(2)));
        assert!(is_slow(1 << 20, Duration::from_micros(2001)));
        assert!(is_slow(16 << 10, Duration::from_micros(40)));
        assert!(!is_slow(16 << 10, Duration::from_micros(30)));
    }

    /// Makes the piece one that begins later, so that it is not slow however busy the machine is; or that began long ago.
    #[expect(clippy::disallowed_methods, reason = "puts the clock of a test")]
    fn begun(ahead: &mut Ahead, long_ago: bool) {
        let Some((from, _)) = ahead.began else { return };
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        ahead.began = Some((from, if long_ago { now.checked_sub(second).unwrap() } else { now + 3600 * second }));
    }

    /// Pieces grow while a walk goes from block to block in its direction, what was slow is remembered for a while, and jumps and turns begin
    /// anew. Blocks of any size count.
    #[test]
    fn a_walk_is_followed() {
        let memory = Memory::anonymous(16 << 20).unwrap();
        for block in [4u64 << 10, 100 << 10] {
            let (mut ahead, mut at) = (Ahead::default(), 0);
            let mut go = |ahead: &mut Ahead, blocks: u64| {
                for _ in 0..blocks {
                    ahead.reach(&memory, (at, at + block), true);
                    begun(ahead, false);
                    at += block;
                }
                at
            };
            go(&mut ahead, 1);
            assert!(ahead.began.is_none() && ahead.piece == PIECE_MIN, "a seek asks no clock");
            let end = go(&mut ahead, (4 << 20) / block);
            assert_eq!((ahead.piece, ahead.trust, WAITS.get()), (PIECE_MAX, 0, false));
            begun(&mut ahead, true);
            let next = (end, end + PIECE_MAX);
            ahead.reach(&memory, next, true);
            ahead.reach(&memory, (next.1, next.1 + block), true);
            assert!(ahead.trust == TRUST && WAITS.get(), "it waited for a second");
            sought(&memory, (0, 4096), true);
            sought(&memory, (0, 4096), false);
            ahead.reach(&memory, (next.1 + 2 * block, next.1 + 3 * block), true);
            assert_eq!((ahead.piece, ahead.trust), (PIECE_MIN, 0), "a jump");
            let mut at = next.1 + 2 * block;
            for _ in 0..(4 << 20) / block {
                ahead.reach(&memory, (at - block, at), false);
                begun(&mut ahead, false);
                at -= block;
            }
            assert!(ahead.piece == PIECE_MAX && !WAITS.get(), "backwards as well, and without a wait");
        }
    }
}
