//! Goes over values of texts that were checked before.

use std::ops::Range;

use super::{Fault, Reader};

impl Reader<'_> {
    /// Goes over one value of a text whose grammar was checked before, and returns where it was. Several times as fast as
    /// [`value`](Reader::value); in a text that was not checked it may go too far, but never beyond the end.
    pub(crate) fn skip(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => self.skip_string()?,
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') => {
                    depth = depth.checked_sub(1).ok_or(Fault::Syntax { at: self.at })?;
                    self.at += 1;
                }
                Some(b',' | b':' | b' ' | b'\n' | b'\r' | b'\t') if depth > 0 => self.at += 1,
                Some(_) => {
                    let rest = &self.bytes[self.at..];
                    let end =
                        |byte: &u8| matches!(byte, b',' | b':' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t' | b'"');
                    match rest.iter().position(end).unwrap_or(rest.len()) {
                        0 => return Err(self.unexpected()),
                        length => self.at += length,
                    }
                }
                None => return Err(Fault::Cut),
            }
            if depth == 0 {
                return Ok(start..self.at);
            }
        }
    }

    /// Goes behind the string that was peeked.
    fn skip_string(&mut self) -> Result<(), Fault> {
        let mut at = self.at + 1;
        loop {
            let quote = at + memchr::memchr(b'"', self.bytes.get(at..).unwrap_or_default()).ok_or(Fault::Cut)?;
            // A quote ends the string unless an odd number of backslashes stands before it.
            let escapes = self.bytes[self.at + 1..quote].iter().rev().take_while(|byte| **byte == b'\\').count();
            at = quote + 1;
            if escapes % 2 == 0 {
                self.at = at;
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_json() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<i32>().prop_map(|number| number.to_string()),
            any::<f32>().prop_filter_map("a number", |n| n.is_finite().then(|| format!("{n:e}"))),
            r#"[\\\\"a{}\[\],: é]{0,12}"#.prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let list = |open: &'static str, close: &'static str| {
                move |items: Vec<String>| format!("{open}{}{close}", items.join(" ,\n"))
            };
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(list("[ ", "]")),
                prop::collection::vec(("[a-z\"]{0,3}", inner), 0..6).prop_map(move |members| {
                    let members =
                        members.iter().map(|(key, value)| format!("{}: {value}", serde_json::to_string(key).unwrap()));
                    list("{", "\t}")(members.collect())
                }),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn what_is_skipped_is_what_is_read(text in any_json(), tail in "[,}\\] ]?") {
            let whole = format!("{text}{tail}");
            let (mut read, mut skipped) = (Reader::new(whole.as_bytes()), Reader::new(whole.as_bytes()));
            proptest::prop_assert_eq!(read.value(0).unwrap(), skipped.skip().unwrap());
            proptest::prop_assert_eq!(read.at(), skipped.at());
        }

        #[test]
        fn skipping_never_goes_beyond_the_end(bytes in proptest::collection::vec(proptest::sample::select(&b"{}[]\",:\\a1 "[..]), 0..40)) {
            let mut reader = Reader::new(&bytes);
            let _ = reader.skip();
            proptest::prop_assert!(reader.at() <= bytes.len());
        }
    }
}
