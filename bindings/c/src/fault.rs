//! Hooks for tests: panic in a named function, to see that the panic stops at the boundary; stop in a named place, to see what
//! other threads are told meanwhile.
//!
//! Compiled into builds with debug assertions and with the feature `fault-injection`, and then armed through
//! `kvs_options_set(any, "fault_panic", "kvs_put", ...)`: the next call of that function panics,
//! once. `"engine_write"` panics inside the next write, behind the checks. With `!` after the name, what the panic
//! carries panics again when it is dropped.
//!
//! `kvs_options_set(any, "fault_pause", "engine_move", ...)` holds every thread that comes to that place, until the option is set to ""
//! again: `"engine_move"` is inside a seek, with the iterator taken, `"engine_write"` inside a write, with the batch taken.

#[cfg(not(any(debug_assertions, feature = "fault-injection")))]
mod off {
    #[inline(always)]
    pub(crate) fn point(_name: &'static str) {}

    pub(crate) fn arm(_option: &str, _value: &str) -> bool {
        false
    }
}
#[cfg(not(any(debug_assertions, feature = "fault-injection")))]
pub(crate) use off::*;

#[cfg(any(debug_assertions, feature = "fault-injection"))]
mod on {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The hash of the armed name, its top bit the `!`; 0 is none.
    static ARMED: AtomicU64 = AtomicU64::new(0);
    const BOMB: u64 = 1 << 63;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any("the payload panics as well");
        }
    }

    /// The hash of the place where threads are held; 0 is none.
    static PAUSED: AtomicU64 = AtomicU64::new(0);

    /// Panics, or waits, if this is the armed place.
    #[inline]
    pub(crate) fn point(name: &'static str) {
        while PAUSED.load(Ordering::Relaxed) != 0 && PAUSED.load(Ordering::Relaxed) == hash(name) {
            std::hint::spin_loop();
        }
        // Relaxed: a test arms and calls on one thread.
        if ARMED.load(Ordering::Relaxed) != 0 {
            explode(name);
        }
    }

    #[cold]
    fn explode(name: &'static str) {
        let armed = ARMED.load(Ordering::Relaxed);
        if armed & !BOMB != hash(name) {
            return;
        }
        ARMED.store(0, Ordering::Relaxed);
        if armed & BOMB != 0 {
            std::panic::panic_any(Bomb);
        }
        panic!("injected by the option fault_panic");
    }

    /// Is the option the hook's? Then it is armed.
    pub(crate) fn arm(option: &str, value: &str) -> bool {
        match option {
            "fault_panic" => {}
            "fault_pause" => {
                PAUSED.store(if value.is_empty() { 0 } else { hash(value) }, Ordering::Relaxed);
                return true;
            }
            _ => return false,
        }
        let (name, bomb) = value.strip_suffix('!').map_or((value, 0), |name| (name, BOMB));
        ARMED.store(hash(name) | bomb, Ordering::Relaxed);
        true
    }

    /// FNV-1a, of 63 bits.
    fn hash(name: &str) -> u64 {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        name.bytes().fold(0xcbf2_9ce4_8422_2325, step) & !BOMB
    }
}
#[cfg(any(debug_assertions, feature = "fault-injection"))]
pub(crate) use on::*;
