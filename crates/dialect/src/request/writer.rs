//! Writes JSON into one buffer.

use bytes::Bytes;

use super::json::{Json, Quoted};

/// JSON that is being written. Commas come by themselves.
pub(crate) struct Writer {
    out: String,
}

impl Writer {
    /// Nothing yet, with room for about `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Writer {
        Writer { out: String::with_capacity(capacity) }
    }

    /// What was written.
    pub(crate) fn finish(self) -> Bytes {
        self.out.into_bytes().into()
    }

    /// What was written, as text.
    pub(crate) fn into_string(self) -> String {
        self.out
    }

    /// The name of the next member: plain characters only.
    pub(crate) fn key(&mut self, name: &str) -> &mut Writer {
        self.comma();
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
        self
    }

    /// The name of the next member, whatever is in it.
    pub(crate) fn named(&mut self, name: &str) -> &mut Writer {
        self.text(name);
        self.out.push(':');
        self
    }

    /// Begins an object or array.
    pub(crate) fn open(&mut self, bracket: char) {
        self.comma();
        self.out.push(bracket);
    }

    /// Ends an object or array.
    pub(crate) fn close(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    /// A string.
    pub(crate) fn string(&mut self, string: &Quoted<'_>) {
        self.pieces([string.as_quoted()]);
    }

    /// A string, escaped as needed.
    pub(crate) fn text(&mut self, text: &str) {
        self.string(&Quoted::new(text));
    }

    /// One string of several pieces, each as between quotes.
    pub(crate) fn pieces<'p>(&mut self, pieces: impl IntoIterator<Item = &'p str>) {
        self.comma();
        self.out.push('"');
        for piece in pieces {
            self.out.push_str(piece);
        }
        self.out.push('"');
    }

    /// A value as it was written elsewhere.
    pub(crate) fn json(&mut self, json: Json<'_>) {
        self.raw(json.as_str());
    }

    /// Text that is JSON.
    pub(crate) fn raw(&mut self, json: &str) {
        self.comma();
        self.out.push_str(json);
    }

    /// A number or a truth value.
    pub(crate) fn plain(&mut self, value: impl std::fmt::Display) {
        use std::fmt::Write as _;
        self.comma();
        write!(self.out, "{value}").expect("a string takes everything");
    }

    /// A member whose value is `value`, if there is one.
    pub(crate) fn plain_field(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.key(name).plain(value);
        }
    }

    fn comma(&mut self) {
        // Inside a string nothing ends here, so the last character tells where we are.
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_come_where_they_belong() {
        let mut writer = Writer::with_capacity(0);
        writer.open('{');
        writer.key("a").plain(1);
        writer.key("b").open('[');
        writer.text("[");
        writer.pieces(["x", "{"]);
        writer.open('{');
        writer.close('}');
        writer.close(']');
        writer.plain_field("c", None::<u8>);
        writer.plain_field("d", Some(true));
        writer.close('}');
        assert_eq!(writer.into_string(), r#"{"a":1,"b":["[","x{",{}],"d":true}"#);
    }
}
