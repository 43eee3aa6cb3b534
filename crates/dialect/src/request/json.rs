//! JSON as it stands in a body: looked at, never built into a tree.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::reader::{Fault, Reader, Str};

/// A JSON value as text, known to follow the grammar, without blanks around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Json<'a>(&'a str);

/// A string as it stands between its quotes in JSON, escapes and all; copying it needs no look inside.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Quoted<'a>(Cow<'a, str>);

/// What kind of value stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl<'a> Json<'a> {
    /// The empty object.
    pub(crate) const EMPTY_OBJECT: Json<'static> = Json("{}");
    /// The empty string.
    pub(crate) const EMPTY_STRING: Json<'static> = Json("\"\"");

    /// Checks `text`, from its first to its last byte.
    pub(crate) fn parse(text: &'a str) -> Result<Json<'a>, Fault> {
        let mut reader = Reader::new(text.as_bytes());
        reader.skip_space();
        let range = reader.value(0)?;
        reader.end()?;
        Ok(Json::within(text, range))
    }

    /// The value at `range` of `text`, which was read before.
    pub(crate) fn within(text: &'a str, range: Range<usize>) -> Json<'a> {
        Json(text.get(range).unwrap_or("null"))
    }

    /// The value as it was written.
    pub(crate) fn as_str(self) -> &'a str {
        self.0
    }

    /// What it is.
    pub(crate) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// Whether it asks for nothing: null, false, zero, or empty; also an object with nothing but nulls in it.
    pub(crate) fn is_nothing(self) -> bool {
        match self.kind() {
            Kind::Null => true,
            Kind::Bool => self.0 == "false",
            Kind::Number => self.0.parse::<f64>().is_ok_and(|number| number == 0.0),
            Kind::String => self.0 == "\"\"",
            Kind::Array => self.elements().next().is_none(),
            Kind::Object => self.members().all(|(_, value)| value.kind() == Kind::Null),
        }
    }

    /// The string, if it is one.
    pub(crate) fn string(self) -> Option<Quoted<'a>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(Quoted(Cow::Borrowed(inner)))
    }

    /// True or false, if it is one of them.
    pub(crate) fn bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The number, if it is one; too large ones become the largest.
    pub(crate) fn number(self) -> Option<f64> {
        let number: f64 = (self.kind() == Kind::Number).then(|| self.0.parse().ok()).flatten()?;
        Some(number.clamp(f64::MIN, f64::MAX))
    }

    /// The number with its fraction cut off, if it is one.
    pub(crate) fn integer(self) -> Option<i64> {
        if self.kind() != Kind::Number {
            return None;
        }
        // A float above 2^63 becomes the largest number, as casts do.
        self.0.parse().ok().or_else(|| self.number().map(|number| number as i64))
    }

    /// The elements of an array; none of anything else.
    pub(crate) fn elements(self) -> Elements<'a> {
        let mut reader = Reader::new(self.0.as_bytes());
        if self.kind() == Kind::Array {
            reader.enter();
        }
        Elements { text: self.0, reader, first: true, done: self.kind() != Kind::Array }
    }

    /// The members of an object; none of anything else.
    pub(crate) fn members(self) -> Members<'a> {
        let mut reader = Reader::new(self.0.as_bytes());
        if self.kind() == Kind::Object {
            reader.enter();
        }
        Members { text: self.0, reader, first: true, done: self.kind() != Kind::Object }
    }

    /// The member of that name; the last one if there are several. `None` for `null` too.
    pub(crate) fn get(self, name: &str) -> Option<Json<'a>> {
        self.members().filter(|(key, _)| key == name).last().map(|(_, value)| value).filter(|v| v.kind() != Kind::Null)
    }
}

