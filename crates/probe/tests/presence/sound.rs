//! Microphones of a sound server that was started for the occasion.

use std::ffi::CString;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use probe::presence::{Pulse, Surroundings};
use pulseaudio::protocol as speak;

use crate::{Program, Seen, are_here, nothing};

/// A server with one microphone and one loudspeaker, both of thin air.
fn server(home: &Path) -> Program {
    let mut command = Command::new("pulseaudio");
    command
        .args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"])
        .arg(format!("--load=module-native-protocol-unix socket={}", socket(home).display()))
        .arg("--load=module-null-source source_name=mouth description=Mouth")
        .arg("--load=module-null-sink sink_name=ear");
    at_home(&mut command, home);
    Program::start(command.stdout(Stdio::null()))
}

fn at_home(command: &mut Command, home: &Path) {
    for name in ["HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
        command.env(name, home);
    }
    command.env("PULSE_SERVER", format!("unix:{}", socket(home).display()));
    command.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("DISPLAY");
}

/// Where the server leaves the word that lets in.
fn cookie(home: &Path) -> PathBuf {
    home.join("pulse/cookie")
}

fn socket(home: &Path) -> PathBuf {
    home.join("sound")
}

fn around(home: &Path) -> Surroundings {
    // Without the server's word, so that it must know its user by the kernel's.
    let pulse = Pulse { socket: socket(home), cookies: Vec::new() };
    Surroundings { pulse: Some(pulse), ..nothing(home) }
}

fn record(home: &Path, source: &str) -> Program {
    let mut command = Command::new("parec");
    command.args(["--device", source, "--client-name", "caller"]).stdout(Stdio::null());
    at_home(&mut command, home);
    Program::start(&mut command)
}

#[test]
fn who_records_is_seen_until_the_recording_ends() {
    if !are_here(&["pulseaudio", "parec"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let seen = Seen::new(&around(dir.path()));
    // The server comes after the watch, and is found.
    let _server = server(dir.path());
    seen.microphones(0);
    for _ in 0..3 {
        let program = record(dir.path(), "mouth");
        let holders = seen.microphones(1).microphones.unwrap();
        assert_eq!((holders[0].pid, holders[0].device.as_str()), (Some(program.id()), "Mouth"));
        // parec is a link to pacat in some distributions.
        assert!(["parec", "pacat"].contains(&holders[0].app.as_str()), "{holders:?}");
        drop(program);
        seen.microphones(0);
    }
}

#[test]
fn who_listens_to_what_is_played_or_only_measures_loudness_does_not_record() {
    if !are_here(&["pulseaudio", "parec"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let around = around(dir.path());
    let _server = server(dir.path());
    let seen = Seen::new(&around);
    seen.microphones(0);
    let _monitor = record(dir.path(), "ear.monitor");
    let _meter = Client::new(dir.path()).record(|params| {
        // As volume controls do: so few samples that they cannot be listened to.
        params.sample_spec.sample_rate = 25;
        params.flags.peak_detect = true;
    });
    let _paused = Client::new(dir.path()).record(|params| params.flags.start_corked = true);
    let program = record(dir.path(), "mouth");
    // All of them or their changes were seen by now, as events come in order.
    assert_eq!(seen.microphones(1).microphones.unwrap()[0].pid, Some(program.id()));
    drop(program);
    seen.microphones(0);
    let _client = Client::new(dir.path()).record(|_| {});
    assert_eq!(seen.microphones(1).microphones.unwrap()[0].app, "by hand");
}

#[test]
fn this_process_does_not_count_and_a_server_that_came_back_is_found() {
    if !are_here(&["pulseaudio", "parec"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut around = Surroundings { own: std::process::id(), ..around(dir.path()) };
    around.pulse.as_mut().unwrap().cookies = vec![dir.path().join("none"), cookie(dir.path())];
    let first = server(dir.path());
    let seen = Seen::new(&around);
    seen.microphones(0);
    let _child = record(dir.path(), "mouth");
    // A client that does not say which process it is counts.
    let client = Client::new(dir.path()).record(|_| {});
    assert_eq!(seen.microphones(1).microphones.unwrap()[0].app, "by hand");
    drop(client);
    seen.microphones(0);
    drop(first);
    seen.until("no sound server", |evidence| evidence.microphones.is_none());
    let _second = server(dir.path());
    seen.microphones(0);
}

/// A client of the sound server that records in ways that `parec` does not.
struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn new(home: &Path) -> Client {
        let stream = BufReader::new(UnixStream::connect(socket(home)).unwrap());
        let mut client = Client { stream };
        let cookie = std::fs::read(cookie(home)).unwrap();
        let auth = speak::AuthParams { version: 32, supports_shm: false, supports_memfd: false, cookie };
        let _: speak::AuthReply = client.ask(&speak::Command::Auth(auth));
        let mut about = speak::Props::new();
        about.set(speak::Prop::ApplicationName, CString::new("by hand").unwrap());
        let _: speak::SetClientNameReply = client.ask(&speak::Command::SetClientName(about));
        client
    }

    fn record(mut self, how: impl Fn(&mut speak::RecordStreamParams)) -> Client {
        let mut params = speak::RecordStreamParams {
            sample_spec: speak::SampleSpec { format: speak::SampleFormat::S16Le, channels: 1, sample_rate: 44_100 },
            channel_map: speak::ChannelMap::mono(),
            source_name: Some(CString::new("mouth").unwrap()),
            ..Default::default()
        };
        params.props.set(speak::Prop::ApplicationName, CString::new("by hand").unwrap());
        how(&mut params);
        let _: speak::CreateRecordStreamReply = self.ask(&speak::Command::CreateRecordStream(params));
        self
    }

    fn ask<T: speak::CommandReply>(&mut self, command: &speak::Command) -> T {
        speak::write_command_message(self.stream.get_mut(), 1, command, 32).unwrap();
        speak::read_reply_message(&mut self.stream, 32).unwrap().1
    }
}
