//! Learns how many models a server holds in memory at once.

use std::time::Duration;

use proto::Moment;

/// What was learnt from a model that had to leave is forgotten after this: it may have been another program's doing.
const FORGOTTEN: Duration = Duration::from_secs(1800);

/// What is known of one server's room.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    /// The largest number of models seen in memory at once, and the bytes of the largest such set.
    seen: usize,
    seen_bytes: u64,
    /// So many models at once, no more, until then.
    limit: Option<(usize, Moment)>,
    /// Bytes that are free, and that would be without any model.
    pub(crate) bytes: Option<(u64, u64)>,
}

/// Whether there is room for one model more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Certain,
    /// Nobody knows: the server may make another one leave, as soon as that is idle.
    Uncertain,
    Full,
}

impl Room {
    /// So many models, which take so many bytes where all were told, are in memory together.
    pub(crate) fn see(&mut self, models: usize, bytes: u64) {
        self.seen = self.seen.max(models);
        self.seen_bytes = self.seen_bytes.max(bytes);
        if self.limit.is_some_and(|(limit, _)| models > limit) {
            self.limit = None;
        }
    }

    /// With more than `models` the server made one leave, or could not load the last.
    pub(crate) fn limit(&mut self, models: usize, now: Moment) {
        self.limit = Some((models.max(1), now + FORGOTTEN));
        self.seen = self.seen.min(models.max(1));
        self.seen_bytes = 0;
    }

    /// What is left of it when the server starts anew.
    pub(crate) fn restarted(&self) -> Room {
        Room { bytes: self.bytes, ..Room::default() }
    }

    /// So many bytes more, or less, are free than was told.
    pub(crate) fn shift(&mut self, taken: Option<u64>, freed: Option<u64>) {
        if let Some((free, total)) = &mut self.bytes {
            *free =
                free.saturating_add(freed.unwrap_or_default()).saturating_sub(taken.unwrap_or_default()).min(*total);
        }
    }

    /// Whether a model of `more` bytes has room beside `models` others that take `bytes`. `told`: models that the server
    /// holds at once, as it or its owner says.
    pub(crate) fn space(&self, models: usize, bytes: u64, more: Option<u64>, told: Option<u32>, now: Moment) -> Space {
        // A server that holds nothing has all the room there is.
        if models == 0 {
            return Space::Certain;
        }
        let told = told.map(|told| (told.max(1)) as usize);
        let learnt = self.limit.filter(|(_, until)| now < *until).map(|(limit, _)| limit);
        let is_too_many = [told, learnt].into_iter().flatten().any(|limit| models >= limit);
        let free = self.bytes.zip(more).map(|((free, _), more)| (free, more));
        if is_too_many || free.is_some_and(|(free, more)| more > free) {
            return Space::Full;
        }
        let fits_by_count = told.is_some() || models < self.seen;
        // Ollama itself wants a fifth to spare before it puts a model beside others on a GPU (0.33).
        let fits_by_bytes = match (free, more) {
            (Some((free, more)), _) => more <= free / 5 * 4,
            (None, Some(more)) => {
                told.is_some() || bytes.saturating_add(more) <= self.seen_bytes.saturating_add(more / 10)
            }
            (None, None) => true,
        };
        if fits_by_count && fits_by_bytes { Space::Certain } else { Space::Uncertain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::at(Duration::from_secs(9));

    #[test]
    fn room_is_what_was_told_or_seen() {
        let three = || {
            let mut room = Room::default();
            room.see(3, 300);
            room
        };
        let limited = |models| {
            let mut room = three();
            room.limit(models, NOW);
            room
        };
        let with_bytes = |free| Room { bytes: Some((free, 1000)), ..three() };
        use Space::{Certain, Full, Uncertain};
        for (name, room, models, more, told, expected) in [
            ("an empty server", Room::default(), 0, None, None, Certain),
            ("nothing seen yet", Room::default(), 1, None, None, Uncertain),
            ("as many as were seen", three(), 2, None, None, Certain),
            ("as large as was seen", three(), 2, Some(100), None, Certain),
            ("larger than was seen", three(), 2, Some(200), None, Uncertain),
            ("more than were seen", three(), 3, None, None, Uncertain),
            ("told", Room::default(), 1, Some(5000), Some(2), Certain),
            ("told to be full", three(), 2, None, Some(2), Full),
            ("learnt to be full", limited(2), 2, None, None, Full),
            ("learnt to be full, but empty", limited(1), 0, None, None, Certain),
            ("one less than learnt", limited(2), 1, None, None, Certain),
            ("memory for it", with_bytes(500), 2, Some(300), None, Certain),
            ("memory just for it", with_bytes(500), 2, Some(450), None, Uncertain),
            ("no memory for it", with_bytes(500), 2, Some(501), None, Full),
            ("no memory although told", with_bytes(500), 1, Some(501), Some(3), Full),
        ] {
            assert_eq!(room.space(models, models as u64 * 100, more, told, NOW), expected, "{name}");
        }
    }

    #[test]
    fn a_limit_is_forgotten() {
        let mut room = Room::default();
        room.see(2, 0);
        room.limit(1, NOW);
        assert_eq!(room.space(1, 0, None, None, NOW), Space::Full);
        assert_eq!(room.space(1, 0, None, None, NOW + FORGOTTEN), Space::Uncertain, "by time");
        room.see(2, 0);
        assert_eq!(room.space(1, 0, None, None, NOW), Space::Certain, "by sight");
    }
}
