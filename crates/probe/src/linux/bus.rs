//! Connections to a message bus, for asking for one number or holding one thing (D-Bus specification 0.42,
//! "Authentication Protocol").
//!
//! Small on purpose: a few questions each few seconds are worth no library with threads of its own. Calls block for at
//! most the patience given per read; whatever the other side sends, messages are bounded and nothing panics.

use std::ffi::OsString;
use std::io::{self, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::wire::{Call, Order, Value, header, message, value};

/// How long a bus may take. Services answer in well under a millisecond; on a machine that is worked hard, later.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of a message's header fields or body; more breaks the connection.
const MOST_BYTES: usize = 64 * 1024;

/// Messages for others (signals) that may come before the answer.
const MOST_STRANGERS: usize = 32;

/// Descriptors that one read may bring; the kernel closes those beyond.
const MOST_DESCRIPTORS: usize = 4;

/// A connection that has been let in.
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// What came with the messages since the last question.
    descriptors: Vec<OwnedFd>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The bus or the service said no: nobody there, no such thing.
    Declined,
    /// The connection is of no more use.
    #[expect(dead_code, reason = "for the reader of a failed test")]
    Broken(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Broken(error)
    }
}

impl Bus {
    /// Connects to the first of the addresses that is a socket here. Each read and write may take `patience`.
    pub(super) fn connect(address: &str, patience: Duration) -> Result<Bus, Refusal> {
        Bus::open(address, patience, false)
    }

    /// Connects like [`Bus::connect`], to a bus that passes descriptors on.
    pub(super) fn connect_for_descriptors(address: &str, patience: Duration) -> Result<Bus, Refusal> {
        Bus::open(address, patience, true)
    }

    fn open(address: &str, patience: Duration, descriptors: bool) -> Result<Bus, Refusal> {
        let address = address.split(';').find_map(socket).ok_or_else(|| broken("no address of a socket"))?;
        let stream = UnixStream::connect_addr(&address)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut bus = Bus { stream, serial: 0, descriptors: Vec::new() };
        bus.authenticate()?;
        if descriptors {
            bus.stream.write_all(b"NEGOTIATE_UNIX_FD\r\n")?;
            if !bus.line()?.starts_with(b"AGREE_UNIX_FD") {
                return Err(broken("no descriptors are passed on").into());
            }
        }
        bus.stream.write_all(b"BEGIN\r\n")?;
        bus.ask(&Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            arguments: &[],
        })?;
        Ok(bus)
    }

    /// "I am this user", which the other side checks with the kernel.
    fn authenticate(&mut self) -> io::Result<()> {
        let user: String =
            rustix::process::geteuid().as_raw().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        self.stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        if !self.line()?.starts_with(b"OK ") {
            return Err(broken("not let in"));
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.push(byte[0]);
            if line.len() > 256 {
                return Err(broken("a line without end"));
            }
        }
        Ok(line)
    }

    /// Sends `call` and waits for its answer. Starts no service.
    pub(super) fn ask(&mut self, call: &Call<'_>) -> Result<Value, Refusal> {
        self.descriptors.clear();
        self.serial = self.serial.wrapping_add(1).max(1);
        self.stream.write_all(&message(call, self.serial))?;
        for _ in 0..MOST_STRANGERS {
            let answer = self.receive()?;
            if answer.to == Some(self.serial) {
                return match answer.kind {
                    2 => Ok(value(&answer.signature, &answer.body, answer.order).unwrap_or(Value::Other)),
                    _ => Err(Refusal::Declined),
                };
            }
        }
        Err(broken("no answer among many messages").into())
    }

    /// Sends `call`, whose answer is a descriptor.
    pub(super) fn ask_for_descriptor(&mut self, call: &Call<'_>) -> Result<OwnedFd, Refusal> {
        self.ask(call)?;
        self.descriptors.pop().ok_or(Refusal::Declined)
    }

    /// Reads as many bytes as `buffer` takes, and keeps what comes with them.
    fn fill(&mut self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut besides = RecvAncillaryBuffer::new(&mut space);
            let read =
                match recvmsg(&self.stream, &mut [IoSliceMut::new(buffer)], &mut besides, RecvFlags::CMSG_CLOEXEC) {
                    Ok(received) => received.bytes,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                };
            for passed in besides.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = passed {
                    self.descriptors.extend(descriptors);
                    // A bus that floods gets the flood closed.
                    self.descriptors.truncate(MOST_DESCRIPTORS);
                }
            }
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[read..];
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<Message> {
        let mut head = [0; 16];
        self.fill(&mut head)?;
        let order = match head[0] {
            b'l' => Order::Little,
            b'B' => Order::Big,
            _ => return Err(broken("no message")),
        };
        let word = |at: usize| order.u32(&head, at).map_or(usize::MAX, |word| word as usize);
        let (fields_len, body_len) = (word(12), word(4));
        if fields_len > MOST_BYTES || body_len > MOST_BYTES {
            return Err(broken("a message too large"));
        }
        let mut fields = vec![0; fields_len.next_multiple_of(8)];
        self.fill(&mut fields)?;
        fields.truncate(fields_len);
        let mut body = vec![0; body_len];
        self.fill(&mut body)?;
        let (to, signature) = header(&fields, order).ok_or_else(|| broken("a header that ends early"))?;
        Ok(Message { kind: head[1], order, to, signature, body })
    }
}

