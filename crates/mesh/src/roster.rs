//! Who belongs to the fleet: a set of signed statements that only grows, and what follows from it. Knows no clock, file or socket.
//!
//! The fleet begins with one statement, [`Claim::Found`], by its first member. Admins add others ([`Claim::Add`]) and remove
//! those who joined after them ([`Claim::Revoke`]); everybody may leave by revoking itself. Nobody needs to agree with
//! anybody first: nodes exchange what they lack, in any order, and equal sets mean equal members.
//!
//! **Seniority** is a number, the [`Member::place`]: the founder has 0, everybody else more than the one who added it. Nobody can
//! revoke a senior, however many join in; a stolen founder is answered by a new fleet.
//!
//! **A stolen admin** can still sign. So a revocation names the statements of the revoked that stay true (all that the
//! revoker knows); any other one by the revoked is void, whenever it claims to be from. A revoked key never comes back.

mod judge;
mod statement;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{Identity, NodeKey, base32};

pub use statement::{BadStatement, Claim, Statement, StatementId};
pub use text::BadRoster;

/// Statements of one fleet, at most. Whatever would make more is refused.
pub const MOST_STATEMENTS: usize = 4096;
/// Bytes of a member's name, at most.
pub const LONGEST_NAME: usize = 64;

/// Which fleet: the hash of its first statement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FleetId(pub(crate) [u8; 16]);

impl FleetId {
    /// The 16 bytes of the id.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(&self.0))
    }
}

impl fmt::Debug for FleetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FleetId({self})")
    }
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Everything, adding and removing members included. What one's own machines are.
    Admin,
    /// Serves and uses, changes nothing.
    Member,
    /// Uses only: serves nobody, never leads, sees no history.
    Guest,
}

/// One member of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: NodeKey,
    /// The name it was added by. Names shown to people may have been changed since.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Its rank by age, the founder's is 0. Two that were added at once in different places have the same.
    pub place: u32,
    /// Who added it; itself for the founder.
    pub by: NodeKey,
}

/// All statements of a fleet that count, and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    fleet: FleetId,
    statements: BTreeMap<StatementId, Statement>,
    members: BTreeMap<NodeKey, Member>,
    revoked: BTreeSet<NodeKey>,
}

/// Why a roster cannot be changed as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The signer is no member, or has no right to change the roster.
    #[error("only an admin of the fleet may do that")]
    NotAnAdmin,
    /// The node to add was removed before.
    #[error(
        "that machine was removed from this fleet before: it needs a new key, which it makes when its data directory is new"
    )]
    WasRevoked,
    /// The node to add is a member.
    #[error("that machine is a member already")]
    IsAMember,
    /// The node to revoke is none.
    #[error("that machine is no member of this fleet")]
    NotAMember,
    /// The node to revoke joined before the signer, or at the same time.
    #[error("that machine joined before this one: only it, or one that joined before it, can remove it")]
    IsSenior,
    /// The name is empty or longer than [`LONGEST_NAME`] bytes, or has control characters.
    #[error("a name has 1 to {LONGEST_NAME} bytes and no control characters")]
    BadName,
    /// There are [`MOST_STATEMENTS`] already.
    #[error("the list of members is full: start a new fleet from it")]
    Full,
}

/// What became of statements from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// How many were new and count.
    pub added: usize,
    /// How many do not count: forged, of another fleet, by somebody without the right to, or too many.
    pub refused: usize,
}

impl Roster {
    /// A new fleet with one member, its founder. `nonce` must be random, so that no two fleets are the same.
    pub fn found(founder: &Identity, name: &str, nonce: [u8; 16]) -> Result<Roster, Refused> {
        check_name(name)?;
        let claim = Claim::Found { name: name.to_owned(), nonce };
        let first = Statement::sign(founder, None, claim);
        let fleet = first.fleet();
        Ok(Roster::of(fleet, [first]))
    }

    /// The fleet that this is the roster of.
    pub fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// The members, in the order of their keys.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One member.
    pub fn member(&self, node: NodeKey) -> Option<&Member> {
        self.members.get(&node)
    }

