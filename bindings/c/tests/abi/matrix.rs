//! Every function times every way to get one argument wrong: a C program written from the header.
//!
//! 1. The header is read for its functions. Each parameter is given a good argument by its type and name; a
//!    parameter of a type that is not known here fails the test, so a new function can't be forgotten.
//! 2. For each parameter, every bad argument of its type is tried among good ones, with and without an error object,
//!    and the status must be the promised one: NULL gives KVS_E_INVALID, a handle that is freed, of another type (all
//!    pairs), an address or noise gives KVS_E_BAD_HANDLE, a length beyond the limit KVS_E_TOO_LARGE, an unknown flag
//!    KVS_E_INVALID.
//! 3. After each, the error object says the same status, out-handles and buffers are NULL, and nothing else was written.
//! 4. At the end everything that was given as a good argument still works: no bad call damaged it.

use std::fmt::Write;

use crate::build::{include, scratch};
use crate::programs::run_program;

struct Function {
    returns: String,
    name: String,
    /// Type and name.
    parameters: Vec<(String, String)>,
}

const KINDS: [&str; 6] = ["db", "options", "batch", "snapshot", "iter", "error"];
/// NULL has a meaning for these.
const NULLABLE: [(&str, &str); 5] = [
    ("kvs_open", "options"),
    ("kvs_get_into", "snapshot"),
    ("kvs_get", "snapshot"),
    ("kvs_contains", "snapshot"),
    ("kvs_iter_new", "snapshot"),
];

fn functions() -> Vec<Function> {
    let header = std::fs::read_to_string(include().join("kvs.h")).expect("include/kvs.h");
    let code: String = header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect();
    let code: String = code.lines().filter(|line| !line.contains('#')).flat_map(|line| [line.trim(), " "]).collect();
    let function = |item: &str| {
        let (head, rest) = item.split_once('(').expect("a function");
        let (returns, name) = typed(head.trim().trim_start_matches("KVS_MUST_USE "));
        let inside = rest.split_once(')').expect("a function").0;
        let parameters = inside.split(',').map(str::trim).filter(|p| *p != "void").map(typed).collect();
        Function { returns, name, parameters }
    };
    code.split("KVS_API ").skip(1).map(function).collect()
}

/// `const kvs_db *db` -> (`const kvs_db *`, `db`)
fn typed(declaration: &str) -> (String, String) {
    let at = declaration.rfind([' ', '*']).expect("a type and a name") + 1;
    (declaration[..at].trim().to_owned(), declaration[at..].to_owned())
}

/// `db` of `const kvs_db *`.
fn kind(type_: &str) -> Option<&'static str> {
    let name = type_.trim_start_matches("const ").strip_prefix("kvs_")?.strip_suffix(" *")?;
    KINDS.into_iter().find(|kind| *kind == name)
}

/// An argument as meant.
fn good(function: &str, type_: &str, name: &str) -> String {
    match (type_, name) {
        ("const char *", "path") => "NULL".into(),
        ("const char *", "name") => "\"create\"".into(),
        ("const char *", "value") => "\"true\"".into(),
        ("const uint8_t *", _) => "bytes".into(),
        ("uint8_t *", "buffer") => "buffer".into(),
        ("size_t", "capacity") => "sizeof buffer".into(),
        ("size_t", "i") => "0".into(),
        ("size_t", _) if name.ends_with("_len") => "1".into(),
        ("uint32_t", "flags") | ("kvs_status", _) => "0".into(),
        ("void *", _) => "NULL".into(),
        ("size_t *", _) => "&out_size".into(),
        ("uint8_t **", _) => "&out_bytes".into(),
        ("const uint8_t **", _) => "&out_borrowed".into(),
        ("const char **", _) => "&out_text".into(),
        ("kvs_error **", "err") => "NULL".into(),
        _ => match (kind(type_), type_.strip_suffix('*').and_then(kind)) {
            (Some(kind), _) => kind.into(),
            (_, Some(kind)) => format!("&out_{kind}"),
            _ => panic!("{function}: no good argument for `{type_}{name}` is known here: add one"),
        },
    }
}

