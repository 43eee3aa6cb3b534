//! `herd dashboard`: opens the dashboard in the browser, signed in.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{line, not_understood};
use crate::World;
use crate::door::Door;
use crate::failure::Failure;

/// How long the door may take to make a ticket.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens the page with a ticket in its address, which works once and for a minute. What comes after `#` stays in the
/// browser: it is sent to nobody.
pub(super) fn dashboard(door: &Door, port: u16, json: bool, world: &mut World<'_>) -> Result<(), Failure> {
    let answer = door.post("/dashboard/api/ticket", &json!({}), PATIENCE)?;
    let path = answer["path"].as_str().filter(|path| path.starts_with("/dashboard"));
    let path = path.ok_or_else(|| not_understood("it has no `path`"))?;
    let url = format!("http://localhost:{port}{path}");
    if json {
        return line(world, &json!({ "url": url, "expires_in_s": answer["expires_in_s"] }));
    }
    if has_screen(&world.vars) && (world.browse)(&url) {
        return Ok(writeln!(world.err, "The dashboard is open in the browser.")?);
    }
    writeln!(world.err, "No browser could be opened here. Open this address within a minute, it works once:")?;
    Ok(writeln!(world.out, "{url}")?)
}

/// Whether a browser with windows can be there. Without a screen, xdg-open may start one for terminals, which cannot show
/// the page.
fn has_screen(vars: &[(String, String)]) -> bool {
    let is_set =
        |(name, value): &(String, String)| ["DISPLAY", "WAYLAND_DISPLAY"].contains(&name.as_str()) && !value.is_empty();
    cfg!(any(target_os = "macos", windows)) || vars.iter().any(is_set)
}

/// Has the system open `url` in the browser of whoever sits here; whether it is on it.
pub(crate) fn browse(url: &str) -> bool {
    let mut command = if cfg!(target_os = "macos") {
        Command::new("open")
    } else if cfg!(windows) {
        // `start` of the shell would take `&` and `^` in an address for its own.
        let mut command = Command::new("rundll32");
        command.arg("url.dll,FileProtocolHandler");
        command
    } else {
        Command::new("xdg-open")
    };
    let quiet = command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
