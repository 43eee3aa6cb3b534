//! The senses for somebody's presence.

use std::sync::Arc;

use super::{Idle, Power, camera, desk, microphone};
use crate::presence::{Bell, CameraSense, MicrophoneSense, Slow, Surroundings};
use crate::sense::Numb;

pub(crate) fn camera(around: &Surroundings, bell: &Arc<Bell>) -> impl CameraSense + use<> {
    camera::Camera::new(around, bell)
}

pub(crate) fn microphone(around: &Surroundings, _: &Arc<Bell>) -> impl MicrophoneSense + use<> {
    microphone::Microphone::new(around)
}

pub(crate) fn slow(_: &Surroundings) -> Slow {
    Slow {
        power: Box::new(Power),
        lid: Box::new(desk::Lid::new()),
        display: Box::new(desk::Screen::new()),
        full_screen: Box::new(desk::FullScreen),
        heat: Box::new(Numb),
        metered: Box::new(desk::Metered::new()),
        idle: Box::new(Idle),
        lock: Box::new(desk::Lock),
    }
}
