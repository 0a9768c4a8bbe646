//! Verify and repair: is everything readable, and what can be saved if not.

use std::ffi::{CString, c_char};

use engine::{Keys, LeftOut, Repaired, Verified};

use crate::boundary::{ErrorOut, Fail, Out, OutStruct, Outcome, call, call_or, flags, refused, string};
use crate::db::{kvs_db, os_path};
use crate::error::kvs_error;
use crate::fork;
use crate::objects::{OPTIONS, REPORTS, core, free, handle, opaque};
use crate::options::kvs_options;
use crate::status::*;

/// What kvs_verify looked at. Later versions add fields at the end.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct kvs_verified {
    /// Files read.
    pub files: u64,
    /// Records whose every byte was checked.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// What kvs_repair did, in numbers. Later versions add fields at the end.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct kvs_repaired {
    /// Keys in the new database.
    pub keys: u64,
    /// Bytes of these keys and their values.
    pub bytes: u64,
    /// Files that were read.
    pub files: u64,
    /// How much was left out, for kvs_report_left_out. 0: the new database holds exactly what the old one held.
    pub left_out: u64,
    /// How many warnings there are, for kvs_report_warning: damage by which nothing was lost, and what else one should know.
    pub warnings: u64,
}

/// Which keys a kvs_left_out is about: nobody can tell. Any key may show a value from before, or be missing.
pub const KVS_KEYS_UNKNOWN: u64 = 0;
/// Which keys a kvs_left_out is about: the one key low.
pub const KVS_KEYS_ONE: u64 = 1;
/// Which keys a kvs_left_out is about: some, or none, of those from low (included) to high (excluded). NULL is an end that is not known.
pub const KVS_KEYS_BETWEEN: u64 = 2;

/// Something that is not in the new database although it may have been in the old one. The pointers are borrowed: valid until the report
/// is freed. Later versions add fields at the end.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct kvs_left_out {
    /// The file that it was in: bytes of a path, then a NUL byte.
    pub file: *const c_char,
    /// Its first byte there.
    pub from: u64,
    /// Behind its last byte.
    pub to: u64,
    /// Why, for people to read: UTF-8, then a NUL byte.
    pub why: *const c_char,
    /// Which keys it may have changed: KVS_KEYS_UNKNOWN, KVS_KEYS_ONE or KVS_KEYS_BETWEEN.
    pub keys: u64,
    /// See keys; NULL if there is none.
    pub low: *const u8,
    /// Bytes of low.
    pub low_len: usize,
    /// See keys; NULL if there is none.
    pub high: *const u8,
    /// Bytes of high.
    pub high_len: usize,
    /// How many records it has; UINT64_MAX if that is not known.
    pub records: u64,
    /// The sequence number of its first write; 0 if that is not known.
    pub first_sequence: u64,
    /// The sequence number of its last write; 0 if that is not known.
    pub last_sequence: u64,
}

// No padding: they are copied as bytes.
const _: () = assert!(size_of::<kvs_verified>() == 3 * 8);
const _: () = assert!(size_of::<kvs_repaired>() == 5 * 8);
const _: () = assert!(size_of::<kvs_left_out>() == 12 * 8);

/// What kvs_repair did. Any number of threads may use it at once. Nothing in it changes until it is freed.
#[expect(non_camel_case_types, reason = "the name in C")]
pub struct kvs_report {
    _opaque: (),
}

pub(crate) struct ReportBody {
    repaired: Repaired,
    /// Of each entry of `left_out`: its file and why, as C wants them.
    left_out: Vec<[CString; 2]>,
    warnings: Vec<CString>,
    text: CString,
}

