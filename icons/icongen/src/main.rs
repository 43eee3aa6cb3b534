//! Renders the icons: `cargo run -p icongen` writes them into the checkout, with `--check` it says which are not current.
//!
//! Sources are `icons/herd.svg`, the app's mark, and `icons/tray/STATE.svg`, one per state of the tray. What is rendered is
//! committed, so that nobody who builds Herd needs this.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use resvg::{tiny_skia, usvg};

/// The states of the tray, as `tray::Icon` names them.
const STATES: [&str; 8] = ["sharing", "busy", "paused", "meeting", "leading", "alone", "problem", "off"];
/// A panel shows 16 to 32 points, some with two pixels per point.
const TRAY_SIZES: [u32; 3] = [22, 32, 44];
/// The sizes that Linux desktops look for.
const APP_SIZES: [u32; 7] = [16, 32, 48, 64, 128, 256, 512];
/// What Windows wants in one file.
const ICO_SIZES: [u32; 6] = [16, 24, 32, 48, 64, 256];
/// What macOS wants in one file: the type of each entry and its pixels.
const ICNS: [(&[u8; 4], u32); 7] =
    [(b"icp4", 16), (b"icp5", 32), (b"ic07", 128), (b"ic08", 256), (b"ic09", 512), (b"ic11", 32), (b"ic12", 64)];

/// How a glyph of the tray is inked.
struct Ink {
    name: &'static str,
    colour: &'static str,
    /// The colour of a thin edge, so that it can be told from a panel of its own colour.
    edge: Option<&'static str>,
    /// Whether badges have colours.
    coloured: bool,
}

const INKS: [Ink; 3] = [
    Ink { name: "light", colour: "#f4f7f5", edge: Some("#1c2421"), coloured: true },
    Ink { name: "dark", colour: "#1c2421", edge: Some("#ffffff"), coloured: true },
    // macOS takes the shape alone and colours it.
    Ink { name: "template", colour: "#000000", edge: None, coloured: false },
];

fn main() -> ExitCode {
    let checks = std::env::args().nth(1).is_some_and(|argument| argument == "--check");
    match run(checks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(checks: bool) -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("icons/icongen lies two below the root")?;
    let files = all(root)?;
    let is_current = |file: &Path, bytes: &[u8]| std::fs::read(root.join(file)).is_ok_and(|found| found == bytes);
    let old: Vec<String> = files
        .iter()
        .filter(|(file, bytes)| !is_current(file, bytes))
        .map(|(file, _)| file.display().to_string())
        .collect();
    if checks && !old.is_empty() {
        bail!("not as their sources: {}; run `cargo run -p icongen`", old.join(", "));
    }
    for (file, bytes) in &files {
        let path = root.join(file);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    println!("{} icons, {} of them changed", files.len(), old.len());
    Ok(())
}

/// Every file that is made, below the root of the checkout.
fn all(root: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"));
    let mut files = BTreeMap::new();
    for state in STATES {
        let source = read(&format!("icons/tray/{state}.svg"))?;
        for ink in &INKS {
            let svg = inked(&source, ink)?;
            for size in TRAY_SIZES {
                let name = format!("icons/tray/{state}-{}-{size}.png", ink.name);
                files.insert(PathBuf::from(name), png(&svg, size)?);
            }
        }
    }
    let mark = read("icons/herd.svg")?;
    for size in APP_SIZES {
        files.insert(PathBuf::from(format!("src-tauri/icons/{size}x{size}.png")), png(&mark, size)?);
    }
    files.insert("src-tauri/icons/icon.png".into(), png(&mark, 512)?);
    files.insert("src-tauri/icons/icon.ico".into(), ico(&mark)?);
    files.insert("src-tauri/icons/icon.icns".into(), icns(&mark)?);
    files.insert("src-tauri/page/herd.svg".into(), mark.into_bytes());
    Ok(files)
}

/// `source` in the colours of `ink`: the glyph over its edge, badges in their own colour where they have one.
fn inked(source: &str, ink: &Ink) -> Result<String> {
    let svg = source.replacen(r##"color="#000""##, &format!(r#"color="{}""#, ink.colour), 1);
    let mut rest = svg.as_str();
    let mut coloured = String::new();
    // ="currentColor" data-colour="#abc" becomes ="#abc".
    while let Some((before, after)) = rest.split_once(r#"="currentColor" data-colour=""#) {
        let (colour, after) = after.split_once('"').context("a data-colour without an end")?;
        let shown = if ink.coloured { colour } else { "currentColor" };
        coloured.push_str(before);
        coloured.push_str(&format!(r#"="{shown}""#));
        rest = after;
    }
    coloured.push_str(rest);
    let Some(edge) = ink.edge else { return Ok(coloured) };
    let (defs, body) = coloured.split_once("</defs>").context("a source has <defs>")?;
    let body = body.strip_suffix("</svg>\n").context("a source ends with </svg>")?;
    let edge = format!(r#"<g opacity=".3" stroke="{edge}" stroke-width="1.4" stroke-linejoin="round">"#);
    Ok(format!("{defs}</defs>{edge}{body}</g>{body}</svg>\n"))
}

fn png(svg: &str, size: u32) -> Result<Vec<u8>> {
    let tree = usvg::Tree::from_str(svg, &usvg::Options::default()).context("reading a source")?;
    let mut picture = tiny_skia::Pixmap::new(size, size).context("a size above 0")?;
    let scale = size as f32 / tree.size().width();
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut picture.as_mut());
    picture.encode_png().context("writing a PNG")
}

/// Windows' container: a directory of PNGs (documented as ICONDIR and ICONDIRENTRY).
fn ico(svg: &str) -> Result<Vec<u8>> {
    let pictures: Vec<Vec<u8>> = ICO_SIZES.iter().map(|size| png(svg, *size)).collect::<Result<_>>()?;
    let count = u16::try_from(pictures.len())?;
    let mut file = Vec::new();
    for number in [0, 1, count] {
        file.extend(number.to_le_bytes());
    }
    let mut offset = 6 + 16 * u32::from(count);
    for (size, picture) in ICO_SIZES.iter().zip(&pictures) {
        // 0 stands for 256.
        let side = u8::try_from(*size).unwrap_or(0);
        file.extend([side, side, 0, 0]);
        file.extend(1_u16.to_le_bytes());
        file.extend(32_u16.to_le_bytes());
        let length = u32::try_from(picture.len())?;
        file.extend(length.to_le_bytes());
        file.extend(offset.to_le_bytes());
        offset += length;
    }
    file.extend(pictures.concat());
    Ok(file)
}

/// Apple's container: PNGs, each after its type and its length.
fn icns(svg: &str) -> Result<Vec<u8>> {
    let mut entries = Vec::new();
    for (kind, size) in ICNS {
        let picture = png(svg, size)?;
        entries.extend(*kind);
        entries.extend(u32::try_from(picture.len() + 8)?.to_be_bytes());
        entries.extend(picture);
    }
    let mut file = b"icns".to_vec();
    file.extend(u32::try_from(entries.len() + 8)?.to_be_bytes());
    file.extend(entries);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_what_the_sources_say() {
        run(true).unwrap();
    }

    #[test]
    fn states_can_be_told_apart_without_colour() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let files = all(root).unwrap();
        let glyphs: std::collections::BTreeSet<&Vec<u8>> =
            STATES.iter().map(|state| &files[Path::new(&format!("icons/tray/{state}-template-22.png"))]).collect();
        assert_eq!(glyphs.len(), STATES.len());
    }
}
