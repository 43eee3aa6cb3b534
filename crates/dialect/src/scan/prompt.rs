//! Measures what a model will read: text, images, messages.

use super::fingerprint;
use crate::reader::{Fault, Reader, Str, Visit};

/// The size of a value that goes into the prompt.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    /// Bytes of its strings, without escapes and without images.
    pub(super) text_bytes: u64,
    /// Images in it.
    pub(super) images: u32,
    /// Elements, when it is an array (or members, of an object that should be one).
    pub(super) elements: u32,
    /// Whether it is a string, an array or an object with anything in it.
    pub(super) filled: bool,
    /// A fingerprint of its strings up to the end of the first element whose role is `user`.
    pub(super) opening: Option<u64>,
}

/// Reads one value that goes into the prompt; `images` when it is a list of bare images.
pub(super) fn measured(reader: &mut Reader<'_>, images: bool) -> Result<Prompt, Fault> {
    let mut meter = Meter { key: if images { Key::Images } else { Key::Other }, ..Meter::default() };
    reader.visit(1, &mut meter)?;
    Ok(meter.prompt)
}

/// The members of a message part that tell images from text.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Other,
    /// Ollama: a list of images in base64.
    Images,
    /// OpenAI: an image part's address, as a string or an object.
    ImageUrl,
    /// OpenAI: sound in base64.
    InputAudio,
    /// OpenAI: a file in base64.
    FileData,
    /// Anthropic: the source of an image or a document.
    Source,
    /// The content of a source.
    Data,
    /// What kind of part, or of source, this is.
    Type,
    /// Who speaks.
    Role,
}

#[derive(Default)]
struct Meter {
    prompt: Prompt,
    /// The name of the value that comes next.
    key: Key,
    /// Depth of the array or object in which nothing counts as text; zero is the root and stands for none.
    hidden: Option<usize>,
    /// Depth of the Ollama list whose elements are images.
    images: Option<usize>,
    /// Depth of the Anthropic source being read, bytes of its data, and whether these are text.
    source: Option<usize>,
    source_bytes: u64,
    source_is_text: bool,
    /// Whether the element being read is the user's, and whether one such has ended.
    is_users: bool,
    is_opened: bool,
}

impl Meter {
    fn element(&mut self, depth: usize) {
        if depth == 1 {
            self.prompt.filled = true;
            self.prompt.elements = self.prompt.elements.saturating_add(1);
        }
        if self.images.is_some_and(|images| images + 1 == depth) {
            self.prompt.images = self.prompt.images.saturating_add(1);
        }
    }
}

impl Visit for Meter {
    fn key(&mut self, _depth: usize, key: Str<'_>) {
        self.key = match key.raw {
            b"images" => Key::Images,
            b"image_url" => Key::ImageUrl,
            b"input_audio" => Key::InputAudio,
            b"file_data" => Key::FileData,
            b"source" => Key::Source,
            b"data" => Key::Data,
            b"type" => Key::Type,
            b"role" => Key::Role,
            _ => Key::Other,
        };
    }

    fn string(&mut self, depth: usize, string: Str<'_>) {
        self.element(depth);
        self.prompt.filled |= !string.raw.is_empty();
        let key = std::mem::take(&mut self.key);
        if !self.is_opened {
            self.is_users |= key == Key::Role && depth == 2 && string.raw == b"user";
            self.prompt.opening = Some(fingerprint(self.prompt.opening.unwrap_or(0), string.raw));
        }
        if self.hidden.is_some() {
            return;
        }
        let in_source = self.source.is_some_and(|source| source + 1 == depth);
        match key {
            Key::ImageUrl | Key::FileData | Key::Images if string.raw.starts_with(b"data:") => return,
            Key::Data if in_source => {
                self.source_bytes += string.len();
                return;
            }
            Key::Type if in_source => self.source_is_text = string.raw == b"text",
            Key::Type if matches!(string.raw, b"image_url" | b"input_image" | b"image") => {
                self.prompt.images = self.prompt.images.saturating_add(1);
            }
            _ => {}
        }
        self.prompt.text_bytes += string.len();
    }

    fn scalar(&mut self, depth: usize) {
        self.element(depth);
        self.key = Key::Other;
    }

    fn open(&mut self, depth: usize) {
        self.element(depth);
        let key = std::mem::take(&mut self.key);
        if self.hidden.is_some() {
            return;
        }
        match key {
            Key::Images => (self.hidden, self.images) = (Some(depth), Some(depth)),
            Key::ImageUrl | Key::InputAudio => self.hidden = Some(depth),
            Key::Source => (self.source, self.source_bytes, self.source_is_text) = (Some(depth), 0, false),
            _ => {}
        }
    }

    fn close(&mut self, depth: usize) {
        self.key = Key::Other;
        if depth == 1 {
            self.is_opened |= std::mem::take(&mut self.is_users);
        }
        if self.hidden == Some(depth) {
            (self.hidden, self.images) = (None, None);
        }
        if self.source == Some(depth) {
            self.source = None;
            if self.source_is_text {
                self.prompt.text_bytes += self.source_bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_images_are_told_apart() {
        for (value, text_bytes, images, elements, filled) in [
            (r#""""#, 0, 0, 0, false),
            ("null", 0, 0, 0, false),
            ("[ ]", 0, 0, 0, false),
            ("{}", 0, 0, 0, false),
            ("7", 0, 0, 0, false),
            (r#""h\u00e9\n""#, 4, 0, 0, true),
            (r#"[""]"#, 0, 0, 1, true),
            (r#"{"content":""}"#, 0, 0, 1, true),
            ("[1,2,3]", 0, 0, 3, true),
            (r#"[{"role":"user","content":"hi"}]"#, 6, 0, 1, true),
            (r#"[{"content":"hi","images":["QUJD","data:x"]},{"content":"ho"}]"#, 4, 2, 2, true),
            (r#"[{"content":[{"type":"text","text":"data:x"}]}]"#, 10, 0, 1, true),
            (r#"[{"content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}]"#, 9, 1, 1, true),
            (r#"[{"content":[{"type":"input_image","image_url":"data:image/png;base64,AA"}]}]"#, 11, 1, 1, true),
            (
                r#"[{"content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]"#,
                5 + 6 + 9,
                1,
                1,
                true,
            ),
            (r#"[{"content":[{"type":"document","source":{"data":"AAAA","type":"text"}}]}]"#, 8 + 4 + 4, 0, 1, true),
            (r#"[{"content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]"#, 11, 0, 1, true),
        ] {
            let prompt = measured(&mut Reader::new(value.as_bytes()), false).unwrap();
            let seen = (prompt.text_bytes, prompt.images, prompt.elements, prompt.filled);
            assert_eq!(seen, (text_bytes, images, elements, filled), "{value}");
        }
    }

    #[test]
    fn a_list_of_bare_images_holds_no_text() {
        let prompt = measured(&mut Reader::new(br#"["QUJD","QUJD"]"#), true).unwrap();
        assert_eq!((prompt.text_bytes, prompt.images), (0, 2));
    }
}
