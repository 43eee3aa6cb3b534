//! What nodes remember for each other: rows of their journals, asked for with a [`Vector`] and answered with a [`Batch`].
//!
//! A journal is what one node recorded into one database, numbered from 1. The cells of an entry are numbered by whoever
//! keeps them (the crate `store`), which skips numbers that it does not know. Prompts and answers are in none of them.

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use super::Unreadable;
use super::bounds::{list, text};

/// Journals that one node remembers, at most.
pub const MAX_JOURNALS: usize = 512;

/// Bytes of a [`Vector`], at most.
pub const MAX_VECTOR: usize = 64 * 1024;

/// Bytes of a [`Batch`], at most.
pub const MAX_BATCH: usize = 512 * 1024;

/// Entries of a [`Batch`], at most.
pub const MAX_ENTRIES: usize = 4096;

/// Cells of an [`Entry`], at most.
pub const MAX_CELLS: usize = 64;

/// Bytes of what names a node, at most.
const MAX_DOOR: usize = 64;

/// What a node remembers: of each journal everything up to a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Vector {
    /// One per journal, in the order of their doors and numbers.
    #[cbor(n(0), default, decode_with = "list::<Ctx, Held, MAX_JOURNALS>")]
    pub journals: Vec<Held>,
}

/// How much of one journal a node has.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct Held {
    /// The identity of the node that writes it.
    #[cbor(n(0), default, decode_with = "text::<Ctx, MAX_DOOR>")]
    pub door: String,
    /// Tells its journals apart.
    #[cbor(n(1), default)]
    pub journal: u64,
    /// All entries up to this one are held, or were and are too old now.
    #[cbor(n(2), default)]
    pub through: u64,
}

/// Entries that somebody lacks.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Batch {
    /// At most one per journal.
    #[cbor(n(0), default, decode_with = "list::<Ctx, Run, MAX_JOURNALS>")]
    pub runs: Vec<Run>,
    /// Whether there is more: ask again.
    #[cbor(n(1), default)]
    pub more: bool,
}

/// Entries of one journal.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Run {
    /// The identity of the node that writes the journal.
    #[cbor(n(0), default, decode_with = "text::<Ctx, MAX_DOOR>")]
    pub door: String,
    /// What that node is called.
    #[cbor(n(1), default, decode_with = "text::<Ctx, 256>")]
    pub name: String,
    /// Tells its journals apart.
    #[cbor(n(2), default)]
    pub journal: u64,
    /// The entries after this one …
    #[cbor(n(3), default)]
    pub after: u64,
    /// … up to this one: those that are not here are of no use any more.
    #[cbor(n(4), default)]
    pub through: u64,
    /// In the order of their numbers; at most [`MAX_ENTRIES`].
    #[cbor(n(5), default, decode_with = "list::<Ctx, Entry, MAX_ENTRIES>")]
    pub entries: Vec<Entry>,
}

/// One entry of a journal.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// Its number.
    #[cbor(n(0), default)]
    pub seq: u64,
    /// What it is: 0 a request, 1 an hour's sums. Others are skipped.
    #[cbor(n(1), default)]
    pub kind: u8,
    /// What it says.
    #[cbor(n(2), default)]
    pub cells: Cells,
}

/// The cells of an entry, by number; at most [`MAX_CELLS`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cells(pub Vec<(u16, Cell)>);

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// Text.
    Text(String),
}

impl Vector {
    /// As bytes: at most [`MAX_VECTOR`] while there are no more than [`MAX_JOURNALS`].
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory cannot fail")
    }

    /// Reads what another node sent.
    ///
    /// # Errors
    /// It is too long, or no vector.
    pub fn decode(bytes: &[u8]) -> Result<Vector, Unreadable> {
        bounded(bytes, MAX_VECTOR)
    }

    /// Tells vectors apart: equal ones have the same number on every machine, different ones hardly ever.
    pub fn digest(&self) -> u64 {
        self.journals.iter().filter(|held| held.through > 0).fold(0, |sum: u64, held| {
            let name = held.door.bytes().chain(held.journal.to_be_bytes());
            // FNV-1a, then the mixer of SplitMix64: what counts is that a change of any one entry shows.
            let hash = name
                .chain(held.through.to_be_bytes())
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            sum.wrapping_add(mixed ^ (mixed >> 31))
        })
    }
}

impl Batch {
    /// As bytes. Who makes it keeps it within [`MAX_BATCH`].
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to memory cannot fail")
    }

    /// Reads what another node sent.
    ///
    /// # Errors
    /// It is too long, or no batch.
    pub fn decode(bytes: &[u8]) -> Result<Batch, Unreadable> {
        bounded(bytes, MAX_BATCH)
    }
}

impl Entry {
    /// The bytes that it takes in a [`Batch`].
    pub fn length(&self) -> usize {
        minicbor::to_vec(self).map_or(0, |bytes| bytes.len())
    }
}

fn bounded<'b, T: Decode<'b, ()>>(bytes: &'b [u8], most: usize) -> Result<T, Unreadable> {
    if bytes.len() > most {
        return Err(Unreadable(format!("{} bytes where {most} may be", bytes.len())));
    }
    minicbor::decode(bytes).map_err(|error| Unreadable(error.to_string()))
}

impl<C> Encode<C> for Cells {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.map(self.0.len() as u64)?;
        for (number, cell) in &self.0 {
            e.u16(*number)?;
            match cell {
                Cell::Integer(number) => e.i64(*number)?,
                Cell::Real(number) => e.f64(*number)?,
                Cell::Text(text) => e.str(text)?,
            };
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for Cells {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Cells, DecodeError> {
        let at = d.position();
        let mut cells = Vec::new();
        let length = d.map()?;
        let mut count = 0;
        while length.is_none_or(|length| count < length) {
            if length.is_none() && d.datatype()? == Type::Break {
                d.set_position(d.position() + 1);
                break;
            }
            count += 1;
            if count > MAX_CELLS as u64 {
                return Err(DecodeError::message(format!("more than {MAX_CELLS} cells")).at(at));
            }
            let number = d.u64()?;
            if let (Some(cell), Ok(number)) = (cell(d)?, u16::try_from(number)) {
                cells.push((number, cell));
            }
        }
        Ok(Cells(cells))
    }
}

/// The next value, where it is of a type that cells have; any other is skipped.
fn cell(d: &mut Decoder<'_>) -> Result<Option<Cell>, DecodeError> {
    let cell = match d.datatype()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
            let number = i128::from(d.int()?);
            // As the nearest number that can be kept.
            let bounds = (i128::from(i64::MIN), i128::from(i64::MAX));
            Cell::Integer(i64::try_from(number.clamp(bounds.0, bounds.1)).unwrap_or(0))
        }
        Type::F32 | Type::F64 => Cell::Real(d.f64()?),
        Type::String => Cell::Text(d.str()?.to_owned()),
        _ => {
            d.skip()?;
            return Ok(None);
        }
    };
    Ok(Some(cell))
}
