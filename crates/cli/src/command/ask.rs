//! Questions to the person at the terminal.

use std::io::{BufRead, Read};

use crate::World;
use crate::failure::Failure;

/// Bytes of an answer that are looked at.
const LONGEST: u64 = 4096;

/// Asks before something that is hard to undo. Where nobody sits at a terminal, or a script reads, it counts as said.
pub(super) fn confirm(question: &str, yes: bool, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    if yes || json || !world.terminal {
        return Ok(());
    }
    write!(world.err, "{question} [y/N] ")?;
    world.err.flush()?;
    let answer = world.input.as_mut().and_then(|input| next_line(input.as_mut()));
    match answer.is_some_and(|answer| is_yes(&answer)) {
        true => Ok(()),
        false => Err(Failure::Failed("Nothing was changed.".to_owned())),
    }
}

/// Whether `answer` agrees. Anything that is not clearly a yes is a no.
pub(super) fn is_yes(answer: &str) -> bool {
    let answer = answer.trim();
    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
}

/// The next line that was typed; `None` at the end or where it cannot be read.
pub(super) fn next_line(input: &mut dyn BufRead) -> Option<String> {
    let mut line = Vec::new();
    let read = input.take(LONGEST).read_until(b'\n', &mut line).ok()?;
    (read > 0).then(|| String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, yes) in
            [("y\n", true), (" YES \r\n", true), ("", false), ("\n", false), ("n", false), ("yy", false), ("ja", false)]
        {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }

    #[test]
    fn lines_are_read_one_by_one_and_never_too_long() {
        let mut input: &[u8] = b"one\ntwo";
        assert_eq!(next_line(&mut input).as_deref(), Some("one\n"));
        assert_eq!(next_line(&mut input).as_deref(), Some("two"));
        assert_eq!(next_line(&mut input), None);
        let long = vec![b'y'; 10_000];
        assert_eq!(next_line(&mut &long[..]).unwrap().len(), 4096);
    }
}
