//! The senses for somebody's presence.

use std::sync::Arc;

use super::{Heat, Idle, Power, camera, desk, microphone};
use crate::presence::{Bell, CameraSense, MicrophoneSense, Slow, Surroundings};

pub(crate) fn camera(_: &Surroundings, bell: &Arc<Bell>) -> impl CameraSense + use<> {
    camera::Camera::new(bell)
}

pub(crate) fn microphone(around: &Surroundings, bell: &Arc<Bell>) -> impl MicrophoneSense + use<> {
    microphone::Microphone::new(around, bell)
}

pub(crate) fn slow(_: &Surroundings) -> Slow {
    Slow {
        power: Box::new(Power),
        lid: Box::new(desk::Lid),
        display: Box::new(desk::Screen),
        full_screen: Box::new(desk::Untold),
        heat: Box::new(Heat),
        metered: Box::new(desk::Untold),
        idle: Box::new(Idle),
        lock: Box::new(desk::Lock),
    }
}
