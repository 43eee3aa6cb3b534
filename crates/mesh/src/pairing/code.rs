//! The code that a person reads on one machine and types on another.

use std::fmt;
use std::str::FromStr;

use crate::base32;

/// Eight of 32 characters that are not mistaken for each other, shown as `7KQ2-M9XD`. A secret until it was used.
#[derive(Clone, PartialEq, Eq)]
pub struct Code([u8; Code::LENGTH]);

/// A text that cannot be a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    /// It is too short or too long.
    #[error("a code has 8 letters and digits, this one has {0}")]
    Length(usize),
    /// It has a character that no code has.
    #[error("no code has a `{0}` in it")]
    Character(char),
}

impl Code {
    const LENGTH: usize = 8;

    /// A new code, from the system's randomness.
    pub fn generate() -> Result<Code, getrandom::Error> {
        let mut bytes = [0; Code::LENGTH];
        getrandom::fill(&mut bytes)?;
        Ok(Code(bytes.map(|byte| byte & 31)))
    }

    /// The first character, which is announced: it tells the offers on a network apart. The other seven are the secret.
    pub fn plate(&self) -> char {
        base32::character(self.0[0])
    }

    /// What is proved to be known.
    pub(super) fn password(&self) -> String {
        self.0.iter().map(|value| base32::character(*value)).collect()
    }
}

impl FromStr for Code {
    type Err = BadCode;

    /// Reads what a person typed: case, spaces and dashes do not matter, o is 0, i and l are 1.
    fn from_str(text: &str) -> Result<Code, BadCode> {
        let mut code = [0; Code::LENGTH];
        let mut length = 0;
        for character in
            text.chars().filter(|character| !character.is_whitespace() && !"-\u{2010}\u{2013}_.".contains(*character))
        {
            let meant = match character.to_ascii_lowercase() {
                'o' => '0',
                'i' | 'l' => '1',
                other => other,
            };
            let value = u8::try_from(meant).ok().and_then(base32::value).ok_or(BadCode::Character(character))?;
            if let Some(slot) = code.get_mut(length) {
                *slot = value;
            }
            length += 1;
        }
        if length == Code::LENGTH { Ok(Code(code)) } else { Err(BadCode::Length(length)) }
    }
}

/// The code as a person reads it. Meant for the person: never put it into a log.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.password().to_ascii_uppercase();
        write!(f, "{}-{}", &text[..4], &text[4..])
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_is_typed_it_is_the_same_code() {
        let code: Code = "7KQ2-M9XD".parse().unwrap();
        for typed in ["7kq2m9xd", " 7k q2-m9-xd\n", "7KQ2–M9XD", "7KQ2_M9XD"] {
            assert_eq!(typed.parse(), Ok(code.clone()), "{typed}");
        }
        assert_eq!("OIL0-0110".parse::<Code>(), "0110-0110".parse());
        assert_eq!(code.to_string(), "7KQ2-M9XD");
        assert_eq!(code.plate(), '7');
        assert_eq!(format!("{code:?}"), "Code(hidden)");
    }

    #[test]
    fn what_cannot_be_a_code_is_said() {
        for (typed, why) in [
            ("", BadCode::Length(0)),
            ("7KQ2-M9X", BadCode::Length(7)),
            ("7KQ2-M9XD-7", BadCode::Length(9)),
            ("7KQ2-M9XU", BadCode::Character('U')),
            ("7KQ2-M9Xé", BadCode::Character('é')),
        ] {
            assert_eq!(typed.parse::<Code>(), Err(why), "{typed}");
        }
        let long = "7".repeat(1 << 20);
        assert_eq!(long.parse::<Code>(), Err(BadCode::Length(1 << 20)));
    }

    #[test]
    fn codes_use_all_characters() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let code = Code::generate().unwrap();
            assert_eq!(code.to_string().parse(), Ok(code.clone()));
            seen.extend(code.0);
        }
        assert_eq!(seen.len(), 32);
    }
}
