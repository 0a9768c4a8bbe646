//! Options by name: the complete interface, so that a new option needs no new symbol in any binding.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::{Durability, EventLevel, LogHook, OPTIONS as ENGINE_OPTIONS, Options};

use crate::boundary::{ErrorOut, Fail, Out, Outcome, call, call_or, refused, string};
use crate::error::kvs_error;
use crate::objects::{OPTIONS, free, handle, opaque};
use crate::status::*;
use crate::{fault, fork};

/// How a database is opened. Any thread may use it, several at once.
#[expect(non_camel_case_types, reason = "the name in C")]
pub struct kvs_options {
    _opaque: (),
}

#[derive(Clone, Default)]
pub(crate) struct OptionsBody {
    pub options: Options,
    pub in_memory: bool,
}

/// Makes options, all at their defaults. The caller frees *out with kvs_options_free, at any time after kvs_open.
/// On failure *out is NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_new(out: *mut *mut kvs_options) -> kvs_status {
    call("kvs_options_new", ErrorOut::NONE, || {
        // SAFETY: C2.
        let out = unsafe { Out::null("out", out) }?;
        fork::watch()?;
        out.set(opaque(OPTIONS.insert(OptionsBody::default())?));
        Ok(KVS_OK)
    })
}

/// Sets an option, name and value as text; kvs_option_info lists them all. Sizes take a suffix k, m or g. Both strings are
/// copied. On failure (KVS_E_INVALID: no such option or value, the message lists what there is) nothing is changed.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_set(
    options: *mut kvs_options,
    name: *const c_char,
    value: *const c_char,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_options_set", unsafe { ErrorOut::new(err) }, || {
        let options = handle("options", options)?;
        // SAFETY: C3, for both.
        let (name, value) = unsafe { (string("name", name)?, string("value", value)?) };
        let (name, value) = (text("name", name)?, text("value", value)?);
        OPTIONS.with(options, |body| set(body, name, value)).map_err(|why| refused("options", why))??;
        Ok(KVS_OK)
    })
}

/// Sets the option create: 1, make the database if there is none (the default); 0, do not. KVS_E_INVALID for another number.
/// Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_set_create(
    options: *mut kvs_options,
    on: u32,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_options_set_create", unsafe { ErrorOut::new(err) }, || {
        let on = switch(on)?;
        change(options, |body| body.options.create = on)
    })
}

/// Sets the option read_only: 1, open without writing a byte, beside other readers but not beside a writer; 0, open to write
/// (the default). KVS_E_INVALID for another number.
/// Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_set_read_only(
    options: *mut kvs_options,
    on: u32,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_options_set_read_only", unsafe { ErrorOut::new(err) }, || {
        let on = switch(on)?;
        change(options, |body| body.options.read_only = on)
    })
}

/// Sets the option in_memory: 1, keep everything in memory and nothing on disk, the path of kvs_open is NULL then; 0, on disk
/// (the default). KVS_E_INVALID for another number.
/// Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_set_in_memory(
    options: *mut kvs_options,
    on: u32,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_options_set_in_memory", unsafe { ErrorOut::new(err) }, || {
        let on = switch(on)?;
        change(options, |body| body.in_memory = on)
    })
}

/// Sets the option durability, what a write without KVS_SYNC survives: KVS_DURABILITY_NONE, KVS_DURABILITY_PROCESS or
/// KVS_DURABILITY_SYNC. KVS_E_INVALID for another number.
/// Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_set_durability(
    options: *mut kvs_options,
    durability: u32,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_options_set_durability", unsafe { ErrorOut::new(err) }, || {
        let durability = match durability {
            KVS_DURABILITY_NONE => Durability::None,
            KVS_DURABILITY_PROCESS => Durability::Process,
            KVS_DURABILITY_SYNC => Durability::Sync,
            _ => return Err(Fail::Here(KVS_E_INVALID, "durability", "is none of KVS_DURABILITY_...")),
        };
        change(options, |body| body.options.durability = durability)
    })
}

/// Sets the option cache_bytes: bytes of the block cache, where tables are read by position.
/// Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_set_cache_bytes(
    options: *mut kvs_options,
    bytes: u64,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_options_set_cache_bytes", unsafe { ErrorOut::new(err) }, || {
        change(options, |body| body.options.cache_bytes = bytes)
    })
}

