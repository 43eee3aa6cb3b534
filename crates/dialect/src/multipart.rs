//! Finds the model in a `multipart/form-data` body.

use crate::Text;

/// The boundary that a `multipart/…` content type names.
pub fn boundary(content_type: &str) -> Option<&str> {
    let _ = content_type;
    None
}

/// The form field `model`.
pub fn multipart_model(body: &[u8], boundary: &str) -> Option<Text> {
    let _ = (body, boundary);
    None
}
