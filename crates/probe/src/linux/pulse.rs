//! Asks a sound server who records, in PulseAudio's native protocol, which PipeWire speaks too.
//!
//! Reads and writes may take the patience given; messages are bounded, and what cannot be understood ends the connection.

use std::ffi::CString;
use std::fs;
use std::io::{self, Cursor, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use pulseaudio::protocol::{
    AuthParams, AuthReply, Command, CommandReply, Prop, Props, SetClientNameReply, SourceInfo, SourceInfoList,
    SourceOutputInfo, SourceOutputInfoList, SubscriptionMask, read_ack_message, read_reply_message,
    write_command_message,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, UCred, sendmsg};
use rustix::process::{getgid, getpid, getuid};

use crate::presence::Holder;

/// The version of the protocol that is spoken: the first that tells who paused (PulseAudio's `PROTOCOL` file, "19").
const VERSION: u16 = 19;

/// Bytes of a message; more breaks the connection. A stream takes about one thousand.
const MOST_BYTES: u32 = 4 << 20;

/// Bytes of the word that lets in (`PA_NATIVE_COOKIE_LENGTH`).
const COOKIE: usize = 256;

/// Messages that may come before the answer.
const MOST_EVENTS: usize = 4096;

/// `PA_COMMAND_ERROR`, `PA_COMMAND_REPLY`.
const ANSWERS: [u32; 2] = [0, 2];

/// A connection to a sound server, which says when somebody starts or stops to record.
pub(super) struct Server {
    stream: UnixStream,
    version: u16,
    sequence: u32,
    has_changed: bool,
}

/// A stream that records.
pub(super) struct Recorder {
    pub(super) app: String,
    pub(super) pid: Option<u32>,
    pub(super) device: String,
}

impl Server {
    pub(super) fn connect(at: &crate::presence::Pulse, patience: Duration) -> io::Result<Server> {
        let stream = UnixStream::connect(&at.socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut server = Server { stream, version: VERSION, sequence: 0, has_changed: false };
        // Who has none sends an empty word, and the kernel's with it.
        let cookie = at.cookies.iter().find_map(|path| fs::read(path).ok()).filter(|cookie| cookie.len() == COOKIE);
        let cookie = cookie.unwrap_or_else(|| vec![0; COOKIE]);
        let auth = AuthParams { version: VERSION, supports_shm: false, supports_memfd: false, cookie };
        let told: AuthReply = server.ask(&Command::Auth(auth))?;
        server.version = VERSION.min(told.version);
        let mut about = Props::new();
        about.set(Prop::ApplicationName, CString::new("Herd")?);
        let _: SetClientNameReply = server.ask(&Command::SetClientName(about))?;
        let agreed = server.send(&Command::Subscribe(SubscriptionMask::SOURCE_OUTPUT))?;
        read_ack_message(&mut Cursor::new(agreed)).map_err(io::Error::other)?;
        Ok(server)
    }

    /// Who records from something that is no monitor of what is played.
    pub(super) fn recorders(&mut self) -> io::Result<Vec<Recorder>> {
        self.has_changed = false;
        let mut outputs: SourceOutputInfoList = self.ask(&Command::GetSourceOutputInfoList)?;
        outputs.retain(records);
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        let sources: SourceInfoList = self.ask(&Command::GetSourceInfoList)?;
        let source_of = |output: &SourceOutputInfo| sources.iter().find(|source| source.index == output.source_index);
        Ok(outputs
            .iter()
            .map(|output| (output, source_of(output)))
            .filter(|(_, source)| !source.is_some_and(is_monitor))
            .map(|(output, source)| recorder(output, source))
            .collect())
    }

    /// Whether somebody started or stopped to record since the last question.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Reads one event. To be called when the connection is readable.
    pub(super) fn hear(&mut self) -> io::Result<()> {
        self.receive().map(|_| self.has_changed = true)
    }

    fn ask<T: CommandReply>(&mut self, command: &Command) -> io::Result<T> {
        let answer = self.send(command)?;
        let (_, reply) = read_reply_message(&mut Cursor::new(answer), self.version).map_err(io::Error::other)?;
        Ok(reply)
    }

    /// Sends `command` and waits for the message that answers it.
    fn send(&mut self, command: &Command) -> io::Result<Vec<u8>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut question = Vec::new();
        write_command_message(&mut question, self.sequence, command, self.version).map_err(io::Error::other)?;
        let sent = match command {
            Command::Auth(_) => with_credentials(&self.stream, &question)?,
            _ => 0,
        };
        self.stream.write_all(&question[sent..])?;
        for _ in 0..MOST_EVENTS {
            let answer = self.receive()?;
            if is_answer(&answer, self.sequence) {
                return Ok(answer);
            }
            self.has_changed = true;
        }
        Err(io::Error::other("no answer among many events"))
    }

    /// One whole message, with its head.
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 20];
        self.stream.read_exact(&mut bytes)?;
        let length = bytes.first_chunk().map_or(u32::MAX, |word| u32::from_be_bytes(*word));
        if length > MOST_BYTES {
            return Err(io::Error::other("a message too large"));
        }
        // What is made room for is what comes.
        (&self.stream).take(length.into()).read_to_end(&mut bytes)?;
        if bytes.len() < 20 + length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Sends `bytes`, or some of them, with the kernel's word for who sends: how a server knows a program of the same user
/// that has no cookie.
fn with_credentials(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut besides = SendAncillaryBuffer::new(&mut space);
    let me = UCred { pid: getpid(), uid: getuid(), gid: getgid() };
    besides.push(SendAncillaryMessage::ScmCredentials(me));
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut besides, SendFlags::NOSIGNAL)?)
}

/// Whether `message` answers question `sequence`. Behind its head it starts with two numbers, each behind the letter of its
/// type.
fn is_answer(message: &[u8], sequence: u32) -> bool {
    let word = |at: usize| Some(u32::from_be_bytes(*message.get(at..)?.first_chunk()?));
    word(21).is_some_and(|command| ANSWERS.contains(&command)) && word(26) == Some(sequence)
}

/// Whether it is a program that records now: not paused, no part of the server itself, and no meter of loudness.
fn records(output: &SourceOutputInfo) -> bool {
    let method = output.resample_method.as_deref().map(std::ffi::CStr::to_bytes);
    let is_meter = method == Some(b"peaks") || text(&output.props, Prop::MediaName) == "Peak detect";
    !output.corked && !is_meter && output.client_index.is_some()
}

fn is_monitor(source: &SourceInfo) -> bool {
    source.monitor_of_sink_index.is_some() || source.name.to_bytes().ends_with(b".monitor")
}

fn recorder(output: &SourceOutputInfo, source: Option<&SourceInfo>) -> Recorder {
    let names = [Prop::ApplicationProcessBinary, Prop::ApplicationName].map(|key| text(&output.props, key));
    let app = names.into_iter().find(|name| !name.is_empty());
    let device =
        source.map(|source| source.description.as_ref().unwrap_or(&source.name).to_string_lossy().into_owned());
    Recorder {
        app: app.unwrap_or_else(|| output.name.to_string_lossy().into_owned()),
        pid: text(&output.props, Prop::ApplicationProcessId).parse().ok(),
        device: device.unwrap_or_default(),
    }
}

fn text(about: &Props, key: Prop) -> String {
    let bytes = about.get(key).unwrap_or_default();
    String::from_utf8_lossy(bytes).trim_matches(['\0', ' ']).to_owned()
}

impl From<Recorder> for Holder {
    fn from(recorder: Recorder) -> Holder {
        Holder::new(&recorder.app, recorder.pid, &recorder.device)
    }
}
