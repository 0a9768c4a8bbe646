//! The library under test, and the compilers.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// This package's directory.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the public header is.
pub fn include() -> PathBuf {
    package().join("../../include")
}

/// A directory of the library as it is installed: libkvs.so, libkvs.so.0 and libkvs.a.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.current_dir(package()).args(["build", "--lib", "--offline", "--message-format=json-render-diagnostics"]);
        // The profile of this very test, so that the engine is not compiled a second time.
        // With `KVS_PROFILE=release`: the library as it is shipped, but for the hooks of src/fault.rs, which the tests want.
        let shipped = std::env::var("KVS_PROFILE").is_ok_and(|profile| profile == "release");
        let release = shipped || !cfg!(debug_assertions);
        cargo.args(["--profile", if release { "release" } else { "test" }]);
        if shipped || cfg!(feature = "fault-injection") {
            cargo.args(["--features", "fault-injection"]);
        }
        // `target/x86_64-.../debug/deps/abi-...`: built for a named target, as sanitizers need it.
        let test = std::env::current_exe().expect("the path of this test");
        let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps");
        let above = profile.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
        if above.split('-').count() >= 3 {
            cargo.args(["--target", above]);
        }
        let built = run(&mut cargo);
        let report = String::from_utf8(built.stdout).expect("cargo reports in UTF-8");
        // Artifact lines are JSON objects on one line each; paths in them hold no escapes but on Windows.
        let line = report
            .lines()
            .rfind(|line| line.contains("\"cdylib\"") && line.contains("kvs-c"))
            .expect("the artifact line");
        let named = |suffix: &str| {
            let path = line.split('"').find(|part| part.ends_with(suffix)).expect("the artifact's path");
            PathBuf::from(path)
        };
        let installed = profile.join("kvs-c-abi-test");
        std::fs::create_dir_all(&installed).expect("a directory for the library");
        for (from, to) in [("libkvs.so", "libkvs.so.0"), ("libkvs.so", "libkvs.so"), ("libkvs.a", "libkvs.a")] {
            // Another process of this test may be at it, or run from it: replaced, never written into.
            let temporary = installed.join(format!("{to}.{}", std::process::id()));
            std::fs::copy(named(from), &temporary).expect("copy the library");
            std::fs::rename(&temporary, installed.join(to)).expect("install the library");
        }
        installed
    })
}

/// A fresh directory for one test's files, empty.
pub fn scratch(name: &str) -> PathBuf {
    let directory = library().join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory for the test");
    directory
}

/// Runs to success, or panics with everything that was printed.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The C compiler: `CC` or cc.
pub fn cc() -> Command {
    Command::new(std::env::var_os("CC").unwrap_or("cc".into()))
}

/// The C++ compiler: `CXX` or c++.
pub fn cxx() -> Command {
    Command::new(std::env::var_os("CXX").unwrap_or("c++".into()))
}
