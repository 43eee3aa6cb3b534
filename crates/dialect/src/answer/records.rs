//! Cuts the backend's bytes into records.

use memchr::memchr;

use crate::{Cause, Failure};

/// Memory for cut records that is kept for the next one.
const KEPT_CAPACITY: usize = 64 * 1024;

/// One record, without what frames it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) bytes: &'a [u8],
    /// The stream says that this is an error.
    pub(super) is_error: bool,
}

/// Cuts one answer.
#[derive(Debug)]
pub(super) struct Records {
    form: Form,
    /// The beginning of a record whose end has not come.
    partial: Vec<u8>,
    most: usize,
    /// The last `event:` line said `error`.
    is_error: bool,
    any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A record per line.
    Lines,
    /// Server-sent events; `most_whole` bytes if it turns out to be one JSON object.
    Events { most_whole: usize, begun: bool },
    /// All is one record.
    Whole,
}

impl Records {
    pub(super) fn lines(most: usize) -> Records {
        Records::new(Form::Lines, most)
    }

    pub(super) fn events(most: usize, most_whole: usize) -> Records {
        Records::new(Form::Events { most_whole, begun: false }, most)
    }

    pub(super) fn whole(most: usize) -> Records {
        Records::new(Form::Whole, most)
    }

    fn new(form: Form, most: usize) -> Records {
        Records { form, partial: Vec::new(), most, is_error: false, any: false }
    }

    /// Whether all is one record.
    pub(super) fn is_whole(&self) -> bool {
        self.form == Form::Whole
    }

    /// Whether there was a record.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// Tells `each` the records that end in `bytes`.
    #[inline]
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Record<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if let Form::Events { most_whole, begun: false } = self.form {
            bytes = bytes.trim_ascii_start();
            if let Some(&first) = bytes.first() {
                // No event begins like this; some servers answer a wish for a stream with one object.
                if first == b'{' {
                    (self.form, self.most) = (Form::Whole, most_whole);
                } else {
                    self.form = Form::Events { most_whole, begun: true };
                }
            }
        }
        if self.form == Form::Whole {
            return self.keep(bytes);
        }
        if !self.partial.is_empty() {
            let end = memchr(b'\n', bytes);
            self.keep(&bytes[..end.unwrap_or(bytes.len())])?;
            let Some(end) = end else { return Ok(()) };
            bytes = &bytes[end + 1..];
            let mut line = std::mem::take(&mut self.partial);
            let told = self.line(&line, &mut each);
            line.clear();
            line.shrink_to(KEPT_CAPACITY);
            self.partial = line;
            told?;
        }
        while let Some(end) = memchr(b'\n', bytes) {
            self.line(&bytes[..end], &mut each)?;
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes)
    }

    /// The record that was not ended, to be read when the answer has ended; empty if there is none.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let rest = std::mem::take(&mut self.partial);
        let rest = rest.trim_ascii();
        match self.form {
            Form::Lines | Form::Whole => rest.to_vec(),
            Form::Events { .. } => rest.strip_prefix(b"data:").unwrap_or_default().trim_ascii().to_vec(),
        }
    }

    #[inline]
    fn line(&mut self, line: &[u8], each: &mut impl FnMut(Record<'_>) -> Result<(), Failure>) -> Result<(), Failure> {
        if line.len() > self.most {
            return Err(too_long());
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            self.is_error = false;
            return Ok(());
        }
        if self.form == Form::Lines {
            self.any = true;
            return each(Record { bytes: line, is_error: false });
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.trim_ascii();
            if data.is_empty() {
                return Ok(());
            }
            self.any = true;
            return each(Record { bytes: data, is_error: self.is_error });
        }
        // Older versions of llama-server tell errors in a field of their own.
        if let Some(error) = line.strip_prefix(b"error:") {
            return each(Record { bytes: error.trim_ascii(), is_error: true });
        }
        if let Some(name) = line.strip_prefix(b"event:") {
            self.is_error = name.trim_ascii() == b"error";
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.len() > self.most.saturating_sub(self.partial.len()) {
            return Err(too_long());
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

fn too_long() -> Failure {
    Failure::new(Cause::BadGateway, "the backend's answer is too long to be translated")
}
