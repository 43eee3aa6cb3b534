//! What may be written after `herd share`.

use std::time::Duration;

use clap::Subcommand;

/// What can be said about sharing. What is running always finishes, and apps of this machine are always served.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ShareCommand {
    /// Take requests of other machines, as far as the rules agree
    On,
    /// Take none until told otherwise
    Off,
    /// Take none for a while, or until told otherwise
    Pause {
        /// For how long: 30m, 1h30m, 2d, or `tomorrow`; without it until `herd share on`
        #[arg(value_name = "DURATION", value_parser = pause)]
        duration: Option<Pause>,
    },
    /// Finish what runs for others, then take none until told otherwise
    Finish,
    /// Use the other machines only, and share nothing
    FleetOnly,
    /// Share whatever the rules say, for an hour unless told otherwise; 0 ends that
    Anyway {
        /// For how long: 30m, 1h
        #[arg(value_name = "DURATION", value_parser = span, default_value = "1h")]
        duration: Duration,
    },
    /// Switch a rule: meetings, games, lid, display, battery, heat, metered, busy
    Rule {
        /// Its name
        name: String,
        /// Whether it may pause
        switch: Switch,
    },
    /// A program that uses camera or microphone without a meeting
    Ignore {
        /// Its name, as `herd share` shows it
        app: String,
    },
    /// A program that counts again
    Heed {
        /// Its name
        app: String,
    },
}

/// How long a pause lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    For(Duration),
    Tomorrow,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

fn pause(text: &str) -> Result<Pause, String> {
    if text == "tomorrow" {
        return Ok(Pause::Tomorrow);
    }
    match span(text) {
        Ok(span) if span.is_zero() => Err("a pause takes a while".to_owned()),
        Ok(span) => Ok(Pause::For(span)),
        Err(why) => Err(format!("{why}, or `tomorrow`")),
    }
}

/// A span of time such as `90s`, `30m`, `1h30m` or `2d`, of 31 days at most; a bare number is minutes.
fn span(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "a time such as 30m, 1h30m or 2d, of 31 days at most";
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next();
        let each = match unit {
            Some('s') => 1,
            Some('m') => 60,
            None if digits == text.len() => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(EXPECTED.to_owned()),
        };
        let number: u64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
        seconds = number.checked_mul(each).and_then(|more| seconds.checked_add(more)).ok_or(EXPECTED)?;
        rest = tail.get(unit.map_or(0, char::len_utf8)..).unwrap_or_default();
    }
    let fits = !text.is_empty() && seconds <= 31 * 86_400;
    fits.then(|| Duration::from_secs(seconds)).ok_or_else(|| EXPECTED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood_or_refused() {
        let minutes = |minutes: u64| Some(Pause::For(Duration::from_secs(60 * minutes)));
        for (text, expected) in [
            ("30m", minutes(30)),
            ("30", minutes(30)),
            ("1h30m", minutes(90)),
            ("2d", minutes(2 * 24 * 60)),
            ("90s", Some(Pause::For(Duration::from_secs(90)))),
            ("tomorrow", Some(Pause::Tomorrow)),
            ("", None),
            ("0", None),
            ("0s", None),
            ("m", None),
            ("5x", None),
            ("5m30", None),
            ("-5m", None),
            ("32d", None),
            ("99999999999999999999s", None),
            ("9999999999999999d", None),
            ("5µ", None),
        ] {
            assert_eq!(pause(text).ok(), expected, "{text:?}");
        }
        assert_eq!(span("0"), Ok(Duration::ZERO));
        assert_eq!(span("1h"), Ok(Duration::from_secs(3600)));
    }
}
