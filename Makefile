# What a maintainer runs, and `make install` for packagers. Everything else that is made lies below target/.

CARGO ?= cargo

.PHONY: all demo test memcheck lint bench bench-c bench-gil bench-python instructions-python profile versus test-versus decisions instructions loom header c-docs wheel clean-demo install uninstall

all:
	$(CARGO) build --release

# Builds library, header, wheel and command line tool, and puts real data through all of them.
demo:
	sh demo/run.sh

# Every test of every language.
test:
	$(CARGO) test --workspace --exclude kvs-python
	sh bindings/ctypes/tests/run.sh --quiet
	$(MAKE) loom
	sh python/tests/run.sh -q

# The C programs under valgrind, with the library as it is shipped but for the hooks that make it panic. Everything is repeated less often.
memcheck:
	KVS_PROFILE=release KVS_VALGRIND=1 KVS_REPEAT_PERCENT=2 KVS_RANDOM_HANDLES=2000 $(CARGO) test -p kvs-c --test abi -- programs matrix examples

# The Python wheel and source distribution, held to what an index and a user ask of them.
wheel:
	sh python/tests/wheel.sh

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
	$(CARGO) bench --bench threads

# What C's calls cost beside the Rust calls behind them, in time.
bench-c:
	$(CARGO) build --release -p kvs-c
	$(CARGO) bench -p kvs-c --bench doors

# What the hot paths cost in instructions, against what is known: the same on every machine. Needs valgrind.
instructions:
	$(CARGO) bench --bench instructions
	$(CARGO) test --release -p kvs-c --test abi -- --ignored --nocapture doors_cost_little

# Flame graphs of put, get, scan and merge, in target/profile. Needs perf; a minute.
profile:
	sh benches/profile/run.sh

# The Python package against its peers: a table of ratios, and a picture for docs.
bench-python:
	sh python/bench/run.sh --plot docs/bench-python.svg

# How much of the GIL is left beside the engine's calls; with the wheel that python/tests/run.sh has installed.
bench-gil:
	target/python/venv-*/bin/python python/bench/gil.py

# Instructions of the calls of the Python package, by valgrind; with the same wheel.
instructions-python:
	target/python/venv-*/bin/python python/bench/instructions.py

# kvs beside other stores, up to 85 minutes: writes docs/performance. PRESET=large: ten million keys; beyond, growth, over_time:
# less memory than data, 1 to 30 million keys, a minute of overwrites. Keep the machine quiet.
PRESET ?= default
versus:
	sh benches/versus/run.sh $(PRESET)

# The harness of that comparison with kvs alone, so without building the others; with them: cargo test in benches/versus. And whether the
# tables of docs/decisions can be measured again.
test-versus:
	$(CARGO) test --manifest-path benches/versus/Cargo.toml --locked --no-default-features --features decide

# The tables of docs/decisions 0019, 0020, 0021 and 0002, half an hour. Keep the machine quiet.
DECISIONS := $(CARGO) run --release --locked --manifest-path benches/versus/Cargo.toml --no-default-features --features decide --bin kvs-decisions --
decisions:
	$(DECISIONS) index
	$(DECISIONS) index --keys 10000000 --rounds 1
	$(DECISIONS) order
	$(DECISIONS) log
	$(DECISIONS) hash

# After a change of the C interface: writes include/kvs.h and the symbol list anew.
header:
	KVS_BLESS=1 $(CARGO) test -p kvs-c --test abi up_to_date
	KVS_BLESS=1 $(CARGO) test -p kvs-c --test abi exports

# The reference of the C and C++ interfaces, in target/c-docs/html. A warning is a failure.
c-docs:
	mkdir -p target
	doxygen bindings/c/Doxyfile

# The C and C++ library as a native one: `make install PREFIX=/usr/local`, and DESTDIR=... for packages that are put together
# elsewhere. BUILT names a directory that has libkvs.so and libkvs.a already; without it they are built.
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR ?=
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
ABI := $(shell sed -n 's/^.define KVS_ABI_VERSION //p' include/kvs.h)
# What rustc's standard library needs of the system; all of it is in libc itself since glibc 2.34.
STATIC_LIBS := -lpthread -ldl -lm -lrt

install:
ifndef BUILT
	$(CARGO) build --release -p kvs-c
endif
	sh bindings/c/install/install.sh "$(or $(BUILT),$(RELEASE))" "$(DESTDIR)" "$(PREFIX)" "$(LIBDIR)" "$(INCLUDEDIR)" \
		"$(VERSION)" "$(ABI)" "$(STATIC_LIBS)"

uninstall:
	rm -f "$(DESTDIR)$(LIBDIR)/libkvs.so" "$(DESTDIR)$(LIBDIR)/libkvs.so.$(ABI)" "$(DESTDIR)$(LIBDIR)/libkvs.so.$(VERSION)"
	rm -f "$(DESTDIR)$(LIBDIR)/libkvs.a" "$(DESTDIR)$(INCLUDEDIR)/kvs.h" "$(DESTDIR)$(INCLUDEDIR)/kvs.hpp"
	rm -f "$(DESTDIR)$(LIBDIR)/pkgconfig/kvs.pc" "$(DESTDIR)$(LIBDIR)/pkgconfig/kvs-static.pc"
	rm -rf "$(DESTDIR)$(LIBDIR)/cmake/kvs"