    /// The keys of all members: those that may be connected.
    pub fn allowed(&self) -> BTreeSet<NodeKey> {
        self.members.keys().copied().collect()
    }

    /// Whether `node` was a member and is none any more, for ever.
    pub fn was_revoked(&self, node: NodeKey) -> bool {
        self.revoked.contains(&node)
    }

    /// A short mark of all statements that count: equal for equal rosters, told to others so that they see whether they lack any.
    pub fn digest(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        for id in self.statements.keys() {
            hash.update(id.0);
        }
        first_16(&hash.finalize())
    }

    /// All statements that count, in a fixed order.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.statements.values()
    }

    /// Adds a member: the statement is signed, and taken in here.
    pub fn add(&mut self, by: &Identity, node: NodeKey, name: &str, role: Role) -> Result<Statement, Refused> {
        let place = self.admin(by.key())?.place + 1;
        check_name(name)?;
        if self.was_revoked(node) {
            return Err(Refused::WasRevoked);
        }
        if self.members.contains_key(&node) {
            return Err(Refused::IsAMember);
        }
        // After all that are known, so that who came first is senior wherever it is looked at.
        let last = self.members.values().map(|member| member.place).max().unwrap_or(0);
        let place = place.max(last.saturating_add(1));
        self.take(Statement::sign(by, Some(self.fleet), Claim::Add { node, name: name.to_owned(), role, place }))
    }

    /// Removes a member that joined after the signer, or the signer itself: the statement is signed, and taken in here.
    pub fn revoke(&mut self, by: &Identity, node: NodeKey) -> Result<Statement, Refused> {
        let target = self.members.get(&node).ok_or(Refused::NotAMember)?;
        if by.key() != node && self.admin(by.key())?.place >= target.place {
            return Err(Refused::IsSenior);
        }
        let theirs = self.statements.iter().filter(|(_, statement)| statement.by() == node);
        let keep = theirs.map(|(id, _)| *id).collect();
        self.take(Statement::sign(by, Some(self.fleet), Claim::Revoke { node, keep }))
    }

    /// Takes in statements from elsewhere, in whatever order. Nothing a stranger, a guest or a removed member signs has any effect.
    pub fn merge(&mut self, statements: impl IntoIterator<Item = Statement>) -> Merged {
        let mut offered = 0;
        let mut all = self.statements.clone();
        for statement in statements {
            let id = statement.id();
            if all.contains_key(&id) {
                continue;
            }
            offered += 1;
            // Twice the limit: enough for what is superseded by what comes with it.
            if statement.fleet() == self.fleet && statement.is_signed() && all.len() < 2 * MOST_STATEMENTS {
                all.insert(id, statement);
            }
        }
        let merged = Roster::of(self.fleet, all.into_values());
        if merged.statements.len() > MOST_STATEMENTS {
            return Merged { added: 0, refused: offered };
        }
        let added = merged.statements.keys().filter(|id| !self.statements.contains_key(id)).count();
        *self = merged;
        Merged { added, refused: offered - added }
    }

    fn take(&mut self, statement: Statement) -> Result<Statement, Refused> {
        if self.statements.len() >= MOST_STATEMENTS {
            return Err(Refused::Full);
        }
        let all = self.statements.values().cloned().chain([statement.clone()]);
        *self = Roster::of(self.fleet, all);
        Ok(statement)
    }

    fn admin(&self, node: NodeKey) -> Result<&Member, Refused> {
        self.members.get(&node).filter(|member| member.role == Role::Admin).ok_or(Refused::NotAnAdmin)
    }

    /// The roster that follows from statements whose signatures are known to be true.
    fn of(fleet: FleetId, statements: impl IntoIterator<Item = Statement>) -> Roster {
        let statements = statements.into_iter().map(|statement| (statement.id(), statement)).collect();
        let judged = judge::judge(fleet, &statements);
        let mut statements = statements;
        statements.retain(|id, _| judged.counts.contains(id));
        Roster { fleet, statements, members: judged.members, revoked: judged.revoked }
    }
}

fn check_name(name: &str) -> Result<(), Refused> {
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
    fits.then_some(()).ok_or(Refused::BadName)
}

fn first_16(hash: &[u8]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}

#[cfg(test)]
mod tests;
