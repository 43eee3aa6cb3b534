//! Decides which statements count, and who is a member because of them.
//!
//! Authority flows from the founder down: a statement about a node can only come from one with a smaller place, or from the
//! node itself. So nodes are judged in the order of their places, and whoever judges one knows all that can matter for it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Claim, FleetId, Member, Role, Statement, StatementId};
use crate::NodeKey;

#[derive(Default)]
pub(super) struct Judged {
    pub(super) members: BTreeMap<NodeKey, Member>,
    pub(super) revoked: BTreeSet<NodeKey>,
    pub(super) counts: BTreeSet<StatementId>,
}

/// A node that was added rightly, whether or not it was revoked later.
struct Standing {
    member: Member,
    /// Once revoked: which of its statements stay true.
    kept: Option<BTreeSet<StatementId>>,
}

/// A statement that removes somebody: which, by whom, and what it keeps.
type Revocation<'a> = (StatementId, NodeKey, &'a [StatementId]);

pub(super) fn judge(fleet: FleetId, statements: &BTreeMap<StatementId, Statement>) -> Judged {
    let mut judged = Judged::default();
    let mut standing: BTreeMap<NodeKey, Standing> = BTreeMap::new();

    // By place, then by id: the first rightful one about a node counts.
    let mut adds: Vec<(u32, StatementId, Member)> = Vec::new();
    let mut revokes: BTreeMap<NodeKey, Vec<Revocation<'_>>> = BTreeMap::new();
    for (id, statement) in statements.iter().filter(|(_, statement)| statement.fleet() == fleet) {
        let by = statement.by();
        match statement.claim() {
            // That its hash is the fleet's id is what makes it the beginning of this fleet.
            Claim::Found { name, .. } => {
                let member = Member { node: by, name: name.clone(), role: Role::Admin, place: 0, by };
                adds.push((0, *id, member));
            }
            // Place 0 is the founder's alone.
            Claim::Add { place: 0, .. } => {}
            Claim::Add { node, name, role, place } => {
                let member = Member { node: *node, name: name.clone(), role: *role, place: *place, by };
                adds.push((*place, *id, member));
            }
            Claim::Revoke { node, keep } => revokes.entry(*node).or_default().push((*id, by, keep)),
        }
    }
    adds.sort_by_key(|(place, id, _)| (*place, *id));

    for (place, id, member) in adds {
        let node = member.node;
        if standing.contains_key(&node) {
            continue;
        }
        let founds = place == 0;
        // Its signer has a smaller place, so everything about the signer is settled.
        let rightful =
            founds || standing.get(&member.by).is_some_and(|signer| signer.may_say(&id) && signer.member.place < place);
        if !rightful {
            continue;
        }
        judged.counts.insert(id);
        let mut kept = None;
        for (id, by, keep) in revokes.get(&node).into_iter().flatten() {
            let rightful =
                *by == node || standing.get(by).is_some_and(|signer| signer.may_say(id) && signer.member.place < place);
            if rightful {
                judged.counts.insert(*id);
                kept.get_or_insert_with(BTreeSet::new).extend(keep.iter().copied());
            }
        }
        if kept.is_some() {
            judged.revoked.insert(node);
        } else {
            judged.members.insert(node, member.clone());
        }
        standing.insert(node, Standing { member, kept });
    }
    judged
}

impl Standing {
    /// Whether this node had the right to make a statement about another one.
    fn may_say(&self, id: &StatementId) -> bool {
        self.member.role == Role::Admin && self.kept.as_ref().is_none_or(|kept| kept.contains(id))
    }
}