impl fmt::Debug for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<'a> Quoted<'a> {
    /// The string of `text`, escaped where JSON asks for it.
    pub(crate) fn new(text: &str) -> Quoted<'static> {
        let mut escaped = serde_json::to_string(text).expect("a string has a JSON form");
        escaped.pop();
        escaped.remove(0);
        Quoted(Cow::Owned(escaped))
    }

    /// The string as it stands between quotes.
    pub(crate) fn as_quoted(&self) -> &str {
        &self.0
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The string itself.
    pub(crate) fn text(&self) -> Cow<'_, str> {
        // A wrong count is fine here: only zero means something.
        let shrink = usize::from(self.0.contains('\\'));
        Str { raw: self.0.as_bytes(), shrink }.text()
    }

    /// This string and then, after `between`, `other`.
    pub(crate) fn join(&mut self, between: &str, other: &Quoted<'_>) {
        let joined = self.0.to_mut();
        joined.push_str(Quoted::new(between).as_quoted());
        joined.push_str(&other.0);
    }

    /// Without the first `bytes` bytes, which must be plain characters without escapes.
    pub(crate) fn skip(&self, bytes: usize) -> Quoted<'a> {
        Quoted(match &self.0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(bytes..).unwrap_or_default()),
            Cow::Owned(text) => Cow::Owned(text.get(bytes..).unwrap_or_default().to_owned()),
        })
    }

    /// This string with `raw`, which is as between quotes, after it.
    pub(crate) fn with(mut self, raw: &str) -> Quoted<'a> {
        self.0.to_mut().push_str(raw);
        self
    }
}

impl fmt::Debug for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl PartialEq<str> for Quoted<'_> {
    fn eq(&self, text: &str) -> bool {
        self.text() == text
    }
}

/// The elements of an array, one after the other.
pub(crate) struct Elements<'a> {
    text: &'a str,
    reader: Reader<'a>,
    first: bool,
    done: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Json<'a>> {
        if self.done || !self.reader.next_element(&mut self.first).ok()? {
            self.done = true;
            return None;
        }
        // Its grammar was checked when the whole body was read.
        let range = self.reader.skip().ok()?;
        Some(Json::within(self.text, range))
    }
}

/// The members of an object, one after the other.
pub(crate) struct Members<'a> {
    text: &'a str,
    reader: Reader<'a>,
    first: bool,
    done: bool,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Json<'a>);

    fn next(&mut self) -> Option<(Cow<'a, str>, Json<'a>)> {
        let member = if self.done { None } else { self.reader.next_member(&mut self.first).ok()? };
        let Some(member) = member else {
            self.done = true;
            return None;
        };
        let key = member.key.text();
        let range = self.reader.skip().ok()?;
        Some((key, Json::within(self.text, range)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_as_they_stand() {
        let json = Json::parse(r#" {"a": [1, "x\n", null] , "b":{"c":-2.5e0}, "a":true,"e":[ ]} "#).unwrap();
        assert_eq!(json.get("a").and_then(Json::bool), Some(true));
        assert_eq!(json.get("b").and_then(|b| b.get("c")).and_then(Json::number), Some(-2.5));
        assert_eq!(json.get("b").and_then(|b| b.get("c")).and_then(Json::integer), Some(-2));
        let (_, first) = json.members().next().unwrap();
        let elements: Vec<&str> = first.elements().map(Json::as_str).collect();
        assert_eq!(elements, ["1", r#""x\n""#, "null"]);
        assert_eq!(first.elements().nth(1).and_then(Json::string).unwrap().text(), "x\n");
        assert!(json.get("e").unwrap().is_nothing());
        assert!(json.get("missing").is_none());
        assert!(Json::parse("{}x").is_err());
    }

    #[test]
    fn strings_keep_their_escapes_when_joined() {
        let mut text = Json::parse(r#""a\u00e9""#).unwrap().string().unwrap();
        text.join("\n", &Quoted::new("\"b"));
        assert_eq!(text.as_quoted(), r#"a\u00e9\n\"b"#);
        assert_eq!(text.text(), "aé\n\"b");
        assert_eq!(text.skip(1).text(), "é\n\"b");
    }

    #[test]
    fn numbers_that_are_too_large_are_the_largest() {
        for (text, integer) in
            [("1e400", i64::MAX), ("-1e400", i64::MIN), ("9223372036854775808", i64::MAX), ("3.9", 3)]
        {
            assert_eq!(Json::parse(text).unwrap().integer(), Some(integer), "{text}");
        }
        assert_eq!(Json::parse("1e400").unwrap().number(), Some(f64::MAX));
    }
}
