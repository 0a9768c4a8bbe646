//! The one place that names the library's SONAME, which is its ABI: see `KVS_ABI_VERSION`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libkvs.so.0");
        // The library has threads, destructors of thread-locals and a fork handler: it must never be unmapped.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
