//! Bytes that other versions rely on, kept in `tests/golden`. `GOLDEN=write` rewrites them; the diff is read like code.

use std::path::Path;

/// Compares `bytes` with the file `name`.
pub(crate) fn check(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    #[allow(clippy::disallowed_methods, reason = "only in tests, to rewrite what they compare with")]
    if std::env::var("GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8_lossy(&kept), "{name}");
    assert_eq!(bytes, kept, "{name}");
}