impl ReportBody {
    fn new(repaired: Repaired) -> ReportBody {
        let strings = |left_out: &LeftOut| {
            let file = left_out.file.as_os_str().as_encoded_bytes();
            [c_string(file.to_vec()), c_string(left_out.why.clone().into_bytes())]
        };
        let left_out = repaired.left_out.iter().map(strings).collect();
        let warnings = repaired.warnings.iter().map(|warning| c_string(warning.clone().into_bytes())).collect();
        let text = c_string(repaired.to_string().into_bytes());
        ReportBody { repaired, left_out, warnings, text }
    }
}

/// With a question mark for each NUL byte, which would cut it short.
fn c_string(mut bytes: Vec<u8>) -> CString {
    bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'?');
    CString::new(bytes).unwrap_or_default()
}

/// Reads every live byte of every file of the database and checks it against its checksum, beside everything else that goes on. KVS_OK:
/// all is good, and *out tells how much that was. KVS_E_CORRUPTION: the first damage that was met, the message names the
/// file and the offset; kvs_repair saves what is good. out_size is sizeof(kvs_verified), as for kvs_get_stats. flags: 0. Any thread.
/// Takes as long as reading all files does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_verify(
    db: *const kvs_db,
    flags: u32,
    out: *mut kvs_verified,
    out_size: usize,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_verify", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2, for `out_size` bytes.
        let out = unsafe { OutStruct::new("out", out, out_size) }?;
        self::flags(flags, 0)?;
        let Verified { files, records, bytes, .. } = core(db)?.db.verify()?;
        let verified = kvs_verified { files, records, bytes };
        out.set(verified);
        Ok(KVS_OK)
    })
}

/// Writes what is provably good of the damaged database in the directory path to a new one in the directory new_path, which must
/// not exist or be empty, and says what it left out. A value is kept if its checksums prove it and if nothing that is
/// lost may have been newer. The old directory is only read; nobody may have it open to write. options are those of the new database
/// and may be NULL: all defaults; in_memory must not be set. Afterwards the new database is verified, durable and closed.
/// The caller frees *out with kvs_report_free. On failure *out is NULL and there is no new database. KVS_OK does not mean that
/// nothing was lost: kvs_report_summary tells. Paths as for kvs_open. Any thread. Takes as long as reading all files twice does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_repair(
    path: *const c_char,
    new_path: *const c_char,
    options: *const kvs_options,
    out: *mut *mut kvs_report,
    err: *mut *mut kvs_error,
) -> kvs_status {
    // SAFETY: C2.
    call("kvs_repair", unsafe { ErrorOut::new(err) }, || {
        // SAFETY: C2.
        let out = unsafe { Out::null("out", out) }?;
        // SAFETY: C3, for both.
        let (path, new_path) = unsafe { (string("path", path)?, string("new_path", new_path)?) };
        fork::watch()?;
        let with = match options.is_null() {
            true => Default::default(),
            false => {
                let options = handle("options", options)?;
                OPTIONS.with(options, |body| body.clone()).map_err(|why| refused("options", why))?
            }
        };
        if with.in_memory {
            return Err(Fail::Here(KVS_E_INVALID, "options", "has in_memory set: a repair writes to a directory"));
        }
        for (what, path) in [("path", path), ("new_path", new_path)] {
            if path.is_empty() {
                return Err(Fail::Here(KVS_E_INVALID, what, "is empty"));
            }
        }
        let repaired = engine::repair(os_path(path)?, os_path(new_path)?, &with.options)?;
        out.set(opaque(REPORTS.insert(ReportBody::new(repaired))?));
        Ok(KVS_OK)
    })
}

/// The report in numbers. out_size is sizeof(kvs_repaired), as for kvs_get_stats. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_report_summary(
    report: *const kvs_report,
    out: *mut kvs_repaired,
    out_size: usize,
) -> kvs_status {
    call("kvs_report_summary", ErrorOut::NONE, || {
        // SAFETY: C2, for `out_size` bytes.
        let out = unsafe { OutStruct::new("out", out, out_size) }?;
        look(report, |ReportBody { repaired, .. }| {
            let summary = kvs_repaired {
                keys: repaired.keys,
                bytes: repaired.bytes,
                files: repaired.files,
                left_out: repaired.left_out.len() as u64,
                warnings: repaired.warnings.len() as u64,
            };
            out.set(summary);
            Ok(KVS_OK)
        })
    })
}

