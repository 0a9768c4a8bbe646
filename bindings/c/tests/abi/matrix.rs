//! Every function times every class of misuse: a C program written from the header, so that no function can be forgotten.
//!
//! 1. The header is read for its functions. Each parameter is given a good argument by its type and name; a
//!    parameter of a type that is not known here fails the test, so a new function can't be forgotten.
//! 2. *Bad arguments.* For each parameter, every bad argument of its type is tried among good ones, with and without an error object,
//!    and the status must be the promised one: NULL gives KVS_E_INVALID, a handle that is freed, of another type (all
//!    pairs), an address or noise gives KVS_E_BAD_HANDLE, a length beyond the limit KVS_E_TOO_LARGE, every bit that is no flag of
//!    the function KVS_E_INVALID. After each, the error object says the same status, out-handles and buffers are NULL, and nothing
//!    else was written. Where (NULL, 0) is allowed it is no error.
//! 3. *Concurrent.* While another thread is inside a call with the iterator or the batch (the hook of src/fault.rs holds it
//!    there), every function that takes it gives KVS_E_CONCURRENT.
//! 4. *Forked.* In a child every function gives KVS_E_FORKED for the parent's handles, and frees do nothing.
//! 5. *Random.* Every function gets random values, and values that differ from a live handle in one bit, for each of its handles:
//!    KVS_E_BAD_HANDLE. `KVS_RANDOM_HANDLES=10000000` is the full count, and how many were tried is counted.
//! 6. *Closed.* After `kvs_close`, every function that takes the database, a snapshot or an iterator of it gives KVS_E_CLOSED.
//! 7. Between the classes everything that was given as a good argument still works: no bad call damaged it. Frees are called with
//!    everything that is not theirs and twice with what is. A call that hangs is a failure that names its function.

use std::fmt::Write;

use crate::build::{include, scratch};
use crate::programs::run_program;

struct Function {
    returns: String,
    name: String,
    parameters: Vec<Parameter>,
}

struct Parameter {
    type_: String,
    name: String,
}

const KINDS: [&str; 9] = ["db", "options", "batch", "snapshot", "iter", "error", "pin", "results", "report"];
/// Plain structs that come with a size.
const STRUCTS: [&str; 4] = ["kvs_stats", "kvs_verified", "kvs_repaired", "kvs_left_out"];
/// Handles for which NULL has a meaning.
const NULLABLE: [(&str, &str); 9] = [
    ("kvs_open", "options"),
    ("kvs_repair", "options"),
    ("kvs_get_into", "snapshot"),
    ("kvs_get", "snapshot"),
    ("kvs_get_pinned", "snapshot"),
    ("kvs_multi_get", "snapshot"),
    ("kvs_contains", "snapshot"),
    ("kvs_iter_new", "snapshot"),
    ("kvs_iter_new_prefix", "snapshot"),
];
/// The flags of each function that has any.
const FLAGS: [(&str, u32); 5] =
    [("kvs_put", 3), ("kvs_delete", 3), ("kvs_delete_range", 3), ("kvs_write", 3), ("kvs_iter_fill", 4)];
/// What a closed database does not refuse, and what it answers.
const AFTER_CLOSE: [(&str, &str); 2] = [("kvs_close", "KVS_OK"), ("kvs_iter_item", "KVS_OK")];

impl Function {
    /// Good arguments, with `err` as the last one if there is such a parameter.
    fn arguments(&self, err: &str) -> Vec<String> {
        let given = |at: usize| match self.parameters[at].name.as_str() {
            "err" => err.to_owned(),
            _ => self.good(at),
        };
        (0..self.parameters.len()).map(given).collect()
    }

    fn has_err(&self) -> bool {
        self.parameters.last().is_some_and(|parameter| parameter.name == "err")
    }

    /// The handles that it takes: where, and of which kind.
    fn handles(&self) -> Vec<(usize, &'static str)> {
        let all = self.parameters.iter().enumerate();
        all.filter_map(|(at, parameter)| Some((at, kind(&parameter.type_)?))).collect()
    }

