//! Reads the values of single fields.

use std::ops::Range;

use super::Scan;
use super::own::Cuts;
use crate::reader::{Fault, Reader};

/// The most tags that are kept; more are cut out of the body and forgotten.
const MOST_TAGS: usize = 32;
/// The longest tag that is kept, in bytes.
const LONGEST_TAG: u64 = 128;

/// Reads `options`.
pub(super) fn options(reader: &mut Reader<'_>, scan: &mut Scan) -> Result<(), Fault> {
    if reader.peek() != Some(b'{') {
        reader.value(1)?;
        return Ok(());
    }
    let start = reader.at();
    reader.enter();
    let mut first = true;
    while let Some(member) = reader.next_member(&mut first)? {
        match &*member.key.text() {
            "num_ctx" => scan.num_ctx = number(reader)?,
            "num_predict" => {
                let limit = number(reader)?;
                scan.max_tokens = scan.max_tokens.max(limit);
            }
            _ => {
                reader.value(2)?;
            }
        }
    }
    scan.options = Some(start..reader.at());
    Ok(())
}

/// Reads `metadata`; returns whether anything stays in it.
pub(super) fn metadata(
    reader: &mut Reader<'_>,
    tags: &mut Vec<String>,
    inner: &mut Vec<Range<usize>>,
) -> Result<bool, Fault> {
    if reader.peek() != Some(b'{') {
        reader.value(1)?;
        return Ok(true);
    }
    reader.enter();
    let (mut cuts, mut first) = (Cuts::default(), true);
    while let Some(member) = reader.next_member(&mut first)? {
        if member.key.text() == "tags" && reader.peek() == Some(b'[') {
            strings(reader, 3, MOST_TAGS, LONGEST_TAG, tags)?;
            cuts.cut(member.start, reader.at());
        } else {
            reader.value(2)?;
            cuts.keep(member.start, reader.at(), inner);
        }
    }
    let nothing_was_in_it = first;
    Ok(cuts.finish(inner) || nothing_was_in_it)
}

/// Reads an array and puts its first `most` strings of at most `longest` bytes into `kept`, in place of what was there.
/// `depth` is that of its elements.
pub(super) fn strings(
    reader: &mut Reader<'_>,
    depth: usize,
    most: usize,
    longest: u64,
    kept: &mut Vec<String>,
) -> Result<(), Fault> {
    if reader.peek() != Some(b'[') {
        reader.value(depth - 1)?;
        return Ok(());
    }
    kept.clear();
    reader.enter();
    let mut first = true;
    while reader.next_element(&mut first)? {
        if reader.peek() != Some(b'"') {
            reader.value(depth)?;
            continue;
        }
        let string = reader.string()?;
        if kept.len() < most && string.len() <= longest {
            kept.push(string.text().into_owned());
        }
    }
    Ok(())
}

/// A number of tokens: fractions cut off, negative ones and other types absent.
pub(super) fn number(reader: &mut Reader<'_>) -> Result<Option<u64>, Fault> {
    reader.take_number(2)
}

/// Whether a value asks for an answer of a given form.
pub(super) fn is_form(reader: &mut Reader<'_>, depth: usize) -> Result<bool, Fault> {
    if reader.peek() != Some(b'{') {
        let first = reader.peek();
        let range = reader.value(depth)?;
        return Ok(first != Some(b'n') && !(first == Some(b'"') && range.len() == 2));
    }
    reader.enter();
    let (mut first, mut is_text) = (true, false);
    while let Some(member) = reader.next_member(&mut first)? {
        if member.key.raw == b"type" && reader.peek() == Some(b'"') {
            is_text = reader.string()?.raw == b"text";
        } else {
            reader.value(depth + 1)?;
        }
    }
    let nothing_was_in_it = first;
    Ok(!is_text && !nothing_was_in_it)
}
