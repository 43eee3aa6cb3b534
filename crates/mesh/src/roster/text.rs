//! The file `roster.json`: the statements as JSON that a person can read.

use serde::{Deserialize, Serialize};

use super::{Claim, FleetId, Role, Roster, Statement, StatementId};
use crate::{NodeKey, base32};

/// Bytes of the longest file that is read. 4096 statements have about two million.
const LONGEST: usize = 8 * 1024 * 1024;

/// Why a file is no roster.
#[derive(Debug, thiserror::Error)]
pub enum BadRoster {
    /// It is no JSON of the right shape.
    #[error("the list of members is damaged: {0}")]
    Syntax(serde_json::Error),
    /// A key, an id or a signature is none.
    #[error("the list of members is damaged: `{0}` is not what it should be")]
    Value(String),
    /// Its statements do not say how the fleet began, or the signature of that is wrong.
    #[error("the list of members is damaged: nobody founded the fleet")]
    NoFounder,
    /// It is far longer than any roster.
    #[error("the list of members is too long")]
    TooLong,
}

#[derive(Serialize, Deserialize)]
struct File {
    fleet: String,
    statements: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Says {
    Found { name: String, nonce: String },
    Add { node: String, name: String, role: Written, place: u32 },
    Revoke { node: String, keep: Vec<String> },
}

#[derive(Serialize, Deserialize)]
struct Line {
    by: String,
    #[serde(flatten)]
    says: Says,
    signature: String,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    Admin,
    Member,
    Guest,
}

impl Roster {
    /// The roster as the text of `roster.json`. Equal rosters have equal texts.
    pub fn to_json(&self) -> String {
        let statements = self.statements().map(line).collect();
        let file = File { fleet: self.fleet().to_string(), statements };
        serde_json::to_string_pretty(&file).expect("strings and numbers can be written as JSON")
    }

    /// Reads the text of `roster.json`. Every signature is checked; statements that do not count are left out.
    pub fn from_json(text: &str) -> Result<Roster, BadRoster> {
        if text.len() > LONGEST {
            return Err(BadRoster::TooLong);
        }
        let file: File = serde_json::from_str(text).map_err(BadRoster::Syntax)?;
        let fleet = FleetId(value(&file.fleet)?);
        let statements = file.statements.iter().map(|line| statement(fleet, line)).collect::<Result<Vec<_>, _>>()?;
        Roster::from_statements(fleet, statements).ok_or(BadRoster::NoFounder)
    }

    /// The roster of `fleet` that follows from statements of unknown origin; `None` if none of them founds it.
    pub fn from_statements(fleet: FleetId, statements: impl IntoIterator<Item = Statement>) -> Option<Roster> {
        let mut roster = Roster::of(fleet, []);
        roster.merge(statements);
        (!roster.statements.is_empty()).then_some(roster)
    }
}

fn line(statement: &Statement) -> Line {
    let says = match statement.claim() {
        Claim::Found { name, nonce } => Says::Found { name: name.clone(), nonce: base32::encode(nonce) },
        Claim::Add { node, name, role, place } => {
            let role = match role {
                Role::Admin => Written::Admin,
                Role::Member => Written::Member,
                Role::Guest => Written::Guest,
            };
            Says::Add { node: node.to_string(), name: name.clone(), role, place: *place }
        }
        Claim::Revoke { node, keep } => {
            let keep = keep.iter().map(|id| base32::encode(&id.0)).collect();
            Says::Revoke { node: node.to_string(), keep }
        }
    };
    Line { by: statement.by().to_string(), says, signature: base32::encode(statement.signature()) }
}

fn statement(fleet: FleetId, line: &Line) -> Result<Statement, BadRoster> {
    let (claim, fleet) = match &line.says {
        Says::Found { name, nonce } => (Claim::Found { name: name.clone(), nonce: value(nonce)? }, None),
        Says::Add { node, name, role, place } => {
            let role = match role {
                Written::Admin => Role::Admin,
                Written::Member => Role::Member,
                Written::Guest => Role::Guest,
            };
            let node = NodeKey::from(value(node)?);
            (Claim::Add { node, name: name.clone(), role, place: *place }, Some(fleet))
        }
        Says::Revoke { node, keep } => {
            let keep = keep.iter().map(|id| value(id).map(StatementId)).collect::<Result<_, _>>()?;
            (Claim::Revoke { node: value(node)?.into(), keep }, Some(fleet))
        }
    };
    Ok(Statement::from_parts(fleet, value(&line.by)?.into(), claim, value(&line.signature)?))
}

fn value<const N: usize>(text: &str) -> Result<[u8; N], BadRoster> {
    // At most a line of it: the message is for a person.
    base32::decode(text).ok_or_else(|| BadRoster::Value(text.chars().take(60).collect()))
}