    fn takes(&self, kind: &str) -> bool {
        self.handles().iter().any(|(_, handle)| *handle == kind)
    }

    fn is_free(&self) -> bool {
        self.name.ends_with("_free") || self.name == "kvs_free_db"
    }

    /// An argument as meant.
    fn good(&self, at: usize) -> String {
        let Parameter { type_, name } = &self.parameters[at];
        let given = match (type_.as_str(), name.as_str()) {
            ("const char *", "path") if self.name == "kvs_open" => "NULL",
            ("const char *", "path") => "old_path",
            ("const char *", "new_path") => "new_path",
            ("const char *", "name") if self.name == "kvs_property" => "\"stats\"",
            ("const char *", "name") => "\"create\"",
            ("const char *", "value") => "\"true\"",
            ("const uint8_t *", _) => "bytes",
            ("const size_t *", "key_ends") => "ends",
            ("uint8_t *", "buffer") => "buffer",
            ("size_t", "capacity") => "sizeof buffer",
            ("size_t", "i") => "0",
            ("size_t", "count" | "max_items") => "1",
            ("size_t", "out_size") => {
                return format!("sizeof({})", self.parameters[at - 1].type_.trim_end_matches(" *"));
            }
            ("size_t", _) if name.ends_with("_len") => "1",
            ("uint32_t", "flags") | ("kvs_status", _) => "0",
            ("uint32_t", "on" | "durability") => "1",
            ("uint64_t", "bytes") => "1u << 27",
            ("void *" | "kvs_log_fn" | "kvs_free_fn", _) => "NULL",
            ("size_t *", _) => "&out_size",
            ("uint64_t *", _) => "&out_number",
            ("uint8_t **", _) => "&out_bytes",
            ("const uint8_t **", _) => "&out_borrowed",
            ("const char **", _) => "&out_text",
            _ => match (kind(type_), type_.strip_suffix('*').and_then(kind), structure(type_)) {
                (Some(kind), ..) => kind,
                (_, Some(kind), _) => return format!("&out_{kind}"),
                (.., Some(structure)) => return format!("({structure} *)out_struct"),
                _ => panic!("{}: no good argument for `{type_}{name}` is known here: add one", self.name),
            },
        };
        given.to_owned()
    }

