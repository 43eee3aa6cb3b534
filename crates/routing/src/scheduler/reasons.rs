//! Says, for a request that nobody serves, whether that may pass, and why it is so.

use std::time::Duration;

use proto::{ModelName, Moment};

use super::board::Board;
use super::lane::Lane;
use super::want::{Unfit, Want, fit};
use crate::Refusal;
use crate::breaker::Admission;
use crate::standing::Standing;

/// Machines that a refusal tells of.
const TOLD: usize = 8;
/// Told to clients of machines that are away: most come back within about that.
const COME_BACK: Duration = Duration::from_secs(5);

impl Board {
    /// How `want` stands, while none of those that could serve it was found to have room.
    pub(super) fn standing(&self, want: &Want, now: Moment) -> Standing {
        let mut again: Option<Moment> = None;
        let mut may_pass = false;
        for (_, _, reason) in self.reasons(want, now) {
            match reason {
                None => return Standing::Busy { again: None, at: None },
                Some(Unfit::Rests(until)) => {
                    may_pass = true;
                    again = [again, until].into_iter().flatten().min();
                }
                Some(reason) => may_pass |= reason.is_passing(),
            }
        }
        if may_pass { Standing::Stranded { again } } else { Standing::Refused(self.refusal(want, now)) }
    }

    /// Each lane that has one of the wanted models, with its node's name and why it does not serve.
    fn reasons<'a>(&'a self, want: &'a Want, now: Moment) -> impl Iterator<Item = (&'a str, &'a Lane, Option<Unfit>)> {
        let lanes = self.holders(&want.models).flat_map(|(model, lanes, _)| lanes.iter().map(move |&at| (model, at)));
        lanes.filter_map(move |(model, at)| {
            let lane = self.lane(at)?;
            let node = self.node_of(lane)?;
            let reason = fit(want, &want.models[model], lane, node).err().or_else(|| ill(lane, now));
            Some((&*node.report.name, lane, reason))
        })
    }

    /// Why `want` can never be served, as things are.
    fn refusal(&self, want: &Want, now: Moment) -> Refusal {
        let Some((first, ..)) = self.holders(&want.models).next() else {
            let model = want.models.first().map(ToString::to_string).unwrap_or_default();
            return if self.knows_no_model() { Refusal::NoBackend } else { Refusal::UnknownModel { model } };
        };
        let model = want.models[first].to_string();
        let all: Vec<(&str, &Lane, Unfit)> =
            self.reasons(want, now).filter_map(|(name, lane, reason)| Some((name, lane, reason?))).collect();
        let Some(known) = all.iter().map(|(_, _, reason)| *reason).min_by_key(|reason| reason.rank()) else {
            return Refusal::Unavailable { model, retry_after: COME_BACK };
        };
        match known {
            Unfit::Tried => Refusal::Exhausted { tried: want.excluded.len() },
            Unfit::TooLong { .. } => {
                let offers = all.iter().filter_map(|(_, _, reason)| match reason {
                    Unfit::TooLong { needed, most } => Some((*most, *needed)),
                    _ => None,
                });
                let (most, needed) = offers.max().unwrap_or_default();
                Refusal::ContextTooLong { needed, most }
            }
            Unfit::NotSpoken => {
                let backend =
                    |name: &str, lane: &Lane| format!("{} on {name} ({})", lane.backend.id, lane.backend.kind.as_str());
                let mut backends: Vec<String> = all.iter().map(|(name, lane, _)| backend(name, lane)).collect();
                backends.sort();
                backends.dedup();
                backends.truncate(TOLD);
                Refusal::NotSpoken { model, backends }
            }
            _ => Refusal::Unfit { model, why: in_words(&all) },
        }
    }

    /// Why `want`, which waited in vain, was not served.
    pub(super) fn out_of_reach(&self, want: &Want, now: Moment) -> Refusal {
        Refusal::OutOfReach {
            model: self.known_model(want).map(ToString::to_string).unwrap_or_default(),
            why: self.why(want, now),
            retry_after: COME_BACK,
        }
    }

    /// What keeps each machine that has one of the wanted models, in words; at most eight.
    pub(super) fn why(&self, want: &Want, now: Moment) -> Vec<String> {
        let all: Vec<(&str, &Lane, Unfit)> =
            self.reasons(want, now).filter_map(|(name, lane, reason)| Some((name, lane, reason?))).collect();
        in_words(&all)
    }

    fn known_model<'a>(&self, want: &'a Want) -> Option<&'a ModelName> {
        let known = self.holders(&want.models).next().map_or(0, |(model, ..)| model);
        want.models.get(known)
    }
}

fn in_words(all: &[(&str, &Lane, Unfit)]) -> Vec<String> {
    let mut sorted: Vec<(u8, String)> =
        all.iter().map(|(name, lane, reason)| (reason.rank(), reason.words(name, lane))).collect();
    sorted.sort();
    sorted.dedup();
    sorted.into_iter().map(|(_, words)| words).take(TOLD).collect()
}

/// What keeps `lane`, which may serve, from it.
fn ill(lane: &Lane, now: Moment) -> Option<Unfit> {
    if let Some(until) = lane.rests(now) {
        return Some(Unfit::Rests(Some(until)));
    }
    match lane.admission(false, now) {
        Admission::Sound { .. } => None,
        Admission::Trial { .. } => Some(Unfit::Rests(None)),
        Admission::Broken { until } => Some(Unfit::Rests(until)),
    }
}
