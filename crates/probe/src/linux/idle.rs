//! For how long nobody touched the machine: GNOME's own count, else the X server's, else logind's hint.
//!
//! Wayland sessions other than GNOME's keep no count that can be asked for; they have the hint at best.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::bus::{Line, PATIENCE};
use super::wire::{Call, Value};
use super::x11::Display;
use crate::Roots;
use crate::sense::IdleSense;

pub(super) struct Idle {
    session: Line,
    system: Line,
    display: Option<Display>,
    /// Whether the hint was ever on. Many sessions never set it, and then its being off says nothing.
    hint_is_kept: bool,
}

impl Idle {
    pub(super) fn new(roots: &Roots) -> Idle {
        Idle::patient(PATIENCE, roots)
    }

    pub(super) fn patient(patience: Duration, roots: &Roots) -> Idle {
        Idle {
            session: Line::new(roots.session_bus.clone(), patience),
            system: Line::new(roots.system_bus.clone(), patience),
            display: roots.display.as_deref().map(Display::new),
            hint_is_kept: false,
        }
    }

    /// Time since logind was told that the session went idle; zero once it is told otherwise.
    fn hint(&mut self) -> Option<Duration> {
        let Value::Bool(idle) = self.system.ask(&manager("IdleHint"))? else { return None };
        if !idle {
            return self.hint_is_kept.then_some(Duration::ZERO);
        }
        // Without any session the hint is on since never.
        let Value::U64(since @ 1..) = self.system.ask(&manager("IdleSinceHintMonotonic"))? else { return None };
        self.hint_is_kept = true;
        // Not the node's clock, which counts sleep: the stamp is of this one.
        let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).ok()?;
        Some(now.saturating_sub(Duration::from_micros(since)))
    }
}

impl IdleSense for Idle {
    fn idle(&mut self) -> Option<Duration> {
        if let Some(Value::U64(ms)) = self.session.ask(&GNOME) {
            return Some(Duration::from_millis(ms));
        }
        if let Some(idle) = self.display.as_mut().and_then(Display::idle) {
            return Some(idle);
        }
        self.hint()
    }
}

const GNOME: Call<'static> = Call {
    destination: "org.gnome.Mutter.IdleMonitor",
    path: "/org/gnome/Mutter/IdleMonitor/Core",
    interface: "org.gnome.Mutter.IdleMonitor",
    member: "GetIdletime",
    arguments: &[],
};

/// A property of logind's manager, which speaks for all sessions together.
fn manager(property: &str) -> Call<'static> {
    const IDLE: &[&str] = &["org.freedesktop.login1.Manager", "IdleHint"];
    const SINCE: &[&str] = &["org.freedesktop.login1.Manager", "IdleSinceHintMonotonic"];
    Call {
        destination: "org.freedesktop.login1",
        path: "/org/freedesktop/login1",
        interface: "org.freedesktop.DBus.Properties",
        member: "Get",
        arguments: if property == "IdleHint" { IDLE } else { SINCE },
    }
}