    /// Bad arguments, each with the status that it must give.
    fn bad(&self, at: usize) -> Vec<(String, &'static str)> {
        let Parameter { type_, name } = &self.parameters[at];
        let invalid = |argument: &str| (argument.to_owned(), "KVS_E_INVALID");
        let too_large = |lengths: &[&str]| {
            lengths.iter().map(|length| ((*length).to_owned(), "KVS_E_TOO_LARGE")).collect::<Vec<_>>()
        };
        match (type_.as_str(), name.as_str()) {
            ("kvs_error **", "err") | ("void *" | "kvs_log_fn" | "kvs_free_fn", _) => vec![],
            ("kvs_status", _) | ("uint64_t", "bytes") => vec![],
            ("const char *", "path") if self.name == "kvs_open" => vec![invalid("\"with in_memory\"")],
            ("const char *", "path" | "new_path") => vec![invalid("NULL"), invalid("\"\"")],
            ("const char *", "name" | "value") => vec![invalid("NULL"), invalid("\"\""), invalid("\"\\xff\"")],
            ("size_t", "i") => {
                let count = match self.name.as_str() {
                    "kvs_option_info" => "kvs_option_count()",
                    "kvs_results_get" => "kvs_results_count(results)",
                    _ => "0",
                };
                vec![invalid("SIZE_MAX"), invalid("(size_t)1 << 63"), invalid(count)]
            }
            ("size_t", "capacity") => vec![],
            ("size_t", "max_items") => vec![invalid("0")],
            ("size_t", "count") => {
                too_large(&["SIZE_MAX", "(size_t)1 << 63", "(size_t)1 << 61", "((size_t)1 << 20) + 1"])
            }
            ("size_t", "out_size") => {
                let mut sizes = too_large(&["SIZE_MAX", "(size_t)1 << 63", "4097"]);
                sizes.extend([invalid("0"), invalid("7")]);
                sizes
            }
            ("size_t", "keys_len" | "writes_len") => {
                too_large(&["SIZE_MAX", "(size_t)1 << 63", "((size_t)1 << 32) + 1"])
            }
            ("size_t", _) => {
                let mut lengths = vec!["SIZE_MAX", "(size_t)1 << 63", "(size_t)1 << 32", "((size_t)1 << 30) + 1"];
                if name != "value_len" {
                    lengths.push("((size_t)64 << 10) + 1");
                }
                too_large(&lengths)
            }
            ("uint32_t", "flags") => {
                let known = FLAGS.iter().find(|(function, _)| *function == self.name).map_or(0, |(_, known)| *known);
                let unknown = (0..32).map(|bit| 1u32 << bit).filter(|bit| known & bit == 0);
                unknown.chain([u32::MAX]).map(|flags| invalid(&format!("{flags}u"))).collect()
            }
            ("uint32_t", "on") => vec![invalid("2"), invalid("UINT32_MAX")],
            ("uint32_t", "durability") => vec![invalid("3"), invalid("UINT32_MAX")],
            _ => {
                let Some(own) = kind(type_) else { return vec![invalid("NULL")] };
                let cast = |value: String| (format!("({type_})({value})"), "KVS_E_BAD_HANDLE");
                let mut values: Vec<_> =
                    KINDS.iter().filter(|other| **other != own).map(|other| cast((*other).into())).collect();
                let noise = [
                    "1",
                    "UINTPTR_MAX",
                    "(uintptr_t)bytes",
                    "(uintptr_t)&out_size",
                    "(uintptr_t)1 << 63",
                    "0xdeadbeef",
                ];
                values.extend(noise.map(|noise| cast(noise.into())));
                values.push(cast(format!("freed_{own}")));
                // With a snapshot, which the good arguments have, there may be no database; `reads_and_writes.c` gives neither.
                let beside_snapshot = own == "db" && NULLABLE.contains(&(&*self.name, "snapshot"));
                if !NULLABLE.contains(&(&*self.name, &**name)) && !beside_snapshot {
                    values.push(invalid("NULL"));
                }
                values
            }
        }
    }

    /// A call that must be refused with this status, with and without an error object.
    fn refused(&self, status: &str, replaced: &[(usize, String)]) -> (String, usize) {
        let (mut text, mut count) = (String::new(), 0);
        for err in ["NULL", "&err"] {
            let mut arguments = self.arguments(err);
            for (at, argument) in replaced {
                arguments[*at] = argument.clone();
            }
            if !self.has_err() && err != "NULL" {
                continue;
            }
            count += 1;
            let call = format!("{}({})", self.name, arguments.join(", "));
            match self.returns.as_str() {
                "kvs_status" => {
                    let with_error = i32::from(err != "NULL");
                    let _ = writeln!(text, "    prepare(); EXPECT({status}, {call}); refused({status}, {with_error});");
                    for null in arguments.iter().filter_map(|argument| argument.strip_prefix("&out_")) {
                        if KINDS.contains(&null) || null == "bytes" {
                            let _ = writeln!(text, "    CHECK(out_{null} == NULL);");
                        }
                    }
                }
                "void" => _ = writeln!(text, "    {call};"),
                // What cannot report answers as if there were nothing.
                "size_t" | "int32_t" => _ = writeln!(text, "    CHECK({call} == 0);"),
                "const char *" => _ = writeln!(text, "    CHECK({call} != NULL);"),
                other => panic!("{}: what does a `{other}` say of a bad argument? Add it", self.name),
            }
        }
        (text, count)
    }
}

