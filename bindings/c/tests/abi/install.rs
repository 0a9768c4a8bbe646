//! `make install`, and C and C++ programs outside of the tree that find what was installed: by pkg-config and by CMake, shared and static.
//!
//! Where CMake or pkg-config is missing, as on a developer's machine, the programs that need it are left out; with `KVS_INSTALL=required`,
//! as CI has it, that is a failure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::{cc, cxx, library, package, run, scratch};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const SAID: &str = concat!("red ", env!("CARGO_PKG_VERSION"), "\n");

/// A directory outside of the tree, removed afterwards.
struct Outside(PathBuf);

impl Outside {
    fn new(name: &str) -> Outside {
        let path = std::env::temp_dir().join(format!("kvs-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory outside of the tree");
        let consumer = package().join("tests/consumer");
        for file in ["CMakeLists.txt", "consumer.c", "consumer.cc"] {
            std::fs::copy(consumer.join(file), path.join(file)).expect("copy the consumer");
        }
        Outside(path)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn make(target: &str, variables: &[String]) {
    let mut make = Command::new("make");
    // As a user calls it, not as a part of the `make test` that runs this.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").current_dir(package().join("../.."));
    run(make.arg("-s").arg(target).args(variables).arg(format!("BUILT={}", library().display())));
}

fn is_there(tool: &str) -> bool {
    let is_required = std::env::var("KVS_INSTALL").is_ok_and(|value| value == "required");
    is_required || Command::new(tool).arg("--version").output().is_ok()
}

/// Every file and link below, with what a link leads to.
fn listing(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below").display().to_string();
            match std::fs::read_link(&path) {
                Ok(to) => _ = found.insert(format!("{name} -> {}", to.display())),
                Err(_) if path.is_dir() => left.push(path),
                Err(_) => _ = found.insert(name),
            }
        }
    }
    found
}

fn expected(lib: &str) -> BTreeSet<String> {
    let files = [
        format!("{lib}/libkvs.so.{VERSION}"),
        format!("{lib}/libkvs.so.0 -> libkvs.so.{VERSION}"),
        format!("{lib}/libkvs.so -> libkvs.so.0"),
        format!("{lib}/libkvs.a"),
        format!("{lib}/pkgconfig/kvs.pc"),
        format!("{lib}/pkgconfig/kvs-static.pc"),
        format!("{lib}/cmake/kvs/kvsConfig.cmake"),
        format!("{lib}/cmake/kvs/kvsConfigVersion.cmake"),
        "include/kvs.h".to_owned(),
        "include/kvs.hpp".to_owned(),
    ];
    files.into()
}

/// Runs a consumer; `shared` says whether it must need the shared library, by its name with the ABI's number.
fn consume(program: &Path, libraries: &Path, shared: bool) {
    let needed = String::from_utf8(run(Command::new("readelf").arg("-d").arg(program)).stdout).expect("UTF-8");
    assert_eq!(needed.contains("[libkvs.so.0]"), shared, "{}: {needed}", program.display());
    let data = program.with_extension("data");
    let mut command = Command::new(program);
    if shared {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let output = run(command.arg(&data));
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), SAID);
    std::fs::remove_dir_all(data).expect("it made a database");
}

/// What is put where; once more over it; and for a package, where DESTDIR is not in what the files say.
#[test]
fn the_files_are_in_their_places() {
    let root = scratch("install");
    let prefix = root.join("prefix");
    for _ in 0..2 {
        make("install", &[format!("PREFIX={}", prefix.display())]);
        assert_eq!(listing(&prefix), expected("lib"));
    }
    let names = format!("PREFIX={}", prefix.display());
    make("uninstall", &[names]);
    assert_eq!(listing(&prefix), BTreeSet::new());

    let (dest, lib) = (root.join("staged"), "lib/x86_64-linux-gnu");
    let where_to = ["PREFIX=/usr".to_owned(), format!("LIBDIR=/usr/{lib}"), format!("DESTDIR={}", dest.display())];
    make("install", &where_to);
    assert_eq!(listing(&dest.join("usr")), expected(lib));
    for file in [format!("{lib}/pkgconfig/kvs.pc"), format!("{lib}/cmake/kvs/kvsConfig.cmake")] {
        let text = std::fs::read_to_string(dest.join("usr").join(file)).expect("an installed file");
        assert!(!text.contains("staged") && !text.contains('@'), "{text}");
    }
    make("uninstall", &where_to);
    assert_eq!(listing(&dest), BTreeSet::new());
}

