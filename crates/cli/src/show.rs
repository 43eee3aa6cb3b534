//! How answers look to people: tables, units, sentences and a little colour.

mod table;
mod text;
mod units;

pub(crate) use table::{Align, Table};
pub(crate) use text::{clean, count, sentence};
pub(crate) use units::{age, bytes, clock_time, date_time, duration_ms, rate, span_s, tokens};

/// Colours, or none where the reader is no terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    /// Whether anything is coloured at all.
    pub(crate) on: bool,
}

/// What a colour says. Never the only sign: the word beside it says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Heading,
    Faint,
    Good,
    Warning,
    Bad,
}

impl Paint {
    /// `text` in the colour of `tone`.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.on => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Heading => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
