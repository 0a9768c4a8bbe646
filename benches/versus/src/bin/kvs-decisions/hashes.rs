//! Hash functions and checksums of short inputs: which one may stand in every record and in the index.
//!
//! *Throughput*: calls that do not wait for each other. *Latency*: each call's input begins where the result of the one before says, within 64
//! bytes, so that it can't start earlier; that is how a get meets its hash. Inputs are a multiple of 8 bytes apart and in the first level's cache, but for those of 4 KiB.
//! All are called as a program built for any x86-64 calls them: with what they find out about the processor at run time, and nothing else.

use std::hash::Hasher;
use std::hint::black_box;
use std::time::Instant;

use clap::Args;
use kvs_versus::Result;
use kvs_versus::random::mix;

use crate::report::{Rounds, tell_where, version};

/// What `hash` is asked.
#[derive(Args)]
pub struct Options {
    /// Rounds; each measures every function once.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Calls of the shortest input a round; longer ones in proportion fewer.
    #[arg(long, default_value_t = 2_000_000)]
    calls: u64,
}

const LENGTHS: [usize; 5] = [16, 100, 116, 400, 4096];
const THROUGHPUT: [&str; 5] = ["16 B", "100 B", "116 B", "400 B", "4096 B"];
const SEED: u64 = 0x5eed_0123_4567_89ab;

/// Starts of inputs: so many, eight bytes apart.
const STARTS: usize = 8;

/// Nanoseconds a call: of independent calls, and of a chain.
type Measure = fn(&[u8], usize, u64) -> (f64, f64);

/// A function measures itself, so that it is inlined where it can be, as it would be in a program.
fn measure(bytes: &[u8], len: usize, calls: u64, hash: impl Fn(&[u8]) -> u64) -> (f64, f64) {
    let start = Instant::now();
    let mut sum = 0;
    for call in 0..calls {
        let from = (call as usize % STARTS) * 8;
        sum ^= hash(black_box(&bytes[from..from + len]));
    }
    black_box(sum);
    let throughput = start.elapsed().as_nanos() as f64 / calls as f64;
    let start = Instant::now();
    let mut last = 0u64;
    for _ in 0..calls {
        let from = (last as usize % STARTS) * 8;
        last = hash(black_box(&bytes[from..from + len]));
    }
    black_box(last);
    (throughput, start.elapsed().as_nanos() as f64 / calls as f64)
}

fn xxh3(bytes: &[u8], len: usize, calls: u64) -> (f64, f64) {
    let seed = black_box(SEED);
    measure(bytes, len, calls, |input| xxhash_rust::xxh3::xxh3_64_with_seed(input, seed))
}

fn xxh3_plain(bytes: &[u8], len: usize, calls: u64) -> (f64, f64) {
    measure(bytes, len, calls, xxhash_rust::xxh3::xxh3_64)
}

fn crc32c(bytes: &[u8], len: usize, calls: u64) -> (f64, f64) {
    measure(bytes, len, calls, |input| u64::from(crc32c::crc32c(input)))
}

fn crc_fast(bytes: &[u8], len: usize, calls: u64) -> (f64, f64) {
    measure(bytes, len, calls, |input| u64::from(crc_fast::crc32_iscsi(input)))
}

fn rapidhash(bytes: &[u8], len: usize, calls: u64) -> (f64, f64) {
    let secrets = rapidhash::v3::RapidSecrets::seed_cpp(black_box(SEED));
    measure(bytes, len, calls, |input| rapidhash::v3::rapidhash_v3_seeded(input, &secrets))
}

fn foldhash(bytes: &[u8], len: usize, calls: u64) -> (f64, f64) {
    let shared = foldhash::SharedSeed::from_u64(black_box(SEED));
    measure(bytes, len, calls, |input| {
        let mut hasher = foldhash::fast::FoldHasher::with_seed(SEED, &shared);
        hasher.write(input);
        hasher.finish()
    })
}

/// No function: the loop alone, and the first eight bytes.
fn nothing(bytes: &[u8], len: usize, calls: u64) -> (f64, f64) {
    measure(bytes, len, calls, |input| u64::from_le_bytes(input[..8].try_into().unwrap_or_default()))
}

/// Name, crate, and what measures it. The first is what the others are compared with.
const FUNCTIONS: &[(&str, &str, Measure)] = &[
    ("XXH3-64, seeded", "xxhash-rust", xxh3),
    ("XXH3-64, no seed", "xxhash-rust", xxh3_plain),
    ("CRC-32C", "crc32c", crc32c),
    ("CRC-32C", "crc-fast", crc_fast),
    ("rapidhash v3, seeded", "rapidhash", rapidhash),
    ("foldhash fast, seeded", "foldhash", foldhash),
    ("eight bytes of the input: no function", "", nothing),
];

/// Both tables.
pub fn run(options: &Options) -> Result<()> {
    agree()?;
    tell_where(&format!(
        "Nanoseconds a call, medians of {} rounds; in brackets the ratio to the first row.",
        options.rounds
    ));
    let bytes: Vec<u8> = (0..(LENGTHS[LENGTHS.len() - 1] + 8 * STARTS) as u64).map(|i| mix(i) as u8).collect();
    let name = |(name, krate, _): &(&str, &str, Measure)| {
        if krate.is_empty() { (*name).to_owned() } else { format!("{name} ({krate} {})", version(krate)) }
    };
    let mut throughput = Rounds::new(FUNCTIONS.iter().map(name).collect(), &THROUGHPUT);
    let mut latency = Rounds::new(FUNCTIONS.iter().map(name).collect(), &THROUGHPUT);
    for _ in 0..options.rounds {
        for (column, len) in LENGTHS.into_iter().enumerate() {
            for (function, (.., measure)) in FUNCTIONS.iter().enumerate() {
                let calls = options.calls * 16 / (16 + len as u64 / 4);
                let (independent, chained) = measure(&bytes, len, calls.max(1));
                throughput.add(function, column, independent);
                latency.add(function, column, chained);
            }
        }
    }
    println!("Independent calls:\n");
    throughput.print("", Some(0));
    println!("A chain, each call waiting for the one before:\n");
    latency.print("", Some(0));
    Ok(())
}

/// Both CRCs are the same function, with the check value of the catalogue, and nothing here answers the same for all.
fn agree() -> Result<()> {
    let check = b"123456789";
    if crc32c::crc32c(check) != 0xe306_9283 || crc_fast::crc32_iscsi(check) != 0xe306_9283 {
        return Err("CRC-32C is not what it should be".into());
    }
    if xxhash_rust::xxh3::xxh3_64_with_seed(check, 0) != xxhash_rust::xxh3::xxh3_64(check) {
        return Err("XXH3-64 with the seed 0 is not XXH3-64".into());
    }
    Ok(())
}
