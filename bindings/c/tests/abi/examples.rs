//! The programs of `examples/` as a reader would use them: compiled by each compiler with every warning an error, and run on real input.
//!
//! What is proven beyond "it runs": the word count is right and its memory bounded while its words are not; the ingest loads every line with any
//! number of threads and stops at what it cannot read; what the shell prints can be typed in again, and it says what the library says; and of the
//! queue, killed again and again, that no job which it accepted is lost and none starts that it said was done.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::build::{cc, include, library, package, run, scratch};
use crate::header::is_there;
use crate::programs::{sanitizers, watched};

/// What a careful user of the header compiles with.
const STRICT: [&str; 8] = ["-std=c11", "-g", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Werror", "-pthread"];

/// A compiled example and a directory for its data.
struct Example {
    program: PathBuf,
    directory: PathBuf,
}

impl Example {
    /// By clang, if it is there, and then by cc, whose program is run.
    fn new(name: &str, directory: &str) -> Example {
        let directory = scratch(directory);
        let program = directory.join(name);
        for compiler in [Command::new("clang"), cc()].iter().filter(|compiler| is_there(compiler)) {
            let own = compiler.get_program() != "clang";
            let mut compile = Command::new(compiler.get_program());
            // Sanitizers by the first compiler only: clang's are a package of their own.
            compile.args(STRICT).args(if own { sanitizers() } else { &[] }).arg("-I").arg(include());
            compile.arg(package().join("examples").join(format!("{name}.c")));
            run(compile.arg("-L").arg(library()).arg("-lkvs").arg("-o").arg(&program));
        }
        Example { program, directory }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = watched(&self.program, false);
        command.args(arguments).current_dir(&self.directory);
        command
    }

    /// Runs it with this input, whatever it ends with.
    fn output(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run it");
        let (mut pipe, input) = (child.stdin.take().expect("a pipe"), input.as_ref().to_vec());
        // Fed from the side: it may print before it has read all. It may also end before.
        let feeder = std::thread::spawn(move || _ = pipe.write_all(&input));
        let output = child.wait_with_output().expect("wait for it");
        feeder.join().expect("the feeder");
        output
    }

    /// Runs it to success and returns what it printed.
    fn prints(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> String {
        let output = self.output(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", output.status, told(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs it to the failure `code` and returns what it said about it.
    fn fails(&self, code: i32, arguments: &[&str], input: impl AsRef<[u8]>) -> String {
        let output = self.output(arguments, input);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}", told(&output));
        told(&output)
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A xorshift generator: the same words each time.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn wordcount_counts_right_in_bounded_memory() {
    let example = Example::new("wordcount", "example_wordcount");
    let text = "The quick brown fox.\nThe lazy dog! the\tDOG; d\u{e9}j\u{e0} vu, d\u{e9}j\u{e0}-vu 42 don't";
    let all = "         3 the\n         2 dog\n         2 d\u{e9}j\u{e0}\n         2 vu\n         1 42\n";
    assert_eq!(example.prints(&["-n", "5", "small"], text), all);
    // Asked again, counting nothing; and counted a second time, from files, on top of the first.
    let with_d = "         2 dog\n         1 don\n         2 d\u{e9}j\u{e0}\n";
    assert_eq!(example.prints(&["-q", "-p", "d", "small"], ""), with_d);
    std::fs::write(example.directory.join("text"), text).expect("write a file");
    let twice = example.prints(&["-n", "2", "-p", "q", "small", "text", "text"], "");
    assert_eq!(twice, "         3 quick\n         9 the\n         6 dog\n");
    // A word that is too long for a key is told of, its neighbours are counted.
    let long = format!("before {} after", "x".repeat(65537));
    let output = example.output(&["long"], &long);
    assert!(output.status.success() && told(&output).contains("1 words of more than 65536 bytes"), "{}", told(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "         1 after\n         1 before\n");
    let longest = format!("{}-{}", "x".repeat(65536), "y".repeat(65536));
    assert_eq!(example.prints(&["-p", "y", "longest"], &longest).len(), 11 + 65536 + 1);
    // What it cannot do it says.
    assert!(example.fails(1, &["small", "no-such-file"], "").contains("no-such-file"));
    assert!(example.fails(2, &["-n", "many", "small"], "").contains("many is not a number"));
    std::fs::write(example.directory.join("a-file"), "").expect("write a file");
    assert!(example.fails(1, &["a-file"], "").contains("KVS_E_"));

    // Many more words than memory: as often as the model says, whatever was spilled when.
    let size = if std::env::var_os("KVS_VALGRIND").is_some() { 60_000 } else { 400_000 };
    let (mut input, mut state, mut model) = (String::new(), 88_172_645_463_325_252, BTreeMap::new());
    for _ in 0..size {
        let number = random(&mut state);
        // A third of the words are few, the others hardly ever come twice.
        let word = if number.is_multiple_of(3) {
            format!("few{}", number % 97)
        } else {
            format!("rare-{:x}", number % (2 * size))
        };
        for part in word.split('-') {
            *model.entry(part.to_owned()).or_insert(0u64) += 1;
        }
        let _ = write!(input, "{word}{}", if number.is_multiple_of(5) { '\n' } else { ' ' });
    }
    let under_valgrind = std::env::var_os("KVS_VALGRIND").is_some();
    std::fs::write(example.directory.join("words"), &input).expect("write a file");
    for (mib, spills) in [("16", 3), ("512", 1)] {
        // From a shell, since a process is said to have used what the one that started it did; and that is this one.
        let program = example.command(&[]);
        let mut shell = Command::new("sh");
        shell.current_dir(&example.directory).env("LD_LIBRARY_PATH", library());
        shell.args(["-c", "\"$@\"; exit $?", "sh"]).arg(program.get_program()).args(program.get_args());
        let output = run(shell.args(["-v", "-m", mib, "-p", "", mib, "words"]));
        let told = told(&output);
        let counted: BTreeMap<String, u64> = String::from_utf8(output.stdout)
            .expect("UTF-8")
            .lines()
            .map(|line| line.trim().split_once(' ').expect("a count and a word"))
            .map(|(count, word)| (word.to_owned(), count.parse().expect("a count")))
            .collect();
        assert!(counted == model, "{} words instead of {}", counted.len(), model.len());
        let number_before = |what: &str| -> u64 {
            let words = told.split(what).next().expect("a part").rsplit(' ').next().expect("a word");
            words.parse().unwrap_or_else(|_| panic!("no number before {what:?} in {told:?}"))
        };
        // Of 16 MiB the program and its library take a few more; with more allowed, more is taken, or the first would show nothing.
        if !under_valgrind && sanitizers().is_empty() {
            assert_eq!(number_before(" spills"), spills, "{told}");
            let used = number_before(" MiB of memory");
            assert!(if mib == "16" { used <= 28 } else { used >= 60 }, "{told}");
        }
    }
}

#[test]
fn ingest_loads_every_line_with_any_number_of_threads() {
    let example = Example::new("ingest", "example_ingest");
    let lines = if std::env::var_os("KVS_VALGRIND").is_some() { 20_000 } else { 100_000 };
    let mut input = String::new();
    for i in 0..lines {
        // Keys in no order; empty values and values with TABs among them.
        let value = if i % 7 == 0 { String::new() } else { format!("value\tof {i}") };
        let _ = writeln!(input, "{:08}\t{value}", i * 7919 % lines);
    }
    // A line longer than a block, and a last one without an end.
    let _ = write!(input, "long\t{}\nlast\tline", "v".repeat(3 << 20));
    std::fs::write(example.directory.join("input"), &input).expect("write the input");
    let expected = format!("{} records, ", lines + 2);
    for (threads, batch) in [("1", "500"), ("4", "1"), ("8", "1000")] {
        let directory = format!("data-{threads}");
        let output = example.output(&["-t", threads, "-b", batch, "-i", "1", &directory, "input"], "");
        assert!(output.status.success(), "{}", told(&output));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with(&expected), "{}", told(&output));
        assert!(told(&output).contains("records") && told(&output).contains("flushes"), "{}", told(&output));
    }
    // Read back by another example: the same entries as the lines, in order.
    let shell = Example::new("shell", "example_ingest_shell");
    let path = example.directory.join("data-8");
    let mut wanted: Vec<(&str, &str)> = input.lines().filter_map(|line| line.split_once('\t')).collect();
    wanted.sort_unstable();
    let scanned = shell.prints(&[path.to_str().expect("UTF-8")], "scan");
    let same = scanned.lines().zip(&wanted).all(|(line, (key, value))| {
        let (found, rest) = line.split_once(' ').expect("a key and a value");
        let plain = rest.trim_matches('"').replace("\\t", "\t");
        found == *key && plain == *value
    });
    assert!(same && scanned.lines().count() == wanted.len(), "{} lines", scanned.lines().count());
    // Synced batches from standard input; and what is no line of two columns stops everybody.
    assert!(
        example.prints(&["-s", "-b", "2", "-i", "0", "synced"], "a\t1\nb\t2\nc\t3").starts_with("3 records, 6 bytes")
    );
    let bad = format!("{}no tab here\n{}", "k\tv\n".repeat(100_000), "k\tv\n".repeat(200_000));
    assert!(example.fails(1, &["-t", "3", "bad"], bad).contains("a line has no TAB: no tab here"));
    assert!(example.fails(1, &["bad", "no-such-file"], "").contains("no-such-file"));
    let key = format!("{}\tv\n", "k".repeat(65537));
    assert!(example.fails(1, &["bad"], key).contains("KVS_E_TOO_LARGE"));
    assert!(example.prints(&["empty"], "").starts_with("0 records"));
}

#[test]
fn shell_prints_what_can_be_typed_in_again() {
    let example = Example::new("shell", "example_shell");
    let script = r#"
        # a comment, and an empty line

        put colour red
        put 'a "quoted" key' "line\nbreak, tab\t, back\\slash, \"quotes\", byte \x00 and \xff"
        put "" empty
        put - dash
        get colour
        get 'a "quoted" key'
        snapshot before
        put colour blue
        at before
        get colour
        at now
        get colour
        begin
        put colour green
        del ""
        get colour
        abort
        begin
        put colour yellow
        delrange "-" .
        commit
        scan
        rscan b
        scan - b
        prefix col
        at before
        scan
        release before
        get colour
        stats writes
        flush
        compact
        verify
        sync
        quit
        this is not read
    "#;
    let expected = [
        "red",
        r#""line\nbreak, tab\t, back\\slash, \"quotes\", byte \x00 and ÿ""#,
        "red",
        "blue",
        "blue",
        r#""" empty"#,
        r#""a \"quoted\" key" "line\nbreak, tab\t, back\\slash, \"quotes\", byte \x00 and ÿ""#,
        "colour yellow",
        "colour yellow",
        r#""" empty"#,
        r#""a \"quoted\" key" "line\nbreak, tab\t, back\\slash, \"quotes\", byte \x00 and ÿ""#,
        "colour yellow",
        r#""" empty"#,
        "- dash",
        r#""a \"quoted\" key" "line\nbreak, tab\t, back\\slash, \"quotes\", byte \x00 and ÿ""#,
        "colour red",
        "yellow",
        "7",
        "3 records are good",
    ];
    let output = example.output(&["data"], script);
    assert!(output.status.success(), "{}", told(&output));
    // Bytes beyond ASCII are printed as they are.
    let latin: String = output.stdout.iter().map(|byte| *byte as char).collect();
    assert_eq!(latin.lines().collect::<Vec<_>>(), expected);

    // What a scan prints, with `put` before each line, makes the same store.
    let printed = example.output(&["data"], "scan").stdout;
    let again: Vec<u8> =
        printed.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [b"put ", line].concat()).collect();
    example.prints(&["copy"], again);
    assert!(!printed.is_empty() && example.output(&["copy"], "scan").stdout == printed);

    // Each of these fails, says why, and the next line is read all the same.
    let told = example.fails(
        1,
        &["data"],
        "get nothing\nput one\nfly\nput \"open\nput \"\\q\" x\nput a b c d\ncommit\nat never\nstats none\nbegin\nbegin\nput lost x\nget colour",
    );
    let said = [
        "not found",
        "not a command, or not with so many words: try help",
        "not a command, or not with so many words: try help",
        "a quote is not closed",
        "a \\ must be followed by n, t, r, \\, \" or xHH",
        "too many words: put quotes around blanks",
        "no batch is begun",
        "there is no snapshot of this name",
        "stats: KVS_E_INVALID: kvs_property: ",
        "a batch is begun already: commit or abort it",
        "a batch that was begun is lost: it was not committed",
    ];
    let lines: Vec<_> = told.lines().collect();
    assert!(lines.len() == said.len() && lines.iter().zip(said).all(|(line, said)| line.starts_with(said)), "{told}");
    assert!(example.fails(1, &["-o", "read_only=true", "data"], "put a b").contains("KVS_E_READ_ONLY: kvs_put: "));
    assert!(example.fails(1, &["-o", "create=false", "none"], "").contains("KVS_E_NOT_A_DATABASE: kvs_open: "));
    assert!(example.fails(2, &["-o", "colour=red", "data"], "").contains("KVS_E_INVALID: kvs_options_set: "));
    assert!(example.prints(&["-O"], "").contains("\ndurability=process\n"));
    assert!(example.prints(&["data"], "help").contains("rscan"));
}

/// What the lines of a queue say, over all its runs.
#[derive(Default)]
struct Told {
    queued: BTreeSet<u64>,
    started: BTreeSet<u64>,
    done: BTreeSet<u64>,
}

impl Told {
    /// Reads what one run printed. A line that the kill cut off is none.
    fn read(&mut self, printed: &str) {
        for line in printed.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = || words[1].parse::<u64>().expect("a number");
            match words[0] {
                "queued" => assert!(self.queued.insert(number()), "{line}: that number was used before"),
                "start" => {
                    assert!(!self.done.contains(&number()), "{line}: it was acknowledged before");
                    self.started.insert(number());
                }
                "done" => assert!(self.done.insert(number()), "{line}: for the second time"),
                // A job whose shell was killed with the queue.
                "failed" => {}
                _ => panic!("{line}"),
            }
        }
    }
}

/// Killed 40 times at random moments, with jobs coming in: see the head of this file.
#[test]
fn a_queue_that_is_killed_loses_no_job_and_repeats_none_that_was_done() {
    let example = Example::new("queue", "example_queue");
    let kills = if std::env::var_os("KVS_VALGRIND").is_some() { 3 } else { 40 };
    let (mut told, mut next, mut state) = (Told::default(), 0u64, 0x9e37_79b9_7f4a_7c15);
    let (ran, mut accepted) = (example.directory.join("ran"), Vec::new());
    for round in 0..kills {
        let (printed, said) = (example.directory.join("printed"), example.directory.join("said"));
        let file = |path| std::fs::File::create(path).expect("a file for its output");
        let mut command = example.command(&["-w", "3", "-a", "1000", "data"]);
        command.stdin(Stdio::piped()).stdout(file(&printed)).stderr(file(&said));
        let mut child = command.spawn().expect("run the queue");
        let mut pipe = child.stdin.take().expect("a pipe");
        let first = next;
        let lines = 20 + random(&mut state) % 100;
        for line in first..first + lines {
            // Broken if it has died, which is found out below.
            let _ = writeln!(pipe, "echo {line} >> ran");
        }
        next = first + lines;
        // From before the first job to when most are done: after so many lines of its three for each job, and a little later.
        let until = random(&mut state) % (3 * lines) * u64::from(round % 8 != 0);
        let told_lines =
            || std::fs::read(&printed).expect("what it printed").iter().filter(|byte| **byte == b'\n').count();
        let patience = Instant::now() + Duration::from_secs(60);
        while (told_lines() as u64) < until && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(random(&mut state) % 3000));
        if let Some(status) = child.try_wait().expect("look at it") {
            panic!(
                "round {round}: it ended by itself, {status}: {}",
                std::fs::read_to_string(&said).unwrap_or_default()
            );
        }
        child.kill().expect("kill it");
        child.wait().expect("wait for it");
        let printed = std::fs::read_to_string(&printed).expect("what it printed");
        let before = told.queued.len();
        told.read(&printed);
        // It answers in the order of the lines: so many of them were accepted. Of the others nobody was told, and they are not sent again.
        accepted.extend(first..first + (told.queued.len() - before) as u64);
    }
    assert!(
        !accepted.is_empty() && told.done.len() > 10,
        "{} accepted, {} done: too slow to prove anything",
        accepted.len(),
        told.done.len()
    );
    // Once more, to the end.
    told.read(&example.prints(&["-a", "1000", "data"], ""));
    let lost: Vec<_> = told.queued.difference(&told.started).collect();
    assert!(lost.is_empty(), "accepted and never started: {lost:?}");
    assert_eq!(example.prints(&["-L", "data"], ""), "", "nothing is left");
    let ran = std::fs::read_to_string(ran).expect("what the jobs wrote");
    let ran: BTreeSet<u64> = ran.lines().map(|line| line.parse().expect("a number")).collect();
    let lost: Vec<_> = accepted.iter().filter(|line| !ran.contains(line)).collect();
    assert!(lost.is_empty(), "accepted and never run: {lost:?}");
}

#[test]
fn a_queue_retries_gives_up_and_hands_on_what_hangs() {
    let example = Example::new("queue", "example_queue_leases");
    // Accepted by one run, done by another.
    assert_eq!(example.prints(&["-w", "0", "data"], "true\n\nfalse\n"), "queued 1\nqueued 2\n");
    assert_eq!(example.prints(&["-L", "data"], ""), "1 true\n2 false\n");
    let output = example.output(&["-w", "1", "-a", "2", "data"], "");
    assert!(told(&output).contains("1 done, 1 given up, "), "{}", told(&output));
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(printed, "start 1 1\ndone 1\nstart 2 1\nfailed 2 1\nstart 2 2\nfailed 2 2\ngave up 2\n");
    assert_eq!(example.prints(&["-L", "data"], ""), "");
    // Numbers are never used again, each acknowledged write was synced.
    let output = example.output(&["-w", "0", "data"], "true\ntrue\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "queued 1001\nqueued 1002\n");
    assert!(told(&output).contains("3 syncs for 3 commits"), "{}", told(&output));
    // A job that hangs is taken by another thread when its lease ends. The first one comes back while the second is at it: it is late.
    let hangs =
        "if mkdir first; then until test -e second; do sleep 0.1; done; else mkdir second; sleep 1; fi 2> /dev/null\n";
    let printed = example.prints(&["-w", "2", "-l", "2000", "data"], hangs);
    assert!(printed.contains("start 2001 2\n") && printed.contains("late 2001 1\n"), "{printed}");
    assert_eq!(printed.matches("done 2001\n").count(), 1, "{printed}");
    // A job that takes the process with it is given up when it has done so too often. Its shell's parent is the queue, or valgrind, which is it.
    for attempt in 1..=2 {
        let input = if attempt == 1 { "kill -9 $PPID\n" } else { "" };
        assert_eq!(example.output(&["-w", "1", "-a", "2", "kills"], input).status.code(), None, "attempt {attempt}");
    }
    assert_eq!(example.prints(&["-w", "1", "-a", "2", "kills"], ""), "start 1 3\nfailed 1 3\ngave up 1\n");
    // Two processes cannot have it at once.
    let mut command = example.command(&["data"]);
    let mut holder =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("run it");
    let mut pipe = holder.stdin.take().expect("a pipe");
    writeln!(pipe, "true").expect("feed it");
    let mut byte = [0];
    std::io::Read::read_exact(holder.stdout.as_mut().expect("a pipe"), &mut byte).expect("it is there");
    assert!(example.fails(1, &["data"], "").contains("KVS_E_LOCKED"));
    drop(pipe);
    assert!(holder.wait().expect("wait for it").success());
}

/// The README lists all there are.
#[test]
fn every_example_is_listed() {
    let readme = std::fs::read_to_string(package().join("README.md")).expect("README.md");
    let examples = std::fs::read_dir(package().join("examples")).expect("examples");
    let mut count = 0;
    for example in examples {
        let name = example.expect("a file").file_name();
        let link = format!("(examples/{})", Path::new(&name).display());
        assert!(readme.contains(&link), "README.md does not tell of {link}");
        count += 1;
    }
    assert!(count >= 5);
}
