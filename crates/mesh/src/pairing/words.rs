//! What two machines say to each other while they are paired. Numbers are never used for anything else later.

use minicbor::{Decode, Encode};

/// The versions of pairing that this program speaks.
pub(super) const VERSIONS: (u16, u16) = (1, 1);

/// Said in clear, before both have proved that they know the code.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Clear {
    /// The joiner begins.
    #[n(0)]
    #[cbor(map)]
    Knock {
        #[n(0)]
        min: u16,
        #[n(1)]
        max: u16,
        /// Its half of SPAKE2.
        #[cbor(n(2), with = "minicbor::bytes")]
        share: Vec<u8>,
    },
    /// The other half.
    #[n(1)]
    #[cbor(map)]
    Share {
        #[n(0)]
        version: u16,
        #[cbor(n(1), with = "minicbor::bytes")]
        share: Vec<u8>,
    },
    /// Shows that the code was the same.
    #[n(2)]
    #[cbor(map)]
    Proof {
        #[cbor(n(0), with = "minicbor::bytes")]
        proof: Vec<u8>,
    },
    /// It ends here.
    #[n(3)]
    #[cbor(map)]
    Sorry {
        #[n(0)]
        why: u8,
        #[n(1)]
        tries_left: u8,
    },
}

/// Said encrypted, by machines that know the same code.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Sealed {
    /// The joiner says who it is, and proves it.
    #[n(0)]
    #[cbor(map)]
    Introduction {
        #[cbor(n(0), with = "minicbor::bytes")]
        node: Vec<u8>,
        #[n(1)]
        name: String,
        /// By the joiner's key, over this very conversation.
        #[cbor(n(2), with = "minicbor::bytes")]
        signature: Vec<u8>,
    },
    /// The fleet, handed over.
    #[n(1)]
    #[cbor(map)]
    Welcome {
        #[cbor(n(0), with = "minicbor::bytes")]
        fleet: Vec<u8>,
        #[n(1)]
        name: String,
        #[n(2)]
        secrets: Vec<minicbor::bytes::ByteVec>,
        #[n(3)]
        statements: Vec<minicbor::bytes::ByteVec>,
        /// Where members may be found, as "key address".
        #[n(4)]
        addresses: Vec<String>,
    },
    /// The joiner has it all, safely.
    #[n(2)]
    #[cbor(map)]
    Done {},
    /// It ends here.
    #[n(3)]
    #[cbor(map)]
    Sorry {
        #[n(0)]
        why: u8,
    },
    /// Somebody is being asked; nothing is wrong.
    #[n(4)]
    #[cbor(map)]
    Wait {},
}

/// Why a machine says sorry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    WrongCode,
    Busy,
    Version,
    Refused,
    TooManyTries,
    Expired,
    Other,
}

impl Why {
    const ALL: [(u8, Why); 6] = [
        (1, Why::WrongCode),
        (2, Why::Busy),
        (3, Why::Version),
        (4, Why::Refused),
        (5, Why::TooManyTries),
        (6, Why::Expired),
    ];

    pub(super) fn number(self) -> u8 {
        Why::ALL.iter().find(|(_, why)| *why == self).map_or(0, |(number, _)| *number)
    }

    pub(super) fn of(number: u8) -> Why {
        Why::ALL.iter().find(|(known, _)| *known == number).map_or(Why::Other, |(_, why)| *why)
    }
}
