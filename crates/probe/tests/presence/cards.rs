//! Sound cards made of files: programs that record without a sound server.

use std::fs;

use crate::{Program, Seen, nothing};

#[test]
fn who_records_round_the_sound_server_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let around = nothing(dir.path());
    let status = around.sound_cards.join("card1/pcm0c/sub0/status");
    let speaker = around.sound_cards.join("card1/pcm0p/sub0/status");
    for file in [&status, &speaker] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
    }
    fs::write(&speaker, "state: RUNNING\nowner_pid   : 1\n").unwrap();
    fs::write(&status, "closed\n").unwrap();
    let node = around.devices.join("snd/pcmC1D0c");
    fs::create_dir_all(node.parent().unwrap()).unwrap();
    fs::write(&node, "").unwrap();
    let seen = Seen::new(&around);
    seen.microphones(0);

    let program = Program::holding(&node);
    // Opened first, and started a little later without another event.
    fs::write(&status, format!("state: PREPARED\nowner_pid   : {}\n", program.id())).unwrap();
    fs::write(&status, format!("state: RUNNING\nowner_pid   : {}\ntrigger_time: 1.5\n", program.id())).unwrap();
    let holders = seen.microphones(1).microphones.unwrap();
    assert_eq!(holders[0].pid, Some(program.id()));
    assert_eq!(holders[0].device, "card1/pcm0c");
    assert!(!holders[0].app.is_empty());

    fs::write(&status, "closed\n").unwrap();
    drop(program);
    seen.microphones(0);
}
