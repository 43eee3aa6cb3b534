//! One signed statement: its meaning, its bytes, its signature.

use minicbor::{Decode, Decoder, Encode, Encoder};
use sha2::{Digest as _, Sha256};

use super::{FleetId, LONGEST_NAME, MOST_STATEMENTS, Role, first_16};
use crate::{Identity, NodeKey};

/// What a signature of ours is for: no other thing that is ever signed starts like this.
const PURPOSE: &[u8] = b"herd roster 1\0";

/// Which statement: the hash of what it says and who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatementId(pub(crate) [u8; 16]);

/// What a statement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The signer begins a fleet and is its first member.
    Found {
        /// The founder's name.
        name: String,
        /// Makes the fleet unlike any other.
        nonce: [u8; 16],
    },
    /// A node is a member.
    Add {
        /// Who.
        node: NodeKey,
        /// Its name.
        name: String,
        /// What it may do.
        role: Role,
        /// Its rank by age; more than the signer's.
        place: u32,
    },
    /// A node is no member any more, for ever.
    Revoke {
        /// Who.
        node: NodeKey,
        /// Which statements of that node stay true.
        keep: Vec<StatementId>,
    },
}

/// A claim with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    fleet: FleetId,
    by: NodeKey,
    claim: Claim,
    signature: [u8; 64],
}

/// Bytes that are no statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a statement about the members of a fleet")]
pub struct BadStatement;

impl Statement {
    /// Signs a claim. A [`Claim::Found`] names its own fleet; others need one.
    pub(super) fn sign(by: &Identity, fleet: Option<FleetId>, claim: Claim) -> Statement {
        let mut statement =
            Statement { fleet: fleet.unwrap_or(FleetId([0; 16])), by: by.key(), claim, signature: [0; 64] };
        let said = statement.said();
        if fleet.is_none() {
            statement.fleet = FleetId(first_16(&Sha256::digest(&said)));
        }
        statement.signature = by.sign(&said);
        statement
    }

    /// Puts a statement together from its parts, whose signature is not checked yet.
    pub(super) fn from_parts(fleet: Option<FleetId>, by: NodeKey, claim: Claim, signature: [u8; 64]) -> Statement {
        let mut statement = Statement { fleet: fleet.unwrap_or(FleetId([0; 16])), by, claim, signature };
        if fleet.is_none() {
            statement.fleet = FleetId(first_16(&Sha256::digest(statement.said())));
        }
        statement
    }

    /// The fleet it is about.
    pub fn fleet(&self) -> FleetId {
        self.fleet
    }

    /// Who says it.
    pub fn by(&self) -> NodeKey {
        self.by
    }

    /// What it says.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Which statement it is. Does not depend on the signature.
    pub fn id(&self) -> StatementId {
        StatementId(first_16(&Sha256::digest(self.said())))
    }

    pub(super) fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Whether whoever it names signed it.
    pub fn is_signed(&self) -> bool {
        self.by.signed(&self.said(), &self.signature)
    }

    /// For other nodes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing into memory does not fail")
    }

    /// From another node. The signature is not checked: [`super::Roster::merge`] does.
    pub fn decode(bytes: &[u8]) -> Result<Statement, BadStatement> {
        let mut decoder = Decoder::new(bytes);
        let statement = decoder.decode().map_err(|_| BadStatement)?;
        if decoder.position() == bytes.len() { Ok(statement) } else { Err(BadStatement) }
    }

    /// The bytes that are signed.
    fn said(&self) -> Vec<u8> {
        let mut bytes = PURPOSE.to_vec();
        let mut encoder = Encoder::new(&mut bytes);
        let Ok(()) = self.write(&mut encoder, false) else { unreachable!("writing into memory does not fail") };
        bytes
    }

    fn write<W: minicbor::encode::Write>(
        &self,
        out: &mut Encoder<W>,
        signed: bool,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        // Numbers are never used for anything else later.
        let (kind, fields) = match &self.claim {
            Claim::Found { .. } => (0_u8, 2),
            Claim::Add { .. } => (1, 5),
            Claim::Revoke { .. } => (2, 3),
        };
        out.map(2 + fields + u64::from(signed))?.u8(0)?.u8(kind)?.u8(1)?.bytes(&self.by.bytes())?;
        match &self.claim {
            Claim::Found { name, nonce } => {
                out.u8(2)?.bytes(nonce)?.u8(4)?.str(name)?;
            }
            Claim::Add { node, name, role, place } => {
                out.u8(2)?.bytes(&self.fleet.0)?.u8(3)?.bytes(&node.bytes())?;
                out.u8(4)?.str(name)?.u8(5)?.u8(role_number(*role))?.u8(6)?.u32(*place)?;
            }
            Claim::Revoke { node, keep } => {
                out.u8(2)?.bytes(&self.fleet.0)?.u8(3)?.bytes(&node.bytes())?;
                out.u8(7)?.array(keep.len() as u64)?;
                for id in keep {
                    out.bytes(&id.0)?;
                }
            }
        }
        if signed {
            out.u8(8)?.bytes(&self.signature)?;
        }
        Ok(())
    }
}

