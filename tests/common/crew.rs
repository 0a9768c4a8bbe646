//! Threads that start together.
//!
//! Built from locks and joins that ThreadSanitizer understands: the standard library's barrier and scoped threads are not
//! instrumented and would be reported.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// A thread's work.
pub type Task = Box<dyn FnOnce() + Send>;

/// Makes the collector of epochs, before any thread that uses it is started.
pub fn warm_up() {
    drop(kvs::handles::pin());
}

struct Gate {
    missing: Mutex<usize>,
    opened: Condvar,
}

/// Runs all `tasks`, each on a thread of its own, from one moment on; returns when all are done. A panic in one is passed on.
pub fn run(tasks: Vec<Task>) {
    warm_up();
    let gate = Arc::new(Gate { missing: Mutex::new(tasks.len()), opened: Condvar::new() });
    let start = |task: Task| {
        let gate = Arc::clone(&gate);
        #[expect(clippy::disallowed_methods, reason = "the tests' own threads")]
        std::thread::spawn(move || {
            let mut missing = gate.missing.lock();
            *missing -= 1;
            if *missing == 0 {
                gate.opened.notify_all();
            }
            gate.opened.wait_while(&mut missing, |missing| *missing > 0);
            drop(missing);
            task();
        })
    };
    let threads: Vec<_> = tasks.into_iter().map(start).collect();
    let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
    if let Some(panic) = ended.into_iter().find_map(Result::err) {
        std::panic::resume_unwind(panic);
    }
}

/// `n` of what `make` makes.
pub fn tasks<F: FnOnce() + Send + 'static>(n: u64, make: impl Fn(u64) -> F) -> impl Iterator<Item = Task> {
    (0..n).map(move |i| Box::new(make(i)) as Task)
}
