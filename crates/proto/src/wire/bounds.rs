//! How much a message may hold, and readers that refuse more.

use minicbor::decode::{Decoder, Error};
use minicbor::{Decode, Encoder, encode};

/// Bytes of the longest message; a longer one is refused unread.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Members of the largest fleet.
pub const MAX_MEMBERS: usize = 1024;

/// Bytes of the state that the layers above hand on with [`State`](super::State), at most.
pub const MAX_PAYLOAD: usize = 8 * 1024;

/// Settings of a fleet, at most.
pub const MAX_SETTINGS: usize = 512;

/// Bytes of a setting's name, at most.
pub const MAX_KEY: usize = 128;

/// Bytes of a setting's value, at most.
pub const MAX_VALUE: usize = 4096;

/// A list of at most `N` things.
pub(super) fn list<'b, C, T: Decode<'b, C>, const N: usize>(
    d: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Vec<T>, Error> {
    let at = d.position();
    let too_long = || Error::message(format!("a list of more than {N}")).at(at);
    if d.array()?.is_some_and(|length| length > N as u64) {
        return Err(too_long());
    }
    d.set_position(at);
    let mut things = Vec::new();
    for thing in d.array_iter_with(context)? {
        things.push(thing?);
        if things.len() > N {
            return Err(too_long());
        }
    }
    Ok(things)
}

/// At most `N` bytes.
pub(super) fn bytes<C, const N: usize>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<u8>, Error> {
    let at = d.position();
    let bytes = d.bytes()?;
    if bytes.len() > N {
        return Err(Error::message(format!("{} bytes where {N} may be", bytes.len())).at(at));
    }
    Ok(bytes.to_vec())
}

/// Writes a byte string.
pub(super) fn write_bytes<C, W: encode::Write>(
    bytes: &[u8],
    e: &mut Encoder<W>,
    _: &mut C,
) -> Result<(), encode::Error<W::Error>> {
    e.bytes(bytes)?.ok()
}

/// Text of at most `N` bytes.
pub(super) fn text<C, const N: usize>(d: &mut Decoder<'_>, _: &mut C) -> Result<String, Error> {
    let at = d.position();
    let text = d.str()?;
    if text.len() > N {
        return Err(Error::message(format!("{} bytes of text where {N} may be", text.len())).at(at));
    }
    Ok(text.to_owned())
}