/// Bad arguments, each with the status that it must give.
fn bad(function: &str, type_: &str, name: &str) -> Vec<(String, &'static str)> {
    let invalid = |argument: &str| (argument.to_owned(), "KVS_E_INVALID");
    match (type_, name) {
        ("kvs_error **", "err") | ("void *", _) | ("kvs_status", _) => vec![],
        ("const char *", "path") => vec![invalid("\"with in_memory\"")],
        ("const char *", "name" | "value") => vec![invalid("NULL"), invalid("\"\""), invalid("\"\\xff\"")],
        ("size_t", "i") => vec![invalid("SIZE_MAX"), invalid("kvs_option_count()")],
        ("size_t", "capacity") => vec![],
        ("size_t", _) => {
            let mut lengths = vec!["SIZE_MAX", "(size_t)1 << 63", "(size_t)1 << 32", "((size_t)1 << 30) + 1"];
            if name != "value_len" {
                lengths.push("((size_t)64 << 10) + 1");
            }
            lengths.into_iter().map(|length| (length.to_owned(), "KVS_E_TOO_LARGE")).collect()
        }
        ("uint32_t", _) => vec![invalid("0x80000000u"), invalid("2u"), invalid("UINT32_MAX")],
        _ => {
            let Some(own) = kind(type_) else { return vec![invalid("NULL")] };
            let cast = |value: String| (format!("({type_})({value})"), "KVS_E_BAD_HANDLE");
            let mut values: Vec<_> =
                KINDS.iter().filter(|other| **other != own).map(|other| cast((*other).into())).collect();
            let noise =
                ["1", "UINTPTR_MAX", "(uintptr_t)bytes", "(uintptr_t)&out_size", "(uintptr_t)1 << 63", "0xdeadbeef"];
            values.extend(noise.map(|noise| cast(noise.into())));
            values.push(cast(format!("freed_{own}")));
            // With a snapshot, which the good arguments have, there may be no database; `reads_and_writes.c` gives neither.
            let beside_snapshot = own == "db" && NULLABLE.contains(&(function, "snapshot"));
            if !NULLABLE.contains(&(function, name)) && !beside_snapshot {
                values.push(invalid("NULL"));
            }
            values
        }
    }
}

/// One call for every bad argument, and how many there are.
fn calls(function: &Function) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    let goods: Vec<String> = function.parameters.iter().map(|(t, n)| good(&function.name, t, n)).collect();
    let has_err = function.parameters.last().is_some_and(|(_, name)| name == "err");
    for (at, (type_, name)) in function.parameters.iter().enumerate() {
        for (argument, status) in bad(&function.name, type_, name) {
            for err in ["NULL", "&err"] {
                let mut arguments = goods.clone();
                arguments[at] = argument.clone();
                if has_err {
                    *arguments.last_mut().expect("err") = err.into();
                } else if err != "NULL" {
                    continue;
                }
                let call = format!("{}({})", function.name, arguments.join(", "));
                let nulls: Vec<&str> = arguments.iter().filter_map(|a| a.strip_prefix("&out_")).collect();
                count += 1;
                match function.returns.as_str() {
                    "kvs_status" => {
                        let _ = writeln!(
                            text,
                            "    prepare(); EXPECT({status}, {call}); refused({status}, {});",
                            (err != "NULL") as u8
                        );
                        for out in nulls.iter().filter(|out| KINDS.contains(out) || **out == "bytes") {
                            let _ = writeln!(text, "    CHECK(out_{out} == NULL);");
                        }
                    }
                    "void" => _ = writeln!(text, "    {call};"),
                    _ => _ = writeln!(text, "    (void){call};"),
                }
            }
        }
    }
    (text, count)
}