fn functions() -> Vec<Function> {
    let header = std::fs::read_to_string(include().join("kvs.h")).expect("include/kvs.h");
    let code: String = header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect();
    let code: String = code.lines().filter(|line| !line.contains('#')).flat_map(|line| [line.trim(), " "]).collect();
    let function = |item: &str| {
        let (head, rest) = item.split_once('(').expect("a function");
        let Parameter { type_: returns, name } = typed(head.trim().trim_start_matches("KVS_MUST_USE "));
        let inside = rest.split_once(')').expect("a function").0;
        let parameters = inside.split(',').map(str::trim).filter(|p| *p != "void").map(typed).collect();
        Function { returns, name, parameters }
    };
    code.split("KVS_API ").skip(1).map(function).collect()
}

/// `const kvs_db *db` -> (`const kvs_db *`, `db`)
fn typed(declaration: &str) -> Parameter {
    let at = declaration.rfind([' ', '*']).expect("a type and a name") + 1;
    Parameter { type_: declaration[..at].trim().to_owned(), name: declaration[at..].to_owned() }
}

/// `db` of `const kvs_db *`.
fn kind(type_: &str) -> Option<&'static str> {
    let name = type_.trim_start_matches("const ").strip_prefix("kvs_")?.strip_suffix(" *")?;
    KINDS.into_iter().find(|kind| *kind == name)
}

/// `kvs_stats` of `kvs_stats *`.
fn structure(type_: &str) -> Option<&'static str> {
    let name = type_.strip_suffix(" *")?;
    STRUCTS.into_iter().find(|structure| *structure == name)
}

/// One call for every bad argument, and where (NULL, 0) is none.
fn bad_arguments(function: &Function) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    for at in 0..function.parameters.len() {
        for (argument, status) in function.bad(at) {
            let (call, calls) = function.refused(status, &[(at, argument)]);
            text += &call;
            count += calls;
        }
        let Parameter { type_, name } = &function.parameters[at];
        // Of `keys`, the ends would have to agree: bulk.c.
        if type_ == "const uint8_t *" && name != "keys" {
            let mut arguments = function.arguments("NULL");
            (arguments[at], arguments[at + 1]) = ("NULL".into(), "0".into());
            let _ = writeln!(text, "    allowed({}({}));", function.name, arguments.join(", "));
            count += 1;
        }
    }
    (text, count)
}

/// The functions that take a handle of one of `kinds`, called with good arguments, must give `status`.
fn all_refused(functions: &[Function], kinds: &[&str], status: &str, frees: bool) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    for function in functions.iter().filter(|function| kinds.iter().any(|kind| function.takes(kind))) {
        if function.is_free() && !frees {
            continue;
        }
        let answers = AFTER_CLOSE.iter().find(|(name, _)| *name == function.name && status == "KVS_E_CLOSED");
        if let Some((_, answer)) = answers {
            let _ =
                writeln!(text, "    EXPECT({answer}, {}({}));", function.name, function.arguments("NULL").join(", "));
            count += 1;
            continue;
        }
        let mut variants = vec![vec![]];
        for (at, kind) in function.handles() {
            // The database alone, the snapshot alone, and both.
            if NULLABLE.contains(&(&*function.name, "snapshot")) && ["db", "snapshot"].contains(&kind) {
                variants.push(vec![(at, "NULL".to_owned())]);
            }
        }
        for variant in variants {
            let (call, calls) = function.refused(status, &variant);
            text += &call;
            count += calls;
        }
    }
    (text, count)
}

/// Each handle of each function, once.
fn random(functions: &[Function]) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    for function in functions {
        for (at, _) in function.handles() {
            let mut arguments = function.arguments("NULL");
            arguments[at] = format!("({})value", function.parameters[at].type_);
            let call = format!("{}({})", function.name, arguments.join(", "));
            let _ = match function.returns.as_str() {
                "kvs_status" => writeln!(text, "        EXPECT(KVS_E_BAD_HANDLE, {call});"),
                "void" => writeln!(text, "        {call};"),
                "const char *" => writeln!(text, "        CHECK({call} != NULL);"),
                _ => writeln!(text, "        CHECK({call} == 0);"),
            };
            count += 1;
        }
    }
    (text, count)
}

