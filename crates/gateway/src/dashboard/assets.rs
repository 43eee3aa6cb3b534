//! The files of the page, which `ui/` builds and this program carries in itself.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

/// What `npm run build` makes in `ui/`. A debug build reads the files anew each time, so that the page can be worked on.
#[derive(RustEmbed)]
#[folder = "../../ui/dist"]
struct Files;

const PAGE: &str = "index.html";

/// Nothing but our own files of the kinds that the page has is run, shown or asked, and nobody puts it into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page itself, whichever of its parts is asked for.
pub(super) fn page(headers: &HeaderMap) -> Response<Body> {
    match Files::get(PAGE) {
        Some(file) => answer(PAGE, file, headers),
        None => missing("the dashboard was not built: `npm ci && npm run build` in ui/"),
    }
}

/// A file of the page; a path that looks like none is one of the page's own addresses.
pub(super) fn asset(path: &str, headers: &HeaderMap) -> Response<Body> {
    if let Some(file) = Files::get(path) {
        return answer(path, file, headers);
    }
    // No address of the page goes upwards: whoever sends that did not mean the page.
    let goes_upwards = path.split(['/', '\\']).any(|part| matches!(part, "." | ".."));
    let last = path.rsplit('/').next().unwrap_or(path);
    match goes_upwards || path.starts_with("api/") || path.starts_with("assets/") || last.contains('.') {
        true => missing("there is nothing at this path"),
        false => page(headers),
    }
}

fn answer(path: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{}\"", hex(&file.metadata.sha256_hash()[..12]));
    let same = headers.get(header::IF_NONE_MATCH).and_then(|sent| sent.to_str().ok()).is_some_and(|sent| {
        sent.split(',').any(|one| matches!(one.trim().trim_start_matches("W/"), one if one == tag || one == "*"))
    });
    let mut response = Response::new(if same { Body::empty() } else { Body::from(file.data) });
    if same {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let head = response.headers_mut();
    head.insert(header::ETAG, HeaderValue::from_str(&tag).expect("digits and quotes"));
    // Names stay the same from version to version, so the tag is asked for each time.
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    head.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // The same as `frame-ancestors`, for browsers that do not know that.
    head.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    head.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    head.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "webmanifest") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn missing(text: &str) -> Response<Body> {
    crate::control::error(StatusCode::NOT_FOUND, text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_page_show_the_page_and_missing_files_are_missing() {
        let none = HeaderMap::new();
        for (path, status, media) in [
            ("", 200, "text/html; charset=utf-8"),
            ("requests", 200, "text/html; charset=utf-8"),
            ("requests/abc", 200, "text/html; charset=utf-8"),
            ("assets/app.js", 200, "text/javascript; charset=utf-8"),
            ("assets/app.css", 200, "text/css; charset=utf-8"),
            ("assets/nothing", 404, "application/json"),
            ("nothing.js", 404, "application/json"),
            ("../Cargo.toml", 404, "application/json"),
            ("../api/tags", 404, "application/json"),
            ("requests/./abc", 404, "application/json"),
            ("requests\\..\\abc", 404, "application/json"),
            ("api/nothing", 404, "application/json"),
        ] {
            let response = asset(path, &none);
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], media, "{path}");
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let first = page(&HeaderMap::new());
        assert!(first.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("default-src 'none'"));
        let tag = first.headers()[header::ETAG].clone();
        let mut headers = HeaderMap::new();
        for (sent, status) in [
            (tag.to_str().unwrap().to_owned(), 304),
            (format!("\"x\", W/{}", tag.to_str().unwrap()), 304),
            ("\"x\"".to_owned(), 200),
        ] {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(&sent).unwrap());
            assert_eq!(page(&headers).status().as_u16(), status, "{sent}");
        }
    }

    #[test]
    fn nothing_in_the_page_is_inline() {
        let page = Files::get(PAGE).unwrap();
        let text = std::str::from_utf8(&page.data).unwrap();
        for forbidden in ["<style", " style=", " onclick", "http://", "https://", "javascript:"] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        for script in text.split("<script").skip(1) {
            assert!(script.contains("src=\"/dashboard/"), "{script}");
        }
    }
}
