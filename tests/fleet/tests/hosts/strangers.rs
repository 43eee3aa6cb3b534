//! Somebody on the same network who is not of the fleet: finds one port, and behind it nothing.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use fleet_tests::hosts::{Home, Lan, Programs, Space, open_ports, open_udp_ports};

/// The mesh's port.
const MESH: u16 = 11441;
/// How long a stranger may hold a connection.
const HELD: Duration = Duration::from_secs(20);

/// What strangers say.
fn openings() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x13/multistream/1.0.0\n".to_vec(),
        b"\x13/multistream/1.0.0\n\x03ls\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0; 4096],
        (0..4096_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
    ]
}

/// What is answered to `said` until the other end hangs up; nothing is said after it.
fn answer(address: &str, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HELD)).unwrap();
    // The other end may hang up before all was said.
    let _ = stream.write_all(said);
    let mut heard = Vec::new();
    let ended = stream.read_to_end(&mut heard);
    let timed_out = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!timed_out, "{:?}: not hung up on after {HELD:?}", String::from_utf8_lossy(said));
    heard
}

/// What is answered to each of `openings`, all said at once.
fn answers(stranger: &Space, address: &str, openings: Vec<Vec<u8>>) -> Vec<(String, Vec<u8>)> {
    stranger.inside(|| {
        std::thread::scope(|scope| {
            let asked: Vec<_> = openings
                .into_iter()
                .map(|said| (String::from_utf8_lossy(&said).into_owned(), scope.spawn(move || answer(address, &said))))
                .collect();
            asked.into_iter().map(|(said, heard)| (said, heard.join().unwrap())).collect()
        })
    })
}

#[test]
fn a_stranger_finds_one_port_and_hears_nothing() {
    // The third has no Herd: it is the stranger.
    let Some(mut home) = Home::new(3, &Programs::built()) else { return };
    let stranger = home.lan.space(3).clone();
    let address = Lan::address(1);
    for number in [1, 2] {
        home.host_mut(number).start();
        home.host_mut(number).is_up_soon();
    }
    assert_eq!(open_ports(&stranger, &address), BTreeSet::new(), "a machine without a fleet");
    let (shown, joined) = home.pair(1, 2);
    assert_eq!((shown.code, joined.code), (Some(0), Some(0)), "{shown:?} {joined:?}");
    home.agree_soon(&[1, 2]);
    assert_eq!(open_ports(&stranger, &address), BTreeSet::from([MESH]));
    let udp = open_udp_ports(home.lan.space(1));
    assert!(udp.iter().all(|port| *port == 5353), "{udp:?}");

    let mesh = format!("{address}:{MESH}");
    for (said, heard) in answers(&stranger, &mesh, openings()) {
        assert!(heard.is_empty(), "{said:?} was answered {heard:?}");
    }

    let pairing = home.host(1).talk(&["pair", "--yes", "--json"]);
    let shown = pairing.next().unwrap();
    let offer: std::net::SocketAddr = shown["address"].as_str().unwrap().parse().unwrap();
    assert_eq!(open_ports(&stranger, &address), BTreeSet::from([MESH, offer.port()]));
    for (_, heard) in answers(&stranger, &offer.to_string(), openings().split_off(1)) {
        let text = String::from_utf8_lossy(&heard).into_owned();
        for word in [&home.host(1).name, &home.host(2).name, "secret-sauce", "herd", "multistream"] {
            assert!(!text.contains(word), "{text:?} tells {word}");
        }
    }
    pairing.program().signal("INT");
    pairing.end();
    assert_eq!(home.agree_soon(&[1, 2]).0, home.agreed(&[1, 2]).unwrap(), "all of that has disturbed nobody");
}
