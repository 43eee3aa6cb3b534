//! What is known and gathered while one request is translated.

use std::borrow::Cow;
use std::collections::BTreeSet;

use proto::Api;

use super::Target;
use super::expect::RenamedTool;
use super::json::Json;
use super::object::{Object, bad_request};
use super::quirks::{Quirks, quirks};
use crate::fields::{Class, class};
use crate::{Failure, Note};

/// Messages, parts of messages, tools and stop texts of one request; one with more is refused.
const MOST_ITEMS: usize = 65_536;
/// The most notes that are kept; more are forgotten.
const MOST_NOTES: usize = 64;
/// The longest name of a field in a note, in bytes; the rest is cut off.
const LONGEST_NAME: usize = 64;

/// What is known and gathered while one request is translated.
pub(crate) struct Context<'t> {
    pub(crate) client: Api,
    pub(crate) target: Target<'t>,
    pub(crate) quirks: &'static Quirks,
    /// Tools of namespaces that the client speaks of.
    pub(crate) renamed: Vec<RenamedTool>,
    notes: BTreeSet<Note>,
    items: usize,
}

impl<'t> Context<'t> {
    pub(crate) fn new(client: Api, target: Target<'t>) -> Context<'t> {
        let quirks = quirks(target.kind);
        Context { client, target, quirks, renamed: Vec::new(), notes: BTreeSet::new(), items: 0 }
    }

    /// Notes that a field was left out although it may be there for a reason.
    pub(crate) fn ignored(&mut self, field: impl Into<Cow<'static, str>>) {
        self.note(Note::Ignored(shown(field.into())));
    }

    /// Notes that a field's effect is had in another way.
    pub(crate) fn emulated(&mut self, field: &'static str) {
        self.note(Note::Emulated(Cow::Borrowed(field)));
    }

    /// Counts one more message, part or tool.
    pub(crate) fn item(&mut self) -> Result<(), Failure> {
        self.items += 1;
        if self.items > MOST_ITEMS {
            return Err(bad_request(format!("the request has more than {MOST_ITEMS} messages, parts and tools")));
        }
        Ok(())
    }

    /// The refusal of a field that such a backend cannot honour.
    pub(crate) fn refusal(&self, field: &str) -> Failure {
        bad_request(format!("`{field}` is not supported with {}", self.quirks.called))
    }

    /// Judges what was left over: a field that asks for nothing may be there, one that changes the answer may not, all
    /// others are named.
    pub(crate) fn rest(&mut self, object: Object<'_>) -> Result<(), Failure> {
        object.rest().try_for_each(|(name, value)| self.leftover(name, value))
    }

    /// Judges one field that nobody took.
    pub(crate) fn leftover(&mut self, name: String, value: Json<'_>) -> Result<(), Failure> {
        if value.is_nothing() {
            return Ok(());
        }
        if class(self.client, self.target.kind, &name) == Some(Class::Refused) {
            return Err(self.refusal(&name));
        }
        self.ignored(name);
        Ok(())
    }

    /// All notes, in order.
    pub(crate) fn notes(self) -> Vec<Note> {
        self.notes.into_iter().collect()
    }

    fn note(&mut self, note: Note) {
        if self.notes.len() < MOST_NOTES {
            self.notes.insert(note);
        }
    }
}

/// A field's name as it may stand in a header.
fn shown(name: Cow<'static, str>) -> Cow<'static, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-[]".contains(&byte);
    if name.len() <= LONGEST_NAME && name.bytes().all(is_plain) {
        return name;
    }
    let plain = |c: char| if u8::try_from(c).is_ok_and(is_plain) { c } else { '_' };
    name.chars().take(LONGEST_NAME).map(plain).collect()
}
