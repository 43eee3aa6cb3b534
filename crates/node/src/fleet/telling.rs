//! What the driver tells: this node and whoever looks at it what is known of the others, the others what this node is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use membership::Presence;
use proto::NodeId;

use super::catalog::Own;
use super::driver::{Driver, Place};
use super::known::{self, Known, Names, Other};
use super::{Facts, Ruling, keys, names};

/// News of backends come in bursts: what others are told waits this long for the rest of them.
const SETTLE: Duration = Duration::from_millis(250);
/// How often others are told what changes all the time, such as memory in use, if it has changed.
const REFRESH: Duration = Duration::from_secs(5);

impl Driver {
    /// The names of all members, this node's own included.
    pub(super) fn names(&self) -> Names {
        let own = self.me().map(|me| {
            let given = names::given(&self.papers.memory.settings, me);
            (me, given.unwrap_or_else(|| self.place.name.clone()))
        });
        let members = self.papers.fleet.iter().flat_map(|fleet| fleet.roster.members());
        let others = members.filter(|member| Some(known::id(member.node)) != self.me()).map(|member| {
            let id = known::id(member.node);
            let said = || {
                let summary = self.party.as_ref()?.members.get(&id)?.summary.as_ref()?;
                Some(names::clean(&summary.name)).filter(|name| !name.is_empty())
            };
            let given = names::given(&self.papers.memory.settings, id);
            (id, given.or_else(said).unwrap_or_else(|| names::clean(&member.name)))
        });
        names::unlike(own.into_iter().chain(others).collect())
    }

    /// What the fleet is called.
    pub(super) fn fleet_name(&self) -> String {
        let memory = &self.papers.memory;
        let set = memory.settings.get(names::FLEET).and_then(|setting| setting.value.as_deref());
        let name = set.or(memory.fleet_name.as_deref()).map(names::clean);
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| names::HOME.to_owned())
    }

    /// Makes what is known visible to others, if it has changed.
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let now = self.now();
        let names = self.names();
        let me = self.me();
        if let Some(name) = me.and_then(|me| names.get(&me)) {
            self.place.journals.call(name);
        }
        let mut known = Known {
            me,
            name: me.and_then(|me| names::given(&self.papers.memory.settings, me)).map(Arc::from),
            fleet: self.papers.fleet.as_ref().map(|fleet| (fleet.roster.fleet().to_string(), self.fleet_name())),
            leader: me.filter(|_| !self.place.never_lead && self.papers.company().is_none()),
            epoch: 0,
            others: Vec::new(),
            asking: self.asking(),
        };
        let members: BTreeMap<NodeId, Presence> = match &self.party {
            Some(party) => {
                let view = party.core.view(now);
                if self.papers.company().is_some() {
                    (known.leader, known.epoch) = (view.leader, view.epoch.number());
                }
                view.members.iter().map(|member| (member.id, member.presence)).collect()
            }
            None => BTreeMap::new(),
        };
        for (id, name) in names.into_iter().filter(|(id, _)| Some(*id) != me) {
            let member = self.party.as_ref().and_then(|party| party.members.get(&id));
            known.others.push(Other {
                id,
                name,
                presence: members.get(&id).copied().unwrap_or(Presence::Gone),
                summary: member.and_then(|member| member.summary.clone()),
                backends: member.map(|member| member.backends.clone()).unwrap_or_default(),
            });
        }
        let digest = |other: &Other| {
            let member = self.party.as_ref().and_then(|party| party.members.get(&other.id));
            member.map_or([0; 16], |member| member.catalog)
        };
        let others = known.within_reach().map(|other| (other.id, other.name.clone(), digest(other))).collect();
        let listed = (known.name.clone(), others);
        let ruling = Ruling {
            leads: known.leader.is_some() && known.leader == known.me,
            fleet: known
                .fleet
                .as_ref()
                .map(|(id, _)| id.clone())
                .or_else(|| me.map(|me| me.full()))
                .unwrap_or_default(),
            keys: Arc::new(keys::keys(&self.papers.memory.settings)),
        };
        self.desk.ruling.send_if_modified(|before| {
            let is_new = *before != ruling;
            *before = ruling;
            is_new
        });
        (self.place.learn)(&known, self.party.as_ref().map(|party| Arc::new(party.mesh.clone()) as _));
        self.desk.known.store(Arc::new(known));
        if self.listed != listed {
            self.listed = listed;
            self.desk.news.send_replace(());
        }
    }

    /// Others are to be told soon what has changed here.
    pub(super) fn refresh_soon(&mut self) {
        if self.party.is_some() {
            let soon = self.now() + SETTLE;
            self.refresh_at = Some(self.refresh_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// Others are to be told at once: they send no more work, or may again.
    pub(super) fn refresh_now(&mut self) {
        if self.party.is_some() {
            self.refresh_at = Some(self.now());
            self.is_urgent = true;
        }
        // Where this node places requests, it must know too.
        self.dirty = true;
    }

    /// Tells others what this node is and does, if that has changed.
    pub(super) fn tell_of_self(&mut self) {
        let facts = (self.place.facts)();
        let own = Own::of(&facts.backends);
        if own.digest != self.own.load().digest {
            if !own.is_whole {
                tracing::warn!("this machine has more models than others can be told of");
            }
            self.own.store(Arc::new(own));
        }
        let now = self.now();
        self.refresh_at = Some(now + REFRESH);
        let priority = if self.place.never_lead { proto::Priority::Never } else { self.place.sense.priority() };
        let name = self.me().and_then(|me| names::given(&self.papers.memory.settings, me));
        let summary = summary(&self.place, name, facts, self.own.load().digest);
        // For the next time.
        self.place.sense.nudge();
        if let Some(party) = &mut self.party {
            party.core.handle(membership::Input::Priority(priority), now);
            let told = summary.encode();
            party.core.handle(
                match std::mem::take(&mut self.is_urgent) {
                    true => membership::Input::UrgentState(told),
                    false => membership::Input::State(told),
                },
                now,
            );
        }
    }
}

fn summary(place: &Place, name: Option<String>, facts: Facts, catalog: [u8; 16]) -> proto::wire::Summary {
    let share = facts.share.map(|share| proto::wire::Share {
        state: share.state,
        reason: share.reason,
        ends_in_s: facts.share_ends_in_s,
        code: Some(share.code),
    });
    proto::wire::Summary {
        name: name.unwrap_or_else(|| place.name.clone()),
        version: proto::VERSION.to_owned(),
        share: share.unwrap_or_default(),
        backends: facts.servers,
        machine: place.sense.latest(),
        catalog,
        in_flight: facts.in_flight,
        queued: facts.queued,
    }
}
