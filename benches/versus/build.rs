//! Versions of the stores, from the lock file and from the system's packages, for the report.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = |wanted: &str| {
        let mut lines = lock.lines();
        while let Some(line) = lines.next() {
            if line == format!("name = \"{wanted}\"") {
                return lines.next().and_then(|l| l.split('"').nth(1)).unwrap_or("?").to_owned();
            }
        }
        "?".to_owned()
    };
    for name in ["kvs", "redb", "fjall", "sled", "dashmap", "crossbeam-skiplist", "lockfree"] {
        println!("cargo::rustc-env={}_VERSION={}", name.to_uppercase().replace('-', "_"), version(name));
    }
    println!("cargo::rustc-env=LMDB_VERSION=heed {}, lmdb-master-sys {}", version("heed"), version("lmdb-master-sys"));
    let rocksdb = version("librocksdb-sys");
    // Its own source, unless the build was told of another library.
    println!("cargo::rerun-if-env-changed=ROCKSDB_LIB_DIR");
    let own = std::env::var_os("ROCKSDB_LIB_DIR").is_none();
    println!(
        "cargo::rustc-env=ROCKSDB_VERSION={}",
        if own { rocksdb.split('+').nth(1).unwrap_or(&rocksdb) } else { "of the system" }
    );
    println!("cargo::rerun-if-env-changed=CXXFLAGS");
    let has = |flag: &str, feature: &str| {
        let given = std::env::var("CXXFLAGS").is_ok_and(|flags| flags.split(' ').any(|given| given == flag));
        given || std::env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|all| all.split(',').any(|given| given == feature))
    };
    let fast = has("-msse4.2", "sse4.2") && has("-mpclmul", "pclmulqdq");
    let build = if fast { "built with SSE4.2 and PCLMUL" } else { "built for any x86-64, so with slow checksums" };
    println!("cargo::rustc-env=ROCKSDB_BUILD={}", if own { build } else { "built by somebody else" });
    let package = Command::new("dpkg-query").args(["-W", "-f=${Version}", "libleveldb-dev"]).output();
    let leveldb = package.ok().filter(|o| o.status.success()).and_then(|o| String::from_utf8(o.stdout).ok());
    println!("cargo::rustc-env=LEVELDB_VERSION={}", leveldb.unwrap_or_else(|| "1.23".to_owned()));
}