#[test]
fn every_argument_of_every_function_may_be_wrong() {
    let (mut body, mut total) = (String::new(), 0);
    let functions = functions();
    for function in &functions {
        let (text, count) = calls(function);
        body += &format!("static void test_{}(void) {{\n{text}}}\n\n", function.name);
        total += count;
    }
    assert!(
        functions.len() > 40 && total > 900,
        "{} functions, {total} calls: the header was not understood",
        functions.len()
    );
    let run: String = functions.iter().map(|f| format!("    test_{}();\n", f.name)).collect();
    let source = scratch("matrix_source").join("matrix.c");
    std::fs::write(
        &source,
        format!("{HEAD}{body}int main(void) {{\n    setup();\n{run}    finish();\n    return 0;\n}}\n"),
    )
    .expect("write the program");
    run_program(&source, &[]);
}

const HEAD: &str = r#"/* Written by matrix.rs. */
#define KVS_MUST_USE
#include "check.h"

static kvs_db *db, *freed_db, *out_db;
static kvs_options *options, *freed_options, *out_options;
static kvs_batch *batch, *freed_batch, *out_batch;
static kvs_snapshot *snapshot, *freed_snapshot, *out_snapshot;
static kvs_iter *iter, *freed_iter, *out_iter;
static kvs_error *error, *freed_error, *err;
static uint8_t bytes[16] = "k", buffer[16], *out_bytes;
static const uint8_t *out_borrowed;
static const char *out_text;
static size_t out_size;

static void make(void) {
    EXPECT(KVS_OK, kvs_options_new(&options));
    EXPECT(KVS_OK, kvs_options_set(options, "in_memory", "true", NULL));
    EXPECT(KVS_OK, kvs_open(NULL, options, &db, NULL));
    EXPECT(KVS_OK, kvs_put(db, bytes, 1, bytes, 1, 0, NULL));
    EXPECT(KVS_OK, kvs_batch_new(&batch));
    EXPECT(KVS_OK, kvs_batch_put(batch, bytes, 1, bytes, 1));
    EXPECT(KVS_OK, kvs_snapshot_new(db, &snapshot, NULL));
    EXPECT(KVS_OK, kvs_iter_new(db, NULL, NULL, 0, NULL, 0, 0, &iter, NULL));
    EXPECT(KVS_OK, kvs_iter_first(iter, NULL));
    EXPECT(KVS_E_INVALID, kvs_options_set(options, "none", "such", &error));
}

static void release(void) {
    kvs_free_db(db);
    kvs_options_free(options);
    kvs_batch_free(batch);
    kvs_snapshot_free(snapshot);
    kvs_iter_free(iter);
    kvs_error_free(error);
}

static void setup(void) {
    make();
    release();
    freed_db = db, freed_options = options, freed_batch = batch;
    freed_snapshot = snapshot, freed_iter = iter, freed_error = error;
    make();
}

/* Every out-parameter holds something that a call must replace or leave alone. */
static void prepare(void) {
    out_db = db, out_options = options, out_batch = batch, out_snapshot = snapshot, out_iter = iter;
    err = error;
    out_bytes = bytes, out_borrowed = bytes, out_text = "untouched", out_size = 77;
    memset(buffer, 7, sizeof buffer);
}

static void refused(kvs_status status, int with_error) {
    CHECK(out_borrowed == bytes && out_size == 77 && strcmp(out_text, "untouched") == 0);
    for (size_t i = 0; i < sizeof buffer; i++) CHECK(buffer[i] == 7);
    if (with_error) {
        CHECK(err != error && kvs_error_code(err) == status && *kvs_error_message(err));
        kvs_error_free(err);
    } else {
        CHECK(err == error);
    }
}

static void finish(void) {
    const uint8_t *k, *v;
    size_t kn, vn;
    EXPECT(KVS_OK, kvs_contains(db, snapshot, bytes, 1, NULL));
    EXPECT(KVS_OK, kvs_iter_item(iter, &k, &kn, &v, &vn));
    CHECK(kvs_batch_count(batch) == 1 && kn == 1 && vn == 1);
    EXPECT(KVS_OK, kvs_write(db, batch, 0, NULL));
    EXPECT(KVS_OK, kvs_open(NULL, options, &out_db, NULL));
    kvs_free_db(out_db);
    CHECK(kvs_error_code(error) == KVS_E_INVALID && strstr(kvs_error_message(error), "none"));
    EXPECT(KVS_OK, kvs_close(db, NULL));
    release();
}

"#;
