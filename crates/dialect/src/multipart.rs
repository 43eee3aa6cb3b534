//! Finds the model in a `multipart/form-data` body (RFC 7578).

use memchr::memmem;

use crate::Text;

/// The boundary that a `multipart/…` content type names, at most 70 bytes as RFC 2046 allows.
pub fn boundary(content_type: &str) -> Option<&str> {
    let (kind, mut parameters) = content_type.split_once(';')?;
    if !kind.trim().get(..10)?.eq_ignore_ascii_case("multipart/") {
        return None;
    }
    loop {
        let (name, rest) = parameters.split_once('=')?;
        let rest = rest.trim_start();
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(';').unwrap_or(rest.len())),
        };
        if name.trim_matches([' ', '\t', ';']).eq_ignore_ascii_case("boundary") {
            let value = value.trim_end();
            return (1..=70).contains(&value.len()).then_some(value);
        }
        parameters = after;
    }
}

/// The form field `model`, whose range is its value's bytes. `None` without one, or with two: a backend could read the other.
pub fn multipart_model(body: &[u8], boundary: &str) -> Option<Text> {
    let delimiter = format!("--{boundary}");
    let finder = memmem::Finder::new(&delimiter);
    let mut found = None;
    let mut parts = finder.find_iter(body).filter(|&at| at == 0 || body[..at].ends_with(b"\n")).peekable();
    while let Some(at) = parts.next() {
        let start = at + delimiter.len();
        let end = parts.peek().copied().unwrap_or(body.len());
        let Some(head_length) = memmem::find(&body[start..end], b"\r\n\r\n") else { continue };
        if !is_model(&body[start..start + head_length]) {
            continue;
        }
        let value_start = start + head_length + 4;
        let value = body[value_start..end].strip_suffix(b"\r\n")?;
        let text = std::str::from_utf8(value).ok()?.to_owned();
        if found.replace(Text { text, range: value_start..value_start + value.len() }).is_some() {
            return None;
        }
    }
    found
}

/// Whether a part's headers say that it is the field `model`, and no file.
fn is_model(head: &[u8]) -> bool {
    let Ok(head) = std::str::from_utf8(head) else { return false };
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let Some(disposition) = disposition else { return false };
    let mut parameters = disposition.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let is_named = |(name, value): (&str, &str)| {
        name.trim().eq_ignore_ascii_case("name") && value.trim().trim_matches('"') == "model"
    };
    parameters.clone().any(is_named) && !parameters.any(|(name, _)| name.trim().eq_ignore_ascii_case("filename"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundary_is_found_quoted_or_not() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a b;c\"", Some("a b;c")),
            ("multipart/form-data; boundary=abc ; charset=x", Some("abc")),
            ("multipart/form-data; x=\"boundary=no\"; boundary=yes", Some("yes")),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data", None),
            ("multi", None),
            ("application/json; boundary=abc", None),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn the_model_is_found_among_files() {
        let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\nContent-Type: audio/wav\r\n\r\n\
                    --bx not a line\r\n";
        let model = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n";
        for (body, expected) in [
            (format!("{file}{model}--b--\r\n"), Some("whisper")),
            (format!("{model}{file}--b--"), Some("whisper")),
            (format!("{file}--b--\r\n"), None),
            (format!("{model}{model}--b--\r\n"), None),
            ("--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhis".to_owned(), None),
            (String::new(), None),
        ] {
            let found = multipart_model(body.as_bytes(), "b");
            assert_eq!(found.as_ref().map(|model| model.text.as_str()), expected, "{body}");
            if let Some(Text { text, range }) = found {
                assert_eq!(body[range], text);
            }
        }
    }
}
