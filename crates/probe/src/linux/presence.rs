//! The senses for somebody's presence, looking at the surroundings.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::bus::{Line, PATIENCE};
use super::{camera, display, full_screen, heat, idle, lid, lock, metered, microphone, power};
use crate::presence::{Bell, CameraSense, MicrophoneSense, Slow, Surroundings};

pub(crate) fn camera(around: &Surroundings, _: &Arc<Bell>) -> impl CameraSense + use<> {
    camera::Camera::new(around)
}

pub(crate) fn microphone(around: &Surroundings, _: &Arc<Bell>) -> impl MicrophoneSense + use<> {
    microphone::Microphone::new(around)
}

pub(crate) fn slow(around: &Surroundings) -> Slow {
    let line = |address: &Option<String>| Rc::new(RefCell::new(Line::new(address.clone(), PATIENCE)));
    let (session, system) = (line(&around.session_bus), line(&around.system_bus));
    Slow {
        power: Box::new(power::Power::new(&around.system)),
        lid: Box::new(lid::Lid::new(around, Rc::clone(&system))),
        display: Box::new(display::Screens::new(&around.system)),
        full_screen: Box::new(full_screen::FullScreen::new(around, Rc::clone(&session))),
        heat: Box::new(heat::Heat::new(&around.system)),
        metered: Box::new(metered::Metered::new(Rc::clone(&system))),
        idle: Box::new(idle::Idle::new(&around.roots())),
        lock: Box::new(lock::Lock::new(session, system)),
    }
}