#[test]
fn every_argument_of_every_function_may_be_wrong() {
    let functions = functions();
    let (mut body, mut run, mut total) = (String::new(), String::new(), 0);
    for function in &functions {
        let (text, count) = bad_arguments(function);
        let _ = writeln!(body, "static void test_{}(void) {{\n{text}}}\n", function.name);
        let _ = writeln!(run, "    within(300, \"test_{0}\");\n    test_{0}();", function.name);
        total += count;
    }
    let mut class = |name: &str, (text, count): (String, usize), at_least: usize| {
        assert!(count >= at_least, "{count} calls of the class {name}: the header was not understood");
        let _ = writeln!(body, "static void {name}(void) {{\n{text}}}\n");
    };
    class("closed", all_refused(&functions, &["db", "snapshot", "iter"], "KVS_E_CLOSED", false), 70);
    class("forked", all_refused(&functions, &KINDS, "KVS_E_FORKED", true), 110);
    class("concurrent_iter", all_refused(&functions, &["iter"], "KVS_E_CONCURRENT", false), 14);
    class("concurrent_batch", all_refused(&functions, &["batch"], "KVS_E_CONCURRENT", false), 8);
    let (calls, count) = random(&functions);
    assert!(
        functions.len() > 70 && total > 2000 && count > 70,
        "{} functions, {total} calls, {count} handles: the header was not understood",
        functions.len()
    );
    let _ = writeln!(body, "static void random_handle(uintptr_t value) {{\n{calls}}}\n");
    let held = cfg!(any(debug_assertions, feature = "fault-injection"));
    let held = if held { "    concurrent();\n" } else { "    (void)concurrent;\n" };
    let source = scratch("matrix_source").join("matrix.c");
    std::fs::write(
        &source,
        format!(
            "{HEAD}{body}{TAIL}int main(int argc, char **argv) {{\n    CHECK(argc == 3);\n    setup(argv[1]);\n{run}    works();\n\
             {held}    works();\n    fork_child();\n    works();\n    random_handles(strtoul(argv[2], NULL, 10));\n    works();\n    \
             finish();\n    return 0;\n}}\n"
        ),
    )
    .expect("write the program");
    let handles = std::env::var("KVS_RANDOM_HANDLES").unwrap_or("50000".to_owned());
    let printed = run_program(&source, &[&handles]);
    assert_eq!(printed, format!("{handles} random handles\n"));
}

const HEAD: &str = r#"/* Written by matrix.rs. */
#define _POSIX_C_SOURCE 200809L
#define KVS_MUST_USE
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"
#include "hang.h"

static char old_path[4096], new_path[4096];
static kvs_db *db, *freed_db, *out_db;
static kvs_options *options, *freed_options, *out_options;
static kvs_batch *batch, *freed_batch, *out_batch;
static kvs_snapshot *snapshot, *freed_snapshot, *out_snapshot;
static kvs_iter *iter, *freed_iter, *out_iter;
static kvs_pin *pin, *freed_pin, *out_pin;
static kvs_results *results, *freed_results, *out_results;
static kvs_report *report, *freed_report, *out_report;
static kvs_error *error, *freed_error, *err;
static uint8_t bytes[16] = "k", buffer[16], *out_bytes;
static const uint8_t *out_borrowed;
static const char *out_text;
static const size_t ends[1] = {1};
static size_t out_size;
static uint64_t out_number, out_struct[512];

