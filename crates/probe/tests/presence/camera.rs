//! Cameras made of files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::{Program, Seen, nothing};

#[test]
fn who_holds_a_camera_is_seen_until_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let around = nothing(dir.path());
    let camera = around.devices.join("video0");
    fs::write(&camera, "").unwrap();
    fs::write(around.devices.join("null"), "").unwrap();
    let seen = Seen::new(&around);
    seen.cameras(0);
    for _ in 0..3 {
        let program = Program::holding(&camera);
        let holders = seen.cameras(1).cameras.unwrap();
        assert_eq!(holders[0].pid, Some(program.id()));
        assert_eq!(holders[0].device, fs::canonicalize(&camera).unwrap().to_str().unwrap());
        assert!(!holders[0].app.is_empty());
        drop(program);
        seen.cameras(0);
    }
}

#[test]
fn a_camera_that_comes_later_is_watched_too() {
    let dir = tempfile::tempdir().unwrap();
    let around = nothing(dir.path());
    let seen = Seen::new(&around);
    seen.cameras(0);
    let camera = around.devices.join("video7");
    fs::write(&camera, "").unwrap();
    let _program = Program::holding(&camera);
    seen.cameras(1);
    fs::remove_file(&camera).unwrap();
    seen.cameras(0);
}

#[test]
fn two_programs_are_two_and_a_program_with_children_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let around = nothing(dir.path());
    let camera = around.devices.join("video0");
    fs::write(&camera, "").unwrap();
    let seen = Seen::new(&around);
    let script = "exec 3<\"$1\"; sleep 600 & echo $!; wait";
    let mut family = Command::new("sh");
    family.args(["-c", script, "sh"]).arg(&camera).stdout(Stdio::piped());
    let mut family = Program::start(&mut family);
    let mut line = String::new();
    BufReader::new(family.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let single = Program::holding(&camera);
    let holders = seen.cameras(2).cameras.unwrap();
    let mut ids: Vec<_> = holders.iter().filter_map(|holder| holder.pid).collect();
    ids.sort_unstable();
    let mut expected = [family.id(), single.id()];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    // The parent ends, and the child still holds the camera.
    let heir = line.trim().parse().unwrap();
    drop(family);
    let camera = around.devices.join("video1");
    fs::write(&camera, "").unwrap();
    seen.until("the heir", |evidence| {
        evidence.cameras.as_ref().is_some_and(|holders| holders.iter().any(|holder| holder.pid == Some(heir)))
    });
    kill(heir);
    seen.cameras(1);
}

#[test]
fn this_process_and_its_children_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut around = nothing(dir.path());
    let camera = around.devices.join("video0");
    fs::write(&camera, "").unwrap();
    let _mine = fs::File::open(&camera).unwrap();
    let _child = Program::holding(&camera);
    around.own = std::process::id();
    let seen = Seen::new(&around);
    seen.cameras(0);
    // Somebody whose parent ended is nobody's child here.
    let script = "sleep 600 <\"$1\" >/dev/null 2>&1 & echo $!";
    let told = Command::new("sh").args(["-c", script, "sh"]).arg(&camera).output().unwrap();
    let orphan = String::from_utf8(told.stdout).unwrap().trim().parse().unwrap();
    let holders = seen.cameras(1).cameras.unwrap();
    kill(orphan);
    assert_eq!(holders[0].pid, Some(orphan));
    seen.cameras(0);
}

#[test]
fn a_chip_that_decodes_films_is_no_camera() {
    let dir = tempfile::tempdir().unwrap();
    let around = nothing(dir.path());
    for (says, held) in
        [("E:ID_V4L_PRODUCT=codec\nE:ID_V4L_CAPABILITIES=:\n", 0), ("E:ID_V4L_CAPABILITIES=:capture:\n", 1)]
    {
        let about = around.system.join("run/udev/data");
        fs::create_dir_all(&about).unwrap();
        // Files of a disk have the number 0:0.
        fs::write(about.join("c0:0"), says).unwrap();
        let node = around.devices.join("video0");
        fs::write(&node, "").unwrap();
        let _program = Program::holding(&node);
        Seen::new(&around).cameras(held);
    }
}

#[test]
fn a_sound_server_that_holds_a_camera_shows_nobody_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let around = nothing(dir.path());
    let camera = around.devices.join("video0");
    fs::write(&camera, "").unwrap();
    let server = dir.path().join("pipewire");
    let sleep = Command::new("which").arg("sleep").output().unwrap().stdout;
    fs::copy(String::from_utf8(sleep).unwrap().trim(), &server).unwrap();
    let seen = Seen::new(&around);
    seen.cameras(0);
    let _server = Program::run(&server, &camera);
    let program = Program::holding(&camera);
    assert_eq!(seen.cameras(1).cameras.unwrap()[0].pid, Some(program.id()));
}

#[test]
fn a_machine_that_shows_no_devices_or_no_processes_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut around = nothing(dir.path());
    fs::write(around.devices.join("video0"), "").unwrap();
    around.processes = dir.path().join("none");
    around.system.push("none");
    // The slow look says that mains are not known either, so nothing is a change.
    let seen = Seen::new(&around);
    assert!(seen.changes.recv_timeout(std::time::Duration::from_millis(500)).is_err());
    assert_eq!(seen.watch.evidence(), probe::presence::Evidence::default());
}

fn kill(process: u32) {
    let process = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
}