#[test]
#[cfg(target_os = "linux")]
fn consumers_find_it_by_pkg_config() {
    if !is_there("pkg-config") {
        return;
    }
    let outside = Outside::new("pkg-config");
    let (prefix, lib) = (outside.0.join("prefix"), outside.0.join("prefix/lib"));
    make("install", &[format!("PREFIX={}", prefix.display())]);
    let ask = |arguments: &[&str]| {
        let mut ask = Command::new("pkg-config");
        ask.env("PKG_CONFIG_PATH", lib.join("pkgconfig")).args(arguments);
        let output = String::from_utf8(run(&mut ask).stdout).expect("UTF-8");
        output.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ask(&["--modversion", "kvs"]), [VERSION]);
    for (source, is_c) in [("consumer.c", true), ("consumer.cc", false)] {
        let ways: [(&str, &[&str], &[&str], bool); 3] = [
            ("shared", &["--cflags", "--libs", "kvs"], &[], true),
            ("archive", &["--cflags", "--libs", "kvs-static"], &[], false),
            // Nothing shared at all, libc neither.
            ("static", &["--static", "--cflags", "--libs", "kvs"], &["-static"], false),
        ];
        for (way, package, more, shared) in ways {
            let program = outside.0.join(format!("{way}-{is_c}"));
            let mut compile = if is_c { cc() } else { cxx() };
            compile.current_dir(&outside.0).args(["-Wall", "-Wextra", "-Werror"]).args(more);
            compile.args(if is_c { ["-std=c99"] } else { ["-std=c++17"] });
            run(compile.arg(source).args(ask(package)).arg("-o").arg(&program));
            consume(&program, &lib, shared);
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn consumers_find_it_by_cmake() {
    if !is_there("cmake") {
        return;
    }
    let outside = Outside::new("cmake");
    let first = outside.0.join("first");
    make(
        "install",
        &[format!("PREFIX={}", first.display()), format!("INCLUDEDIR={}", first.join("include/of-kvs").display())],
    );
    // The tree may be moved as a whole.
    let prefix = outside.0.join("moved");
    std::fs::rename(&first, &prefix).expect("move the tree");
    let configure = |build: &str, wanted: &str| {
        let mut cmake = Command::new("cmake");
        cmake.current_dir(&outside.0).env_remove("MAKEFLAGS").args(["-S", ".", "-B", build]);
        cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())).arg(format!("-DWANTED={wanted}"));
        cmake.arg("-DCMAKE_C_FLAGS=-Wall -Werror").arg("-DCMAKE_CXX_FLAGS=-Wall -Werror");
        cmake
    };
    let minor = VERSION.rsplit_once('.').expect("three numbers").0;
    run(&mut configure("build", minor));
    run(Command::new("cmake").current_dir(&outside.0).env_remove("MAKEFLAGS").args(["--build", "build"]));
    for language in ["c", "cpp"] {
        consume(&outside.0.join(format!("build/{language}_kvs")), &prefix.join("lib"), true);
        consume(&outside.0.join(format!("build/{language}_kvs_static")), &prefix.join("lib"), false);
    }
    for other in ["9.0", "0.0.1"] {
        let refused = configure(&format!("not-{other}"), other).output().expect("run cmake");
        assert!(!refused.status.success(), "version {other} was found");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("requested version"), "for another reason");
    }
}