/// A bus that is connected to when it is first needed, and again after it was lost.
pub(super) struct Line {
    address: Option<String>,
    patience: Duration,
    bus: Option<Bus>,
}

impl Line {
    pub(super) fn new(address: Option<String>, patience: Duration) -> Line {
        Line { address, patience, bus: None }
    }

    /// The answer; `None` for every reason not to have one.
    pub(super) fn ask(&mut self, call: &Call<'_>) -> Option<Value> {
        if self.bus.is_none() {
            self.bus = Some(Bus::connect(self.address.as_deref()?, self.patience).ok()?);
        }
        match self.bus.as_mut()?.ask(call) {
            Ok(value) => Some(value),
            Err(Refusal::Declined) => None,
            Err(Refusal::Broken(_)) => {
                self.bus = None;
                None
            }
        }
    }
}

/// A message that came in.
struct Message {
    /// 2 is an answer, 3 an error.
    kind: u8,
    order: Order,
    /// The serial that it answers.
    to: Option<u32>,
    signature: String,
    body: Vec<u8>,
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The socket of one address, like `unix:path=/run/dbus/system_bus_socket` or `unix:abstract=name,guid=…`.
fn socket(address: &str) -> Option<SocketAddr> {
    let keys = address.strip_prefix("unix:")?;
    keys.split(',').find_map(|key| match key.split_once('=')? {
        ("path", path) => SocketAddr::from_pathname(unescaped(path)?).ok(),
        ("abstract", name) => SocketAddr::from_abstract_name(unescaped(name)?.as_encoded_bytes()).ok(),
        _ => None,
    })
}

/// Undoes `%2f`.
fn unescaped(text: &str) -> Option<OsString> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Some(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_sockets_are_read() {
        for (address, path) in [
            ("unix:path=/run/user/1000/bus", Some("/run/user/1000/bus")),
            ("unix:path=/tmp/a%20b,guid=0f", Some("/tmp/a b")),
            ("unix:guid=0f,path=/x", Some("/x")),
            ("unix:path=/x%", None),
            ("unix:path=/x%zz", None),
            ("unix:path=/a%00b", None),
            ("tcp:host=localhost,port=1", None),
            ("unix:runtime=yes", None),
            ("", None),
        ] {
            let found = socket(address).and_then(|found| Some(found.as_pathname()?.to_str()?.to_owned()));
            assert_eq!(found.as_deref(), path, "{address}");
        }
        let found = socket("unix:abstract=/tmp/dbus-x,guid=0f").unwrap();
        assert_eq!(found.as_abstract_name(), Some(&b"/tmp/dbus-x"[..]));
    }
}
