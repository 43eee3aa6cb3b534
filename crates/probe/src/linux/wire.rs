//! The little of D-Bus's message format that asking for one number takes (D-Bus specification 0.42, "Message Protocol").
//!
//! Nothing that comes in makes this panic: what ends early or is of a type not known here is no answer.

/// A question.
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// Strings, at most 255 of them.
    pub(super) arguments: &'a [&'a str],
}

/// The answers that are asked for here, bare or in a variant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    I32(i32),
    U32(u32),
    U64(u64),
    /// Of any other type.
    Other,
}

/// The order of bytes in a number.
#[derive(Clone, Copy)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let four = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Little => u32::from_le_bytes(*four),
            Order::Big => u32::from_be_bytes(*four),
        })
    }

    fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let eight = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Little => u64::from_le_bytes(*eight),
            Order::Big => u64::from_be_bytes(*eight),
        })
    }
}

// Codes of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The bytes of `call`, little-endian. A call of a method that starts no service.
pub(super) fn message(call: &Call<'_>, serial: u32) -> Vec<u8> {
    let mut body = Vec::new();
    for argument in call.arguments {
        string(&mut body, argument);
    }
    let mut fields = Vec::new();
    for (code, kind, text) in [
        (PATH, b'o', call.path),
        (INTERFACE, b's', call.interface),
        (MEMBER, b's', call.member),
        (DESTINATION, b's', call.destination),
    ] {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        string(&mut fields, text);
    }
    if !call.arguments.is_empty() {
        let count = call.arguments.len().min(255);
        pad(&mut fields, 8);
        fields.extend([SIGNATURE, 1, b'g', 0, count as u8]);
        fields.extend(std::iter::repeat_n(b's', count));
        fields.push(0);
    }
    // Little-endian, a call, "start no service", version 1.
    let mut bytes = vec![b'l', 1, 2, 1];
    bytes.extend(length(&body));
    bytes.extend(serial.to_le_bytes());
    bytes.extend(length(&fields));
    // Sixteen bytes so far, so that what is aligned in `fields` is aligned in the message.
    bytes.extend(fields);
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend(length(text.as_bytes()));
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("names and arguments are short").to_le_bytes()
}

/// The serial that a message answers and the types of its body, from its header fields. `None` if they end early.
pub(super) fn header(fields: &[u8], order: Order) -> Option<(Option<u32>, String)> {
    let (mut to, mut signature) = (None, String::new());
    let mut at = 0;
    while at < fields.len() {
        let code = *fields.get(at)?;
        let kind = types(fields, at + 1)?;
        at += 3 + kind.len();
        match kind {
            b"s" | b"o" => {
                at = at.next_multiple_of(4);
                at = at.checked_add(order.u32(fields, at)? as usize)?.checked_add(5)?;
            }
            b"u" => {
                at = at.next_multiple_of(4);
                let number = order.u32(fields, at)?;
                if code == REPLY_SERIAL {
                    to = Some(number);
                }
                at += 4;
            }
            b"g" => {
                let told = types(fields, at)?;
                if code == SIGNATURE {
                    signature = String::from_utf8_lossy(told).into_owned();
                }
                at += 2 + told.len();
            }
            _ => return None,
        }
        at = at.checked_next_multiple_of(8)?;
    }
    Some((to, signature))
}

/// The signature at `at`: its length in one byte, its letters, a zero.
fn types(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let len = usize::from(*bytes.get(at)?);
    bytes.get(at + 1..at + 1 + len)
}

/// The first value of a body of types `signature`.
pub(super) fn value(signature: &str, body: &[u8], order: Order) -> Option<Value> {
    let (kind, at) = match signature.as_bytes().first()? {
        b'v' => {
            let inner = types(body, 0)?;
            (*inner.first()?, 2 + inner.len())
        }
        kind => (*kind, 0),
    };
    match kind {
        b'b' => Some(Value::Bool(order.u32(body, at.next_multiple_of(4))? != 0)),
        b'i' => Some(Value::I32(order.u32(body, at.next_multiple_of(4))?.cast_signed())),
        b'u' => Some(Value::U32(order.u32(body, at.next_multiple_of(4))?)),
        b't' => Some(Value::U64(order.u64(body, at.next_multiple_of(8))?)),
        _ => Some(Value::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'static> =
        Call { destination: "a.b", path: "/a", interface: "a.i", member: "M", arguments: &["x", "yy"] };

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let bytes = message(&CALL, 7);
        let mut expected = vec![b'l', 1, 2, 1, 15, 0, 0, 0, 7, 0, 0, 0, 71, 0, 0, 0];
        expected.extend(b"\x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0");
        expected.extend(b"\x02\x01s\0\x03\0\0\0a.i\0\0\0\0\0");
        expected.extend(b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0");
        expected.extend(b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0");
        expected.extend(b"\x08\x01g\0\x02ss\0");
        expected.extend(b"\x01\0\0\0x\0\0\0\x02\0\0\0yy\0");
        expected[12] = (expected.len() - 16 - 15) as u8;
        assert_eq!(bytes, expected);
    }

    #[test]
    fn answers_are_read_in_either_order_of_bytes() {
        let little = [b"\x01t\0\0\0\0\0\0".as_slice(), &9_u64.to_le_bytes()].concat();
        let big = [b"\x01t\0\0\0\0\0\0".as_slice(), &9_u64.to_be_bytes()].concat();
        for (signature, body, order, expected) in [
            ("t", 9_u64.to_le_bytes().to_vec(), Order::Little, Some(Value::U64(9))),
            ("v", little[..15].to_vec(), Order::Little, None),
            ("v", little, Order::Little, Some(Value::U64(9))),
            ("v", big, Order::Big, Some(Value::U64(9))),
            ("v", b"\x01b\0\0\x01\0\0\0".to_vec(), Order::Little, Some(Value::Bool(true))),
            ("v", b"\x01i\0\0\xff\xff\xff\xff".to_vec(), Order::Little, Some(Value::I32(-1))),
            ("v", b"\x01u\0\0\0\0\0\x04".to_vec(), Order::Big, Some(Value::U32(4))),
            ("v", b"\x01s\0\0\x01\0\0\0a\0".to_vec(), Order::Little, Some(Value::Other)),
            ("v", b"\x01t\0\0".to_vec(), Order::Little, None),
            ("v", b"\xff".to_vec(), Order::Little, None),
            ("", Vec::new(), Order::Little, None),
        ] {
            assert_eq!(value(signature, &body, order), expected, "{signature} {body:?}");
        }
    }

    #[test]
    fn a_header_tells_whom_it_answers() {
        let mut fields = b"\x05\x01u\0\x07\0\0\0".to_vec();
        fields.extend(b"\x07\x01s\0\x03\0\0\0a.b\0\0\0\0\0");
        fields.extend(b"\x08\x01g\0\x01v\0");
        assert_eq!(header(&fields, Order::Little), Some((Some(7), "v".to_owned())));
        for end in 1..fields.len() {
            // Wherever it is cut, nothing panics.
            let _ = header(&fields[..end], Order::Little);
        }
        assert_eq!(header(b"\x05\x01s\0\xff\xff\xff\xff", Order::Little), Some((None, String::new())));
        assert_eq!(header(b"\x05\x02(u\0", Order::Little), None);
    }
}