static void make(void) {
    size_t length;
    const uint8_t *data;
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set(options, "in_memory", "true", NULL));
    EXPECT(KVS_OK, kvs_open(NULL, options, &db, NULL));
    EXPECT(KVS_OK, kvs_put(db, bytes, 1, bytes, 1, 0, NULL));
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    EXPECT(KVS_OK, kvs_batch_put(batch, bytes, 1, bytes, 1));
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    EXPECT(KVS_OK, kvs_iter_new(db, NULL, NULL, 0, NULL, 0, 0, &iter, NULL));
    EXPECT(KVS_OK, kvs_iter_first(iter, NULL));
    EXPECT(KVS_OK, kvs_get_pinned(db, NULL, bytes, 1, &pin, &data, &length, NULL));
    EXPECT(KVS_OK, kvs_multi_get(db, NULL, bytes, 1, ends, 1, &results, NULL));
    EXPECT(KVS_E_INVALID, kvs_options_set(options, "none", "such", &error));
    EXPECT(KVS_OK, kvs_repair(old_path, new_path, NULL, &report, NULL));
    /* For the next repair, which no call of this program comes to. */
    strcat(new_path, "-again");
}

static void release(void) {
    kvs_free_db(db);
    kvs_options_free(options);
    kvs_batch_free(batch);
    kvs_snapshot_free(snapshot);
    kvs_iter_free(iter);
    kvs_pin_free(pin);
    kvs_results_free(results);
    kvs_report_free(report);
    kvs_error_free(error);
}

static void setup(const char *directory) {
    snprintf(old_path, sizeof old_path, "%s/old", directory);
    snprintf(new_path, sizeof new_path, "%s/new", directory);
    EXPECT(KVS_OK, kvs_open(old_path, NULL, &db, NULL));
    EXPECT(KVS_OK, kvs_put(db, bytes, 1, bytes, 1, 0, NULL));
    kvs_free_db(db);
    make();
    release();
    release();
    freed_db = db, freed_options = options, freed_batch = batch;
    freed_snapshot = snapshot, freed_iter = iter, freed_error = error;
    freed_pin = pin, freed_results = results, freed_report = report;
    make();
}

/* Every out-parameter holds something that a call must replace or leave alone. */
static void prepare(void) {
    out_db = db, out_options = options, out_batch = batch, out_snapshot = snapshot, out_iter = iter;
    out_pin = pin, out_results = results, out_report = report;
    err = error;
    out_bytes = bytes, out_borrowed = bytes, out_text = "untouched", out_size = 77, out_number = 77;
    memset(buffer, 7, sizeof buffer);
    memset(out_struct, 7, sizeof out_struct);
}

static void refused(kvs_status status, int with_error) {
    CHECK(out_borrowed == bytes && out_size == 77 && out_number == 77 && strcmp(out_text, "untouched") == 0);
    for (size_t i = 0; i < sizeof buffer; i++) CHECK(buffer[i] == 7);
    for (size_t i = 0; i < sizeof out_struct; i++) CHECK(((const uint8_t *)out_struct)[i] == 7);
    if (with_error) {
        CHECK(err != error && kvs_error_code(err) == status && *kvs_error_message(err));
        kvs_error_free(err);
    } else {
        CHECK(err == error);
    }
}

/* A call that is no misuse: what it makes is freed, what it wrote or moved is made good. */
static void allowed(kvs_status status) {
    if (status < 0) fprintf(stderr, "%s\n", kvs_status_name(status));
    CHECK(status >= 0);
    if (out_iter != iter) kvs_iter_free(out_iter);
    if (out_pin != pin) kvs_pin_free(out_pin);
    if (out_bytes != bytes) kvs_free(out_bytes);
    prepare();
    EXPECT(KVS_OK, kvs_put(db, bytes, 1, bytes, 1, 0, NULL));
    EXPECT(KVS_OK, kvs_batch_clear(batch));
    EXPECT(KVS_OK, kvs_batch_put(batch, bytes, 1, bytes, 1));
    EXPECT(KVS_OK, kvs_iter_first(iter, NULL));
}