impl<C> Encode<C> for Statement {
    fn encode<W: minicbor::encode::Write>(
        &self,
        out: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        self.write(out, true)
    }
}

impl<'b, C> Decode<'b, C> for Statement {
    fn decode(from: &mut Decoder<'b>, _: &mut C) -> Result<Statement, minicbor::decode::Error> {
        let wrong = minicbor::decode::Error::message;
        let fields = from.map()?.ok_or_else(|| wrong("a map without length"))?;
        let (mut kind, mut by, mut fleet, mut node, mut name) = (None, None, None, None, None);
        let (mut role, mut place, mut keep, mut signature) = (None, None, None, None);
        for _ in 0..fields {
            match from.u8()? {
                0 => kind = Some(from.u8()?),
                1 => by = Some(NodeKey::from(array(from)?)),
                2 => fleet = Some(array(from)?),
                3 => node = Some(NodeKey::from(array(from)?)),
                4 => name = Some(from.str()?).filter(|name| name.len() <= LONGEST_NAME),
                5 => role = Some(from.u8()?),
                6 => place = Some(from.u32()?),
                7 => {
                    let length = from.array()?.filter(|length| *length <= MOST_STATEMENTS as u64);
                    let length = length.ok_or_else(|| wrong("a list that is too long"))?;
                    keep = Some((0..length).map(|_| array(from).map(StatementId)).collect::<Result<Vec<_>, _>>()?);
                }
                8 => signature = Some(array(from)?),
                // What is signed cannot have parts that the reader skips: it would mean something else to others.
                _ => return Err(wrong("an unknown part")),
            }
        }
        let missing = || wrong("a part is missing");
        let name = name.map(str::to_owned);
        let fleet = fleet.ok_or_else(missing)?;
        let (claim, fleet) = match kind.ok_or_else(missing)? {
            0 => (Claim::Found { name: name.ok_or_else(missing)?, nonce: fleet }, None),
            1 => {
                let node = node.ok_or_else(missing)?;
                let role = role.and_then(role_of).ok_or_else(missing)?;
                let place = place.ok_or_else(missing)?;
                (Claim::Add { node, name: name.ok_or_else(missing)?, role, place }, Some(FleetId(fleet)))
            }
            2 => {
                let node = node.ok_or_else(missing)?;
                (Claim::Revoke { node, keep: keep.ok_or_else(missing)? }, Some(FleetId(fleet)))
            }
            _ => return Err(wrong("an unknown kind")),
        };
        let (by, signature) = (by.ok_or_else(missing)?, signature.ok_or_else(missing)?);
        Ok(Statement::from_parts(fleet, by, claim, signature))
    }
}

fn array<const N: usize>(from: &mut Decoder<'_>) -> Result<[u8; N], minicbor::decode::Error> {
    from.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("bytes of another length"))
}

fn role_number(role: Role) -> u8 {
    match role {
        Role::Admin => 0,
        Role::Member => 1,
        Role::Guest => 2,
    }
}

fn role_of(number: u8) -> Option<Role> {
    [Role::Admin, Role::Member, Role::Guest].into_iter().find(|role| role_number(*role) == number)
}