/// All of the report for people to read, a line for each thing, then a NUL byte. Borrowed: valid until the report is freed. The
/// wording may change at any time. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_report_text(report: *const kvs_report, text: *mut *const c_char) -> kvs_status {
    call("kvs_report_text", ErrorOut::NONE, || {
        // SAFETY: C2.
        let text = unsafe { Out::new("text", text) }?;
        look(report, |body| {
            text.set(body.text.as_ptr());
            Ok(KVS_OK)
        })
    })
}

/// What was left out, number i. out_size is sizeof(kvs_left_out), as for kvs_get_stats. KVS_E_INVALID if i is not below the left_out
/// of kvs_report_summary. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_report_left_out(
    report: *const kvs_report,
    i: usize,
    out: *mut kvs_left_out,
    out_size: usize,
) -> kvs_status {
    call("kvs_report_left_out", ErrorOut::NONE, || {
        // SAFETY: C2, for `out_size` bytes.
        let out = unsafe { OutStruct::new("out", out, out_size) }?;
        look(report, |body| {
            let (Some(left_out), Some([file, why])) = (body.repaired.left_out.get(i), body.left_out.get(i)) else {
                return Err(Fail::Here(KVS_E_INVALID, "i", "is not below left_out of kvs_report_summary"));
            };
            let (keys, low, high) = match &left_out.keys {
                Keys::One(key) => (KVS_KEYS_ONE, Some(key), None),
                Keys::Between { from, to } => (KVS_KEYS_BETWEEN, from.as_ref(), to.as_ref()),
                Keys::Unknown => (KVS_KEYS_UNKNOWN, None, None),
            };
            let at = |key: Option<&Vec<u8>>| key.map_or(std::ptr::null(), |key| key.as_ptr());
            let len = |key: Option<&Vec<u8>>| key.map_or(0, |key| key.len());
            let (first_sequence, last_sequence) = left_out.seqs.unwrap_or((0, 0));
            let left_out = kvs_left_out {
                file: file.as_ptr(),
                from: left_out.from,
                to: left_out.to,
                why: why.as_ptr(),
                keys,
                low: at(low),
                low_len: len(low),
                high: at(high),
                high_len: len(high),
                records: left_out.records.unwrap_or(u64::MAX),
                first_sequence,
                last_sequence,
            };
            out.set(left_out);
            Ok(KVS_OK)
        })
    })
}

/// Warning number i, for people to read, then a NUL byte. Borrowed: valid until the report is freed. KVS_E_INVALID if i is not below the
/// warnings of kvs_report_summary. Any thread.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn kvs_report_warning(
    report: *const kvs_report,
    i: usize,
    text: *mut *const c_char,
) -> kvs_status {
    call("kvs_report_warning", ErrorOut::NONE, || {
        // SAFETY: C2.
        let text = unsafe { Out::new("text", text) }?;
        look(report, |body| {
            let warning = body.warnings.get(i);
            let why = "is not below warnings of kvs_report_summary";
            text.set(warning.ok_or(Fail::Here(KVS_E_INVALID, "i", why))?.as_ptr());
            Ok(KVS_OK)
        })
    })
}

/// Frees a report; what it lent is not to be touched any more. NULL, or a report freed before: nothing happens.
#[unsafe(no_mangle)]
pub extern "C" fn kvs_report_free(report: *mut kvs_report) {
    call_or("kvs_report_free", (), || drop(free(&REPORTS, report)))
}

fn look(report: *const kvs_report, f: impl FnOnce(&ReportBody) -> Outcome) -> Outcome {
    REPORTS.with(handle("report", report)?, |body| f(body)).map_err(|why| refused("report", why))?
}
