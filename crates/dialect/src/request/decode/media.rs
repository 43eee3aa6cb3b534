//! Images and sounds: which kind they are, and where their bytes stand.

use std::borrow::Cow;

use super::super::context::Context;
use super::super::json::Quoted;
use super::super::object::{Object, bad_request};
use crate::Failure;
use crate::canon::Media;

/// Bytes before the content of a data address that are looked at.
const LONGEST_HEAD: usize = 256;

/// What `base64` holds, told by its first bytes; images of unknown kind are taken for PNG.
pub(crate) fn media_type(base64: &Quoted<'_>) -> &'static str {
    let mut bytes = [0u8; 12];
    let (mut bits, mut held, mut filled) = (0u32, 0, 0);
    // A slash may be written with a backslash before it.
    for byte in base64.as_quoted().bytes().filter(|&byte| byte != b'\\').take(16) {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes[filled] = (bits >> held) as u8;
            filled += 1;
        }
    }
    match &bytes {
        [0xff, 0xd8, ..] => "image/jpeg",
        [b'G', b'I', b'F', ..] => "image/gif",
        [b'B', b'M', ..] => "image/bmp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => "image/webp",
        [b'R', b'I', b'F', b'F', ..] => "audio/wav",
        [b'I', b'D', b'3', ..] | [0xff, 0xe2..=0xff, ..] => "audio/mp3",
        [b'f', b'L', b'a', b'C', ..] => "audio/flac",
        [b'O', b'g', b'g', b'S', ..] => "audio/ogg",
        _ => "image/png",
    }
}

/// The image or sound in a data address. Nothing is ever fetched, so that any other address is refused.
pub(super) fn data_address<'a>(address: &Quoted<'a>, field: &str) -> Result<Media<'a>, Failure> {
    let refused =
        || bad_request(format!("`{field}` must be a data URI with base64: images are not fetched by address"));
    let raw = address.as_quoted();
    let head = raw.as_bytes().get(..LONGEST_HEAD.min(raw.len())).unwrap_or_default();
    let comma = memchr::memchr(b',', head).ok_or_else(refused)?;
    let head = Quoted::new("").with(&raw[..comma]);
    let head = head.text().to_ascii_lowercase();
    let kind = head.strip_prefix("data:").and_then(|rest| rest.strip_suffix(";base64")).ok_or_else(refused)?;
    let base64 = address.skip(comma + 1);
    let kind = kind.split(';').next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/+.-".contains(&byte);
    if !kind.bytes().all(is_plain) {
        return Err(refused());
    }
    let media_type = if kind.is_empty() { media_type(&base64).into() } else { Cow::Owned(kind.to_owned()) };
    Ok(Media { media_type, base64 })
}

/// An image of Ollama's, whose kind nobody says.
pub(super) fn bare<'a>(base64: Quoted<'a>) -> Media<'a> {
    Media { media_type: media_type(&base64).into(), base64 }
}

/// OpenAI's `image_url`: an address, or an object with one.
pub(super) fn image_url<'a>(context: &mut Context<'_>, part: &mut Object<'a>) -> Result<Media<'a>, Failure> {
    let name = part.name("image_url");
    let Some(image) = part.take("image_url") else { return Err(part.must_be("image_url", "given")) };
    if let Some(address) = image.string() {
        return data_address(&address, &name);
    }
    let mut image = Object::of(image, name)?;
    let name = image.name("url");
    let address = image.string("url")?.ok_or_else(|| image.must_be("url", "given"))?;
    context.rest(image)?;
    data_address(&address, &name)
}

/// OpenAI's `input_audio`.
pub(super) fn input_audio<'a>(context: &mut Context<'_>, part: &mut Object<'a>) -> Result<Media<'a>, Failure> {
    let mut audio = part.object("input_audio")?.ok_or_else(|| part.must_be("input_audio", "given"))?;
    let base64 = audio.string("data")?.ok_or_else(|| audio.must_be("data", "given"))?;
    let media_type = match audio.string("format")?.as_ref().map(Quoted::text).as_deref() {
        None => media_type(&base64).into(),
        Some("wav") => Cow::Borrowed("audio/wav"),
        Some("mp3") => Cow::Borrowed("audio/mp3"),
        Some(_) => return Err(audio.must_be("format", "wav or mp3")),
    };
    context.rest(audio)?;
    Ok(Media { media_type, base64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::json::Json;

    #[test]
    fn the_first_bytes_tell_the_kind() {
        for (base64, kind) in [
            ("iVBORw0KGgoAAAANSUhEUg", "image/png"),
            ("/9j/4AAQSkZJRg", "image/jpeg"),
            ("\\/9j\\/4AAQSkZJRg", "image/jpeg"),
            ("R0lGODlhAQABAIAAAA", "image/gif"),
            ("UklGRiQAAABXRUJQVlA4", "image/webp"),
            ("UklGRiQAAABXQVZFZm10", "audio/wav"),
            ("SUQzBAAAAAAA", "audio/mp3"),
            ("", "image/png"),
        ] {
            let text = format!("\"{base64}\"");
            assert_eq!(media_type(&Json::parse(&text).unwrap().string().unwrap()), kind, "{base64}");
        }
    }

    #[test]
    fn only_data_addresses_are_taken() {
        for (address, kind) in [
            ("data:image/png;base64,AAAA", Some("image/png")),
            ("data:image\\/jpeg;charset=x;base64,\\/9j", Some("image/jpeg")),
            ("data:;base64,/9j/", Some("image/jpeg")),
            ("DATA:Image/PNG;BASE64,AAAA", Some("image/png")),
            ("data:image/png,AAAA", None),
            ("data:a b;base64,AAAA", None),
            ("https://example.org/x.png", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            let text = format!("\"{address}\"");
            let address = Json::parse(&text).unwrap().string().unwrap();
            let media = data_address(&address, "x").ok();
            assert_eq!(media.map(|media| media.media_type.into_owned()).as_deref(), kind, "{address:?}");
        }
    }
}
