//! The binary `kvs`; everything is in the library, so that `python -m kvs` is the same tool.

fn main() {
    std::process::exit(kvs_cli::run(std::env::args_os()));
}
