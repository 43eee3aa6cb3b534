//! What people are shown of the members: one row each.

use membership::Presence;
use mesh::Transport as _;
use proto::view::{DeviceView, NodeView, ShareView};

use super::driver::Driver;
use super::known::{self, id, key};
use super::party::Member;

impl Driver {
    /// The members of the fleet with what they do; this machine alone where there are no others.
    pub(super) fn node_rows(&self) -> Vec<NodeView> {
        let names = self.names();
        let me = self.me();
        let leader = self.desk.known.load().leader;
        let view = self.party.as_ref().map(|party| party.core.view(self.now()));
        let peers = self.party.as_ref().map(|party| party.mesh.peers()).unwrap_or_default();
        let mut rows = vec![self.own_row(leader.is_some() && leader == me)];
        for (node, name) in names.into_iter().filter(|(node, _)| Some(*node) != me) {
            let seen = view.as_ref().and_then(|view| view.members.iter().find(|member| member.id == node));
            let peer = peers.iter().find(|peer| peer.node == key(node));
            let member = self.party.as_ref().and_then(|party| party.members.get(&node));
            let summary = member.and_then(|member| member.summary.as_deref());
            let presence = seen.map_or(Presence::Gone, |member| member.presence);
            rows.push(NodeView {
                name: name.to_string(),
                id: node.full(),
                is_self: false,
                leads: leader == Some(node),
                presence: known::word(presence).to_owned(),
                silent_for_s: seen.and_then(|member| member.silent_for).map(|silence| tenths(silence.as_secs_f64())),
                version: summary.map(|summary| summary.version.clone()),
                share: member.and_then(|member| self.share_of(member)),
                address: peer.and_then(|peer| peer.address).map(|address| address.to_string()),
                rtt_ms: peer
                    .and_then(|peer| peer.rtt)
                    .map(|rtt| rtt.as_secs_f64() * 1e3)
                    .map(|ms| (ms * 100.0).round() / 100.0),
                models: summary.map(|summary| summary.backends.iter().map(|server| server.models).sum()),
                loaded: summary.map(|summary| summary.backends.iter().map(|server| server.loaded).sum()),
                machine: summary.and_then(|summary| serde_json::to_value(summary.machine.as_ref()?).ok()),
                trouble: peer.and_then(|peer| peer.trouble).map(|trouble| trouble.to_string()),
            });
        }
        rows
    }

    /// The share state that a member told.
    fn share_of(&self, member: &Member) -> Option<ShareView> {
        let share = &member.summary.as_ref()?.share;
        let passed = self.now().since(member.told_at).as_secs();
        let until = share.ends_in_s.and_then(|left| {
            let second = (self.place.clock.unix_ms() / 1000).saturating_add(left).saturating_sub(passed);
            Some(jiff::Timestamp::from_second(i64::try_from(second).ok()?).ok()?.to_string())
        });
        Some(ShareView {
            state: share.state.clone(),
            reason: share.reason.clone(),
            until,
            code: share.code.clone().unwrap_or_default(),
            rule: None,
        })
    }

    fn own_row(&self, leads: bool) -> NodeView {
        let facts = (self.place.facts)();
        let known = self.desk.known.load();
        let up = || facts.servers.iter().filter(|server| server.health == "up");
        NodeView {
            name: known.name.as_deref().unwrap_or(&self.place.name).to_owned(),
            id: self.me().map(|me| me.full()).unwrap_or_default(),
            is_self: true,
            leads,
            presence: "here".to_owned(),
            silent_for_s: None,
            version: Some(proto::VERSION.to_owned()),
            models: Some(up().map(|server| server.models).sum()),
            loaded: Some(up().map(|server| server.loaded).sum()),
            share: facts.share.clone(),
            address: None,
            rtt_ms: None,
            machine: self.place.sense.latest().and_then(|machine| serde_json::to_value(machine).ok()),
            trouble: None,
        }
    }

    /// The machines on the roster, in the order of joining.
    pub(super) fn device_rows(&self) -> Vec<DeviceView> {
        let names = self.names();
        let me = self.me();
        let view = self.party.as_ref().map(|party| party.core.view(self.now()));
        let presence = |node| {
            let seen = view.as_ref().and_then(|view| view.members.iter().find(|member| member.id == node));
            seen.map_or(Presence::Gone, |member| member.presence)
        };
        let Some(fleet) = &self.papers.fleet else {
            let only = me.map(|me| DeviceView {
                name: self.place.name.clone(),
                id: me.full(),
                is_self: true,
                role: "admin".to_owned(),
                seniority: 1,
                presence: "here".to_owned(),
            });
            return only.into_iter().collect();
        };
        let mut members: Vec<_> = fleet.roster.members().collect();
        members.sort_by_key(|member| (member.place, member.node));
        let row = |member: &mesh::roster::Member| {
            let node = id(member.node);
            let is_self = Some(node) == me;
            DeviceView {
                name: names.get(&node).map_or_else(|| member.name.clone(), ToString::to_string),
                id: node.full(),
                is_self,
                role: known::role_word(member.role).to_owned(),
                seniority: member.place.saturating_add(1),
                presence: if is_self { "here" } else { known::word(presence(node)) }.to_owned(),
            }
        };
        members.into_iter().map(row).collect()
    }
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}
