# What a maintainer runs. Everything that is made lies below target/; nothing is installed elsewhere.

CARGO ?= cargo

.PHONY: all demo test lint bench instructions loom header clean-demo

all:
	$(CARGO) build --release

# Builds library, header, wheel and command line tool, and puts real data through all of them.
demo:
	sh demo/run.sh

# Every test of every language.
test:
	$(CARGO) test --workspace --exclude kvs-python
	$(MAKE) loom
	sh python/tests/run.sh -q

# Formatting, lints, documentation and dependencies.
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

# Model checking of the lock-free parts: other atomics, so another target directory.
loom:
	RUSTFLAGS="--cfg kvs_loom" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		$(CARGO) test -p kvs --release --lib --target-dir target/loom loom

# Ratios within one run; keep the machine quiet.
bench:
	$(CARGO) bench --bench memory_map
	$(CARGO) bench --bench sustained

# What the hot paths cost in instructions, against what is known: the same on every machine. Needs valgrind.
instructions:
	$(CARGO) bench --bench instructions

# After a change of the C interface: writes include/kvs.h and the symbol list anew.
header:
	KVS_BLESS=1 $(CARGO) test -p kvs-c --test abi up_to_date
	KVS_BLESS=1 $(CARGO) test -p kvs-c --test abi exports
