//! How often this process is the child of a fork, and what each such life has for itself.
//!
//! A child of a fork has a copy of its parent's memory and one of its threads. What the other threads were doing stays half done for ever: a
//! lock that one of them held is held, an epoch that one of them had pinned is pinned. So whatever all stores of a process share
//! is [one for each life](PerLife): the child begins with a new one and never looks at its parent's.
//!
//! 1. [`generation`] changes in a child before `fork` returns there, if [`note`] is called by a handler of `pthread_atfork`.
//!    Handlers of two libraries may both call it: it then counts by two, which is as good.
//! 2. A life's value is made by the first who asks, and then is what everybody finds in that life.

use super::{AtomicU64, OnceLock, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);

/// The number of this life: another one in each descendant.
#[inline]
pub fn generation() -> u64 {
    // Relaxed: written only by the child's one thread, before `fork` returns in it.
    FORKS.load(Ordering::Relaxed)
}

/// To be called in the child of every fork. Async-signal-safe.
pub fn note() {
    // Relaxed: see `generation`.
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A value of each life of the process.
#[derive(Debug)]
pub struct PerLife<T> {
    /// That of the life which first asked; later ones follow it. They are as many as there are forks on the way from the first ancestor.
    first: OnceLock<Box<Life<T>>>,
}

#[derive(Debug)]
struct Life<T> {
    generation: u64,
    value: T,
    next: OnceLock<Box<Life<T>>>,
}

impl<T> PerLife<T> {
    /// No value yet.
    pub const fn new() -> PerLife<T> {
        PerLife { first: OnceLock::new() }
    }
}

impl<T: Default> PerLife<T> {
    /// This life's value.
    pub fn get(&self) -> &T {
        self.of(generation())
    }

    fn of(&self, generation: u64) -> &T {
        let mut place = &self.first;
        loop {
            match place.get() {
                Some(life) if life.generation == generation => return &life.value,
                Some(life) => place = &life.next,
                // Made outside of the `OnceLock`, in which a fork should find nobody. Whoever comes second looks at what the first has set.
                None => {
                    let life = Life { generation, value: T::default(), next: OnceLock::new() };
                    let _ = place.set(Box::new(life));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;

    #[test]
    fn each_life_has_its_own() {
        let value: PerLife<Mutex<u32>> = PerLife::new();
        *value.of(3).lock() = 30;
        // As a thread of the parent would leave it.
        let held = value.of(3).lock();
        *value.of(4).lock() = 40;
        *value.of(7).lock() = 70;
        assert_eq!((*value.of(4).lock(), *value.of(7).lock(), *held), (40, 70, 30));
        drop(held);
        assert_eq!(*value.of(3).lock(), 30);
    }
}
