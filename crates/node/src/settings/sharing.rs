//! The settings of the rules that pause this machine.

use std::time::Duration;

use capacity::{RuleId, Rules};

use super::reader::Reader;
use super::{BadSetting, parse};

const CAMERA: &str = "FLEET_PAUSE_CAMERA_AFTER";
const MICROPHONE: &str = "FLEET_PAUSE_MICROPHONE_AFTER";
const AMBIENT: &str = "FLEET_PAUSE_MICROPHONE_UNTIL";
const RESUME: &str = "FLEET_PAUSE_RESUME_AFTER";
const BATTERY: &str = "FLEET_PAUSE_BATTERY_BELOW";
const BUSY: &str = "FLEET_PAUSE_BUSY_ABOVE";

/// The setting that switches `rule`.
pub(crate) fn switch(rule: RuleId) -> &'static str {
    match rule {
        RuleId::Meetings => "FLEET_PAUSE_MEETINGS",
        RuleId::Games => "FLEET_PAUSE_GAMES",
        RuleId::Lid => "FLEET_PAUSE_LID",
        RuleId::Display => "FLEET_PAUSE_DISPLAY",
        RuleId::Battery => "FLEET_PAUSE_BATTERY",
        RuleId::Heat => "FLEET_PAUSE_HEAT",
        RuleId::Metered => "FLEET_PAUSE_METERED",
        RuleId::Busy => "FLEET_PAUSE_BUSY",
    }
}

/// The settings of single rules, with the values in force.
pub(crate) fn thresholds(rules: &Rules) -> Vec<(RuleId, &'static str, String)> {
    let span = |span: Duration| format!("{}s", span.as_secs_f64());
    vec![
        (RuleId::Meetings, CAMERA, span(rules.camera_hold)),
        (RuleId::Meetings, MICROPHONE, span(rules.microphone_hold)),
        (RuleId::Meetings, AMBIENT, span(rules.ambient_after)),
        (RuleId::Battery, BATTERY, rules.battery_below.to_string()),
        (RuleId::Busy, BUSY, rules.busy_above.to_string()),
    ]
}

/// Reads all of them: the rules, and the programs that are no meeting.
pub(super) fn read(r: &mut Reader<'_>) -> Result<(Rules, Vec<String>), BadSetting> {
    let mut rules = Rules::default();
    for rule in RuleId::ALL {
        let default = if rules.is_on(rule) { "on" } else { "off" };
        let about = format!("Whether this machine pauses {}.", rule.about());
        let on = r.read(switch(rule), default, &about, parse::on_off)?;
        rules.switch(rule, on);
    }
    rules.camera_hold =
        r.read(CAMERA, "1s", "How long a program must hold a camera before that is a meeting.", parse::span)?;
    rules.microphone_hold =
        r.read(MICROPHONE, "1.5s", "How long a program must record before that is a meeting.", parse::span)?;
    rules.ambient_after =
        r.read(AMBIENT, "3h", "After which a recording without a camera is no meeting any more.", parse::span)?;
    rules.resume_after = r.read(
        RESUME,
        "60s",
        "How long nothing must pause before this machine takes requests again; 30s at least.",
        parse::span,
    )?;
    rules.battery_below = r.read(
        BATTERY,
        "100",
        "The charge in percent below which a machine on battery pauses; 100: always.",
        parse::percent,
    )?;
    rules.busy_above =
        r.read(BUSY, "25", "How busy other programs may keep the processors, in percent of all.", parse::percent)?;
    let ignored = r.read(
        "FLEET_PAUSE_IGNORE",
        "",
        "Programs whose use of camera and microphone is no meeting, comma between.",
        parse::list,
    )?;
    Ok((rules, ignored))
}
