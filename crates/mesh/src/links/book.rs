//! Where members and strangers may be found: what was told, what worked, and what is not worth keeping.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proto::Moment;

use super::pace::{SLOWEST, SLOWEST_FOREIGN, backoff};
use super::{Links, RECENT, Role};
use crate::{NodeKey, Source, Stray, Trouble};

/// Addresses of unknown owner that are kept.
pub const MOST_ADDRESSES: usize = 256;
/// Addresses kept per member; the one that worked longest ago gives way.
pub(super) const MOST_PER_MEMBER: usize = 16;
/// How soon an address that belongs to a connected member may be looked at again: another machine may have got it.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// An address of a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) address: SocketAddr,
    pub(super) source: Source,
    /// When it last led to this member.
    pub(super) worked: Option<Moment>,
    pub(super) looked: Moment,
}

/// An address of unknown owner.
#[derive(Debug)]
pub(super) struct Wanderer {
    pub(super) source: Source,
    pub(super) told: Moment,
    pub(super) next: Moment,
    pub(super) failures: u32,
    pub(super) dialling: bool,
    pub(super) node: Option<NodeKey>,
    pub(super) trouble: Option<Trouble>,
}

impl Links {
    /// Takes note of where `node`, if named, or else somebody may be found.
    pub(crate) fn hint(&mut self, address: SocketAddr, node: Option<NodeKey>, source: Source, now: Moment) {
        let address = plain(address);
        if !may_be_dialled(address, source) {
            return;
        }
        if let Some(node) = node {
            if node != self.me && self.members.contains_key(&node) {
                self.learn(node, address, source, None, now);
                self.hurry(node, now);
            }
            return;
        }
        let owner = self.members.iter().find_map(|(node, member)| {
            let known = member.addresses.iter().position(|known| known.address == address)?;
            Some((*node, known))
        });
        if let Some((node, at)) = owner {
            let connected = self.is_up(node, Role::Control);
            let known = &mut self.members.get_mut(&node).expect("just found").addresses[at];
            let recent = now.since(known.looked) < LOOK_AGAIN;
            if connected && !recent {
                known.looked = now;
            } else {
                if !connected {
                    self.hurry(node, now);
                }
                return;
            }
        }
        let later = if source == Source::Foreign { Duration::from_secs(5) } else { Duration::ZERO };
        match self.strays.get_mut(&address) {
            Some(stray) => {
                stray.told = now;
                stray.source = stray.source.min(source);
                if source == Source::Typed {
                    stray.source = source;
                }
            }
            None => {
                self.make_room();
                let fresh = Wanderer {
                    source,
                    told: now,
                    next: now + later,
                    failures: 0,
                    dialling: false,
                    node: None,
                    trouble: None,
                };
                self.strays.insert(address, fresh);
            }
        }
    }

    /// The addresses of a member, those that worked last first.
    pub(crate) fn addresses(&self, node: NodeKey) -> Vec<SocketAddr> {
        let Some(member) = self.members.get(&node) else { return Vec::new() };
        let mut known = member.addresses.clone();
        known.sort_by_key(|known| std::cmp::Reverse(known.worked));
        known.into_iter().map(|known| known.address).collect()
    }

    /// The addresses that belong to no member.
    pub(crate) fn strays(&self) -> Vec<Stray> {
        let stray = |(address, stray): (&SocketAddr, &Wanderer)| Stray {
            address: *address,
            source: stray.source,
            trouble: stray.trouble,
        };
        self.strays.iter().map(stray).collect()
    }

    /// Whether some member was ever found at `ip`.
    pub(crate) fn knows(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.members.values().flat_map(|member| &member.addresses).any(|known| known.address.ip() == ip)
    }

    pub(super) fn explored(&mut self, address: SocketAddr, trouble: Trouble, now: Moment) {
        let Some(stray) = self.strays.get_mut(&address) else { return };
        if stray.source != Source::Typed && now.since(stray.told) > RECENT {
            self.strays.remove(&address);
            return;
        }
        stray.dialling = false;
        stray.failures = stray.failures.saturating_add(1);
        stray.trouble = Some(trouble);
        let slowest = match (stray.source, trouble) {
            (_, Trouble::Oneself) | (Source::Foreign, _) => SLOWEST_FOREIGN,
            _ => SLOWEST,
        };
        let pause = if trouble == Trouble::Oneself { slowest } else { backoff(stray.failures, slowest) };
        let next = now + self.jittered(pause);
        if let Some(stray) = self.strays.get_mut(&address) {
            stray.next = next;
        }
    }

    pub(super) fn learn(
        &mut self,
        node: NodeKey,
        address: SocketAddr,
        source: Source,
        worked: Option<Moment>,
        now: Moment,
    ) {
        if worked.is_none() && !may_be_dialled(address, source) {
            return;
        }
        if worked.is_some() {
            // It belongs to one node.
            for (_, other) in self.members.iter_mut().filter(|(other, _)| **other != node) {
                other.addresses.retain(|known| known.address != address);
            }
        }
        let Some(member) = self.members.get_mut(&node) else { return };
        if let Some(known) = member.addresses.iter_mut().find(|known| known.address == address) {
            known.worked = worked.or(known.worked);
            known.looked = worked.unwrap_or(known.looked);
            known.source = if source == Source::Typed { source } else { known.source };
            return;
        }
        if member.addresses.len() >= MOST_PER_MEMBER {
            let kept = |known: &Known| (known.source == Source::Typed, known.worked, known.looked);
            let oldest = member.addresses.iter().enumerate().min_by_key(|(_, known)| kept(known)).map(|(at, _)| at);
            oldest.map(|at| member.addresses.swap_remove(at));
        }
        member.addresses.push(Known { address, source, worked, looked: now });
    }

    pub(super) fn make_room(&mut self) {
        if self.strays.len() < MOST_ADDRESSES {
            return;
        }
        let idle = self.strays.iter().filter(|(_, stray)| !stray.dialling);
        let oldest = idle.min_by_key(|(_, stray)| (stray.source == Source::Typed, stray.told)).map(|(at, _)| *at);
        oldest.map(|address| self.strays.remove(&address));
    }
}

/// The same address in one spelling.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether it makes sense to dial `address`.
pub(super) fn may_be_dialled(address: SocketAddr, source: Source) -> bool {
    let ip = address.ip();
    let bad = match ip {
        IpAddr::V4(ip) => ip.is_broadcast(),
        // Link-local addresses need to know their interface, which an address of libp2p cannot say.
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    // Loopback addresses that others tell mean themselves, not us.
    let foreign = ip.is_loopback() && !matches!(source, Source::Typed | Source::Remembered);
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !bad && !foreign
}
