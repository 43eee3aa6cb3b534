//! Reads what a Responses request says of stored answers.

use std::ops::Range;

use super::field::Field;
use super::{BadBody, Text, go_kind, model};
use crate::reader::Reader;

/// What a Responses request says of stored answers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Storing {
    /// Top-level `store`.
    pub store: Option<bool>,
    /// Top-level `previous_response_id`.
    pub previous: Option<Text>,
    /// The bytes of the value of top-level `input`.
    pub input: Option<Range<usize>>,
    /// The first field that asks for something else to be stored: `conversation`, or `background` when true.
    pub refused: Option<&'static str>,
}

/// Reads a field that says what is to be stored; returns whether it stays in the body.
pub(super) fn read(field: Field, reader: &mut Reader<'_>, storing: &mut Storing) -> Result<bool, BadBody> {
    if field == Field::Previous {
        storing.previous = model(reader, "previous_response_id")?;
        return Ok(false);
    }
    let (first, found) = (reader.peek(), go_kind(reader));
    reader.value(1)?;
    let said = match first {
        Some(b't') => Some(true),
        Some(b'f') => Some(false),
        Some(b'n') => None,
        _ if field == Field::Store => return Err(BadBody::WrongType { field: "store", found, expected: "bool" }),
        // Something is asked for, whatever it is.
        _ => Some(true),
    };
    match field {
        Field::Store => storing.store = said,
        Field::Conversation if said.is_some() => storing.refused = Some("conversation"),
        Field::Background if said == Some(true) => storing.refused = Some("background"),
        _ => {}
    }
    Ok(field != Field::Store)
}