/// Sets the option memory_bytes_max: memory for segments, cache and point index, in bytes.
/// Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_set_memory_bytes_max(
    options: *mut kvs_options,
    bytes: u64,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_options_set_memory_bytes_max", unsafe { ErrorOut::new(err) }, || {
        change(options, |body| body.options.memory_bytes_max = bytes)
    })
}

/// Sets the option memtable_bytes_max: bytes of log that are not in tables yet; writes wait beyond. kvs_open refuses what is too
/// small.
/// Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_set_memtable_bytes_max(
    options: *mut kvs_options,
    bytes: u64,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_options_set_memtable_bytes_max", unsafe { ErrorOut::new(err) }, || {
        change(options, |body| body.options.memtable_bytes_max = bytes)
    })
}

/// Hears of a database's events: what it opens, flushes, merges and closes, when writes have to wait, and above all what goes wrong. level is
/// KVS_LOG_INFO, KVS_LOG_WARNING or KVS_LOG_ERROR; message is one line for people, borrowed until the hook returns, message_len bytes and then
/// a NUL. Called on the database's own thread, or on one that opens or closes it, with no lock held, one event at a time for each
/// database. It must not longjmp or throw, and should be quick: of a slow hook's events some are lost, which it is told. Inside of it reads
/// work; what may wait (writes, kvs_flush, kvs_close and the like) gives KVS_E_REENTRANT, and kvs_free_db does nothing.
#[expect(non_camel_case_types, reason = "the name in C")]
pub type kvs_log_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, level: i32, message: *const c_char, message_len: usize)>;

/// Lets go of what a hook was given.
#[expect(non_camel_case_types, reason = "the name in C")]
pub type kvs_free_fn = Option<unsafe extern "C" fn(ctx: *mut c_void)>;

/// Sets the log hook of databases that are opened with these options; a NULL log takes it away. ctx is handed to each call of it, and to
/// ctx_free, which may be NULL: that is called once, when neither these options nor a database that is open still have the hook, on
/// the thread that closes or frees the last of them. On failure it is not called, and nothing is changed. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_options_set_log(
    options: *mut kvs_options,
    log: kvs_log_fn,
    ctx: *mut c_void,
    ctx_free: kvs_free_fn,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_options_set_log", unsafe { ErrorOut::new(err) }, || {
        let options = handle("options", options)?;
        // Looked up first: from here on the context is ours.
        let set = |body: &mut OptionsBody| {
            let hook = CHook { log, ctx, ctx_free };
            let heard = hook.log.is_some().then(|| LogHook::new(move |level, text| hook.tell(level, text)));
            std::mem::replace(&mut body.options.log, heard)
        };
        // The former hook's context is freed when nothing is locked.
        drop(OPTIONS.with(options, set).map_err(|why| refused("options", why))?);
        Ok(KVS_OK)
    })
}

