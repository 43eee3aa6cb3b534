//! Reads the values of single fields.

use std::ops::Range;

use super::own::Cuts;
use super::{OptionsAt, Scan, fingerprint};
use crate::reader::{Fault, Reader};

/// The most tags that are kept; more are cut out of the body and forgotten.
const MOST_TAGS: usize = 32;
/// The longest tag that is kept, in bytes.
const LONGEST_TAG: u64 = 128;

/// Names of options that describe a machine and make Ollama load the model again when they differ from what it was loaded
/// with, or may (measured November 2026 on Ollama 0.33.0-rc2).
const MACHINE: [&str; 8] = [
    "options.num_gpu",
    "options.num_thread",
    "options.num_batch",
    "options.main_gpu",
    "options.use_mmap",
    "options.numa",
    "options.low_vram",
    "options.draft_num_predict",
];

/// The full name of the option `name`, if it describes a machine.
pub(crate) fn machine_option(name: &str) -> Option<&'static str> {
    MACHINE.into_iter().find(|known| known["options.".len()..] == *name)
}

/// Reads `options`.
pub(super) fn options(reader: &mut Reader<'_>, scan: &mut Scan) -> Result<(), Fault> {
    let start = reader.at();
    if reader.peek() != Some(b'{') {
        let is_null = reader.peek() == Some(b'n');
        reader.value(1)?;
        scan.options = OptionsAt { null: is_null.then(|| start..reader.at()), ..OptionsAt::default() };
        scan.options.is_given = true;
        return Ok(());
    }
    reader.enter();
    let mut found = OptionsAt { object: Some(start), is_given: true, ..OptionsAt::default() };
    let (mut cuts, mut first) = (Cuts::default(), true);
    while let Some(member) = reader.next_member(&mut first)? {
        let name = member.key.text();
        let is_null = reader.peek() == Some(b'n');
        let from = reader.at();
        match &*name {
            "num_ctx" => {
                scan.num_ctx = number(reader)?;
                found.num_ctx = Some(from..reader.at());
                cuts.cut(member.start, reader.at());
                continue;
            }
            "num_predict" => {
                let limit = number(reader)?;
                scan.max_tokens = scan.max_tokens.max(limit);
            }
            name => {
                reader.value(2)?;
                let known = machine_option(name);
                // Each once: JSON may repeat a name, but eight of them say all there is to say.
                if let Some(known) = known.filter(|_| !is_null && found.machine.len() < MACHINE.len()) {
                    found.machine.push((known, from..reader.at()));
                }
            }
        }
        cuts.keep(member.start, reader.at(), &mut found.num_ctx_cut);
    }
    cuts.finish(&mut found.num_ctx_cut);
    found.is_empty = first;
    scan.options = found;
    Ok(())
}

/// Reads `metadata`; returns whether anything stays in it.
pub(super) fn metadata(reader: &mut Reader<'_>, scan: &mut Scan, inner: &mut Vec<Range<usize>>) -> Result<bool, Fault> {
    if reader.peek() != Some(b'{') {
        reader.value(1)?;
        return Ok(true);
    }
    reader.enter();
    let (mut cuts, mut first) = (Cuts::default(), true);
    while let Some(member) = reader.next_member(&mut first)? {
        if member.key.text() == "tags" && reader.peek() == Some(b'[') {
            strings(reader, 3, MOST_TAGS, LONGEST_TAG, &mut scan.tags)?;
            cuts.cut(member.start, reader.at());
            continue;
        }
        if member.key.text() == "user_id" && reader.peek() == Some(b'"') {
            let user = reader.string()?;
            scan.session = scan.session.or(Some(fingerprint(0, user.raw)));
        } else {
            reader.value(2)?;
        }
        cuts.keep(member.start, reader.at(), inner);
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

/// What form a value asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// None.
    Free,
    /// Any JSON: the word `json`, or an object of the type `json_object`.
    AnyJson,
    /// One of its own.
    Given,
}

/// Reads a value that may ask for an answer of a given form.
pub(super) fn form(reader: &mut Reader<'_>, depth: usize) -> Result<Form, Fault> {
    match reader.peek() {
        Some(b'{') => {}
        Some(b'"') => {
            return Ok(match reader.string()?.raw {
                b"" => Form::Free,
                b"json" => Form::AnyJson,
                _ => Form::Given,
            });
        }
        other => {
            reader.value(depth)?;
            return Ok(if other == Some(b'n') { Form::Free } else { Form::Given });
        }
    }
    reader.enter();
    let (mut first, mut form) = (true, Form::Given);
    while let Some(member) = reader.next_member(&mut first)? {
        if member.key.raw == b"type" && reader.peek() == Some(b'"') {
            form = match reader.string()?.raw {
                b"text" => Form::Free,
                b"json_object" => Form::AnyJson,
                _ => Form::Given,
            };
        } else {
            reader.value(depth + 1)?;
        }
    }
    let nothing_was_in_it = first;
    Ok(if nothing_was_in_it { Form::Free } else { form })
}
