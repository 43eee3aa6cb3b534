//! Adds up what test programs say of themselves, whichever way they say it.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process::Process;

/// Tests counted so far, and what is to be said at the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Repeated before the last line, so that nobody has to scroll for it.
    notes: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Tally {
    /// Something could not be tried. `remedy` is the one line to run, or whatever else helps.
    pub(crate) fn skip(&mut self, what: &str, remedy: &str) {
        self.skipped += 1;
        self.note(format!("SKIPPED  {what}: {remedy}"));
    }

    /// Something failed that counts as one test.
    pub(crate) fn fail(&mut self, what: &str, why: &str) {
        self.failed += 1;
        self.note(format!("FAILED   {what}: {why}"));
    }

    /// Counts `result` as one test named `what`.
    pub(crate) fn count(&mut self, what: &str, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => self.fail(what, &format!("{error:#}")),
        }
    }

    fn note(&mut self, note: String) {
        eprintln!("{note}");
        self.notes.push(note);
    }

    /// Prints the notes again and the closing line, which ends the output.
    pub(crate) fn close(&self) {
        println!();
        for note in &self.notes {
            println!("{note}");
        }
        println!("{self}");
    }

    /// Runs the test program `command`, shows what it prints and adds what it counts. `what` is its name in notes.
    pub(crate) fn run(&mut self, what: &str, command: &mut Command) -> Result<()> {
        let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let output = process.stdout().context("a piped output")?;
        let mut of_this = Tally::default();
        let mut counted = false;
        for line in BufReader::new(output).split(b'\n') {
            let line = line.with_context(|| format!("reading what {what} prints"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            counted |= of_this.read(&line);
        }
        std::io::stdout().flush().context("printing")?;
        let status = process.wait()?;
        self.passed += of_this.passed;
        self.failed += of_this.failed;
        self.skipped += of_this.skipped;
        if of_this.failed > 0 {
            self.note(format!("FAILED   {what}: {} failed, see above", of_this.failed));
        } else if !status.success() {
            self.fail(what, &format!("ended with {status}"));
        } else if !counted {
            self.fail(what, "ran no test that can be counted");
        }
        Ok(())
    }

    /// Adds what `line` counts: a closing line of a Rust test program, or one of TAP. True if it was such a line.
    fn read(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("test result: ") {
            for part in rest.split(['.', ';']) {
                if let Some((number, word)) = part.trim().split_once(' ') {
                    self.add(word, number);
                }
            }
            return true;
        }
        match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some((word @ ("pass" | "fail" | "cancelled" | "skipped" | "todo"), number)) => self.add(word, number),
            _ => false,
        }
    }

    fn add(&mut self, word: &str, number: &str) -> bool {
        let Ok(number) = number.trim().parse::<u64>() else { return false };
        match word {
            "passed" | "pass" => self.passed += number,
            "failed" | "fail" | "cancelled" => self.failed += number,
            "ignored" | "skipped" | "todo" => self.skipped += number,
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn closing_lines_are_added_up_and_others_are_not() {
        let mut tally = Tally::default();
        for (line, counts) in [
            ("test result: ok. 9 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.12s", true),
            ("test result: FAILED. 1 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s", true),
            ("test gguf::tests::container ... ok", false),
            ("# pass 5", true),
            ("# fail 1", true),
            ("# cancelled 1", true),
            ("# skipped 2", true),
            ("# tests 8", false),
            ("# pass the salt", false),
            ("", false),
        ] {
            assert_eq!(tally.read(line), counts, "{line}");
        }
        assert_eq!(tally.to_string(), "15 passed, 6 failed, 4 skipped");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_fails_or_counts_nothing_is_a_failure() {
        for (script, expected) in [
            ("echo '# pass 2'", "2 passed, 0 failed, 0 skipped"),
            ("echo '# pass 2'; exit 1", "2 passed, 1 failed, 0 skipped"),
            ("echo '# fail 2'; exit 1", "0 passed, 2 failed, 0 skipped"),
            ("echo done", "0 passed, 1 failed, 0 skipped"),
        ] {
            let mut tally = Tally::default();
            tally.run("it", std::process::Command::new("sh").args(["-c", script])).unwrap();
            assert_eq!(tally.to_string(), expected, "{script}");
        }
    }
}
