//! What people and clients wish for a model; never more than a wish.

use std::time::Duration;

use proto::{ModelName, Moment};

use crate::fleet::Backend;
use crate::lane::Lane;
use proto::KeepAlive;

use crate::Wish;

/// A wish to load that found no room is forgotten after this.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The wishes for one model.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Others leave first until so long after its last use; inner `None`: always.
    keep: Option<Option<Duration>>,
    /// It leaves when nobody uses it.
    pub(super) unload: bool,
    /// Names that are about to be deleted and not offered any more.
    pub(crate) deleted: Vec<ModelName>,
    pub(super) load: Option<LoadWish>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LoadWish {
    pub(super) context: Option<u64>,
    pub(super) until: Moment,
}

impl Wishes {
    /// A client whose request was granted wishes this.
    pub(crate) fn keep_alive(&mut self, wish: KeepAlive) {
        self.unload = wish == KeepAlive::Unload || wish == KeepAlive::For(Duration::ZERO);
        self.keep = match wish {
            KeepAlive::For(time) => Some(Some(time)),
            KeepAlive::Forever => Some(None),
            KeepAlive::Unload => None,
        };
    }

    /// Whether others leave first, of a model that was last used then.
    pub(super) fn keeps(&self, used: Moment, now: Moment) -> bool {
        self.keep.is_some_and(|time| time.is_none_or(|time| now.since(used) < time))
    }

    /// Whether time or a change may make something of them.
    pub(crate) fn are_pending(&self) -> bool {
        self.unload || self.load.is_some()
    }
}

impl Lane {
    /// Somebody wishes this for `name`.
    pub(crate) fn wish(&mut self, name: &ModelName, wish: Wish, now: Moment) {
        let is_loaded = self.is_loaded();
        let wishes = &mut self.turn.wishes;
        match wish {
            Wish::Load { context } => {
                // Whoever orders it may have mended what was wrong.
                self.failing = None;
                wishes.unload = false;
                wishes.load =
                    Some(LoadWish { context: context.filter(|&context| context >= 4), until: now + FORGOTTEN });
            }
            Wish::Unload => {
                wishes.load = None;
                wishes.unload = is_loaded || self.turn.wants_since.is_some();
            }
            Wish::Keep(time) => {
                wishes.unload = false;
                wishes.keep = Some(time);
            }
            Wish::Delete => {
                wishes.load = None;
                wishes.unload = true;
                if !wishes.deleted.contains(name) {
                    wishes.deleted.push(name.clone());
                }
            }
            Wish::Forget => *wishes = Wishes::default(),
        }
    }
}

impl Backend {
    /// Forgets names to delete that are gone.
    pub(super) fn forget_deleted(&mut self) {
        let state = &self.state;
        for lane in &mut self.lanes {
            lane.turn.wishes.deleted.retain(|name| state.model(name).is_some());
        }
    }
}