/* Whatever was done, what was live is as it was. */
static void works(void) {
    const uint8_t *k, *v;
    const char *text;
    size_t kn, vn;
    EXPECT(KVS_OK, kvs_contains(db, snapshot, bytes, 1, NULL));
    EXPECT(KVS_OK, kvs_iter_item(iter, &k, &kn, &v, &vn));
    CHECK(kvs_batch_count(batch) == 1 && kn == 1 && vn == 1);
    EXPECT(KVS_OK, kvs_write(db, batch, 0, NULL));
    EXPECT(KVS_OK, kvs_open(NULL, options, &out_db, NULL));
    kvs_free_db(out_db);
    CHECK(kvs_error_code(error) == KVS_E_INVALID && strstr(kvs_error_message(error), "none"));
    EXPECT(KVS_OK, kvs_pin_data(pin, &v, &vn));
    CHECK(vn == 1 && *v == 'k');
    EXPECT(KVS_OK, kvs_results_get(results, 0, &v, &vn));
    CHECK(vn == 1 && *v == 'k' && kvs_results_count(results) == 1);
    EXPECT(KVS_OK, kvs_report_text(report, &text));
    CHECK(strstr(text, "kept: 1 keys"));
}

"#;

const TAIL: &str = r#"
static void *inside_iter(void *argument) {
    (void)argument;
    kvs_status status;
    /* The other thread looks now and then whether this one is inside. */
    while ((status = kvs_iter_first(iter, NULL)) == KVS_E_CONCURRENT) continue;
    EXPECT(KVS_OK, status);
    return NULL;
}

static void *inside_batch(void *argument) {
    (void)argument;
    kvs_status status;
    while ((status = kvs_write(db, batch, 0, NULL)) == KVS_E_CONCURRENT) continue;
    EXPECT(KVS_OK, status);
    return NULL;
}

static void concurrent(void) {
    pthread_t thread;
    const uint8_t *p;
    size_t n;
    within(300, "an iterator in use");
    EXPECT(KVS_OK, kvs_options_set(options, "fault_pause", "engine_move", NULL));
    CHECK(pthread_create(&thread, NULL, inside_iter, NULL) == 0);
    while (kvs_iter_item(iter, &p, &n, &p, &n) != KVS_E_CONCURRENT) continue;
    concurrent_iter();
    EXPECT(KVS_OK, kvs_options_set(options, "fault_pause", "", NULL));
    pthread_join(thread, NULL);
    within(300, "a batch in use");
    EXPECT(KVS_OK, kvs_options_set(options, "fault_pause", "engine_write", NULL));
    CHECK(pthread_create(&thread, NULL, inside_batch, NULL) == 0);
    while (kvs_batch_count(batch) != 0) continue;
    concurrent_batch();
    EXPECT(KVS_OK, kvs_options_set(options, "fault_pause", "", NULL));
    pthread_join(thread, NULL);
}

static void fork_child(void) {
    fflush(NULL);
    within(300, "waiting for a child");
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        within(60, "a child");
        forked();
        /* Frees came in between: nothing changed. */
        forked();
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void random_handles(unsigned long rounds) {
    const uintptr_t live[] = {(uintptr_t)db, (uintptr_t)options, (uintptr_t)batch, (uintptr_t)snapshot, (uintptr_t)iter,
                              (uintptr_t)error, (uintptr_t)pin, (uintptr_t)results, (uintptr_t)report};
    enum { LIVE = sizeof live / sizeof *live };
    uint64_t state = 88172645463325252u;
    unsigned long tried = 0;
    /* Some that differ in one bit from one that is live are live, too: they do not count. */
    for (unsigned long round = 0; tried < rounds; round++) {
        if (round % 4096 == 0) within(300, "random handles");
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        uintptr_t value = (uintptr_t)state;
        int is_live = value == 0;
        if (round % 2) value = live[round / 2 % LIVE] ^ (uintptr_t)1 << state % 64;
        for (int i = 0; i < LIVE; i++) is_live |= value == live[i];
        if (!is_live) random_handle(value), tried++;
    }
    printf("%lu random handles\n", tried);
}

static void finish(void) {
    within(300, "what is closed");
    EXPECT(KVS_OK, kvs_close(db, NULL));
    closed();
    const uint8_t *v;
    size_t vn;
    EXPECT(KVS_OK, kvs_pin_data(pin, &v, &vn));
    CHECK(vn == 1 && *v == 'k');
    release();
    release();
}

"#;