thread_local! {
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// How many log hooks are running: while there is none, nobody needs to ask for what is the thread's own, which costs a call in a
/// shared library.
static HOOKS: AtomicUsize = AtomicUsize::new(0);

/// This thread is inside of a log hook.
struct Inside(bool);

impl Inside {
    fn enter() -> Inside {
        // Relaxed: only this thread needs to see it, and what comes after.
        HOOKS.fetch_add(1, Ordering::Relaxed);
        Inside(IN_HOOK.replace(true))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        IN_HOOK.set(self.0);
        // Relaxed: as above.
        HOOKS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Is this thread inside of a log hook? Then it may be the one that a write, a flush or a close would wait for.
#[inline]
pub(crate) fn in_hook() -> bool {
    // Relaxed: a thread in a hook has counted itself.
    HOOKS.load(Ordering::Relaxed) != 0 && is_mine()
}

/// Is one of the running hooks on this thread? Out of line, or the compiler fetches the answer before it knows that it needs it.
#[cold]
#[inline(never)]
fn is_mine() -> bool {
    IN_HOOK.get()
}

/// A hook of C.
struct CHook {
    log: kvs_log_fn,
    ctx: *mut c_void,
    ctx_free: kvs_free_fn,
}

// SAFETY: the only thing that is not Send and Sync is `ctx`, which is never followed here: it is handed to the two functions, of which C5
// says that any thread may call them.
unsafe impl Send for CHook {}
// SAFETY: as above; of two threads the engine lets one at a time call `tell` for a database, and C5 covers several databases.
unsafe impl Sync for CHook {}

impl CHook {
    fn tell(&self, level: EventLevel, text: &str) {
        let level = match level {
            EventLevel::Info => KVS_LOG_INFO,
            EventLevel::Warning => KVS_LOG_WARNING,
            _ => KVS_LOG_ERROR,
        };
        let text = CString::new(text.replace('\0', "?")).unwrap_or_default();
        if let Some(log) = self.log {
            let _inside = Inside::enter();
            // SAFETY: C5: `log` is a function of this type that may be called with `ctx` until `ctx_free` was, which is when this is
            // dropped. The text is NUL-terminated, as long as said, and lives until `log` has returned.
            unsafe { log(self.ctx, level, text.as_ptr(), text.as_bytes().len()) }
        }
    }
}

impl Drop for CHook {
    fn drop(&mut self) {
        if let Some(free) = self.ctx_free {
            // SAFETY: C5: `ctx_free` may be called once with `ctx`; this is the only place, and `drop` runs once.
            unsafe { free(self.ctx) }
        }
    }
}

fn switch(on: u32) -> Outcome<bool> {
    match on {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Fail::Here(KVS_E_INVALID, "on", "is neither 0 nor 1")),
    }
}

fn change(options: *mut kvs_options, f: impl FnOnce(&mut OptionsBody)) -> Outcome {
    OPTIONS.with(handle("options", options)?, f).map_err(|why| refused("options", why))?;
    Ok(KVS_OK)
}

pub(crate) fn text<'a>(what: &'static str, string: &'a CStr) -> Outcome<&'a str> {
    string.to_str().map_err(|_| Fail::Here(KVS_E_INVALID, what, "is not UTF-8"))
}

fn set(body: &mut OptionsBody, name: &str, value: &str) -> Outcome<()> {
    if name == "in_memory" {
        body.in_memory = match value {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => return Err(Fail::Here(KVS_E_INVALID, "option in_memory", "must be true or false")),
        };
        return Ok(());
    }
    if fault::arm(name, value) {
        return Ok(());
    }
    Ok(body.options.set(name, value)?)
}

/// How many options there are, for kvs_option_info. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_option_count() -> usize {
    call_or("kvs_option_count", 0, || list().len())
}

/// Describes option number i: its name, its default and one sentence, NUL-terminated. Static: valid for ever,
/// never freed. Any thread. KVS_E_INVALID if a pointer is NULL or i is kvs_option_count() or more.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_option_info(
    i: usize,
    name: *mut *const c_char,
    default_value: *mut *const c_char,
    doc: *mut *const c_char,
) -> kvs_status {
    call("kvs_option_info", ErrorOut::NONE, || {
        // SAFETY: C2, for the three.
        let outs =
            unsafe { [Out::new("name", name)?, Out::new("default_value", default_value)?, Out::new("doc", doc)?] };
        let option = list().get(i).ok_or(Fail::Here(KVS_E_INVALID, "i", "is not below kvs_option_count()"))?;
        for (out, text) in outs.iter().zip(option) {
            out.set(text.as_ptr());
        }
        Ok(KVS_OK)
    })
}

/// Name, default and sentence of every option: the engine's, then ours. Never freed.
fn list() -> &'static [[CString; 3]] {
    static LIST: OnceLock<Vec<[CString; 3]>> = OnceLock::new();
    let ours = ("in_memory", "false", "keep everything in memory and nothing on disk; the path must be NULL");
    let row = |(name, default, doc): (&str, &str, &str)| {
        // None holds a NUL, which a test shows by finding none of them empty.
        [name, default, doc].map(|text| CString::new(text).unwrap_or_default())
    };
    let engine = ENGINE_OPTIONS.iter().map(|option| (option.name, option.default, option.doc));
    LIST.get_or_init(|| engine.chain([ours]).map(row).collect())
}

/// Frees options; databases opened with them are not concerned. NULL, or options freed before: nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_options_free(options: *mut kvs_options) {
    call_or("kvs_options_free", (), || {
        free(&OPTIONS, options);
    })
}
