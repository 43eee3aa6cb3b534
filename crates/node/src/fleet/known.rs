//! What is known of the fleet at one moment: made by the driver when something changes, read by everybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use membership::Presence;
use mesh::NodeKey;
use proto::wire::Summary;
use proto::{BackendState, NodeId};

/// The fleet as this node knows it.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// This node; `None` while its identity cannot be read.
    pub(crate) me: Option<NodeId>,
    /// What it is called, where somebody named it; else its own setting counts.
    pub(crate) name: Option<Arc<str>>,
    /// The fleet's id and name; `None` for a machine that was never paired.
    pub(crate) fleet: Option<(String, String)>,
    /// Who leads.
    pub(crate) leader: Option<NodeId>,
    /// Since which epoch.
    pub(crate) epoch: u64,
    /// The other members, in the order of their ids.
    pub(crate) others: Vec<Other>,
    /// A machine that knows the code that is shown here, and waits for consent.
    pub(crate) asking: Option<Asking>,
}

/// A machine that waits to be let in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Asking {
    /// Its identity.
    pub(crate) id: String,
    /// What it calls itself.
    pub(crate) name: String,
}

/// Another member.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    pub(crate) id: NodeId,
    pub(crate) name: Arc<str>,
    pub(crate) presence: Presence,
    /// What it last told of itself.
    pub(crate) summary: Option<Arc<Summary>>,
    /// Its inference servers with their models, as far as told. Their addresses mean nothing here.
    pub(crate) backends: Vec<Arc<BackendState>>,
}

impl Other {
    /// Whether it can be reached.
    pub(crate) fn is_here(&self) -> bool {
        self.presence == Presence::Here
    }
}

impl Known {
    /// The members whose models can be listed.
    pub(crate) fn within_reach(&self) -> impl Iterator<Item = &Other> {
        self.others.iter().filter(|other| other.is_here())
    }

    /// The name of a member.
    pub(crate) fn name_of(&self, node: NodeId) -> Option<&Arc<str>> {
        self.others.iter().find(|other| other.id == node).map(|other| &other.name)
    }
}

/// The word for a presence.
pub(crate) fn word(presence: Presence) -> &'static str {
    match presence {
        Presence::Here => "here",
        Presence::Elsewhere => "elsewhere",
        Presence::Left => "left",
        Presence::Gone => "gone",
    }
}

/// The same node, as messages name it.
pub(crate) fn id(key: NodeKey) -> NodeId {
    NodeId::new(key.bytes())
}

/// The same node, as the mesh names it.
pub(crate) fn key(id: NodeId) -> NodeKey {
    NodeKey::from(*id.as_bytes())
}

/// The same role, as membership names it.
pub(crate) fn role(role: mesh::roster::Role) -> proto::Role {
    match role {
        mesh::roster::Role::Admin => proto::Role::Admin,
        mesh::roster::Role::Member => proto::Role::Member,
        mesh::roster::Role::Guest => proto::Role::Guest,
    }
}

/// The word for a role.
pub(crate) fn role_word(role: mesh::roster::Role) -> &'static str {
    match role {
        mesh::roster::Role::Admin => "admin",
        mesh::roster::Role::Member => "member",
        mesh::roster::Role::Guest => "guest",
    }
}

/// Names of members by their ids, with this node's own.
pub(crate) type Names = BTreeMap<NodeId, Arc<str>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_a_node_are_the_same_text() {
        let key = mesh::Identity::from_seed(&[4; 32]).key();
        assert_eq!(id(key).full(), key.to_string());
        assert_eq!(super::key(id(key)), key);
    }
}
