//! Watches for somebody's presence and hands what is sensed to the keeper.

use std::time::Duration;

use capacity::Evidence;
use probe::presence::{Holder, Surroundings, Watch};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Sharing;
use crate::fleet::sense::Sense;

/// How often the processors are looked at, where a rule asks for that.
const LOOK: Duration = Duration::from_secs(10);

/// Where what is sensed comes together.
pub(crate) type Sensed = watch::Sender<Evidence>;

/// Watches at `surroundings` until the answer is dropped. `None`: the system gave no threads, so nothing is known.
pub(crate) fn watch_presence(surroundings: &Surroundings, sensed: &Sensed) -> Option<Watch> {
    let sensed = sensed.clone();
    let told = move |seen: &probe::presence::Evidence| {
        let evidence = evidence(seen);
        sensed.send_if_modified(|known| {
            let evidence = Evidence { others_cpu_percent: known.others_cpu_percent, ..evidence };
            let is_new = *known != evidence;
            *known = evidence;
            is_new
        });
    };
    match Watch::start(surroundings, told) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "whether somebody uses this machine cannot be sensed");
            None
        }
    }
}

/// Looks at the processors until `stop`, while the rule that asks for it is on. What Herd's own requests do to them cannot
/// be told apart, so while any run here (`is_working`) nothing is known.
pub(crate) async fn feel_load(
    sharing: Sharing,
    sense: Sense,
    sensed: Sensed,
    is_working: impl Fn() -> bool,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let percent = match sharing.asks_for_load() && !is_working() {
            true => sense.look().await.and_then(|machine| machine.cpu_percent),
            false => None,
        };
        sensed.send_if_modified(|known| {
            let is_new = known.others_cpu_percent != percent;
            known.others_cpu_percent = percent;
            is_new
        });
    }
}

fn evidence(seen: &probe::presence::Evidence) -> Evidence {
    let apps = |holders: &Option<Vec<Holder>>| {
        let holders = holders.as_ref()?;
        Some(holders.iter().map(|holder| holder.app.clone()).collect())
    };
    Evidence {
        cameras: apps(&seen.cameras),
        microphones: apps(&seen.microphones),
        on_battery: seen.on_battery,
        battery_percent: seen.battery_percent,
        lid_closed: seen.lid_closed,
        display_off: seen.display_off,
        full_screen: seen.full_screen,
        throttled: seen.throttled,
        metered: seen.metered,
        input_idle: seen.input_idle,
        locked: seen.locked,
        others_cpu_percent: None,
    }
}
