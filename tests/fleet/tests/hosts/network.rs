//! The network that the other stories stand on does what they say it does.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use fleet_tests::hosts::{Capture, Lan, Space, within};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

fn connects(from: &Space, to: &str) -> bool {
    let address: SocketAddr = format!("{to}:700").parse().unwrap();
    from.inside(|| TcpStream::connect_timeout(&address, Duration::from_millis(300))).is_ok()
}

/// A cable that is plugged in carries after up to a second.
fn connects_soon(from: &Space, to: &str) -> bool {
    within(Duration::from_secs(10), || connects(from, to).then_some(())).is_some()
}

fn hears(listener: &Space, sender: &Space, sender_address: &str) -> bool {
    let ear = listener.inside(|| {
        let ear = UdpSocket::bind((GROUP, 5353)).unwrap();
        ear.join_multicast_v4(&GROUP, &interface(2)).unwrap();
        ear.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        ear
    });
    sender.inside(|| {
        let mouth = UdpSocket::bind((sender_address, 0)).unwrap();
        socket2::SockRef::from(&mouth).set_multicast_if_v4(&sender_address.parse().unwrap()).unwrap();
        mouth.send_to(b"hello", (GROUP, 5353)).unwrap();
    });
    ear.recv(&mut [0; 16]).is_ok()
}

fn interface(host: u8) -> Ipv4Addr {
    Lan::address(host).parse().unwrap()
}

#[test]
fn cables_bridges_and_multicast_do_what_stories_say_of_them() {
    let Some(lan) = Lan::new(3) else { return };
    let (one, two) = (lan.space(1), lan.space(2));
    let listener = two.inside(|| TcpListener::bind("0.0.0.0:700").unwrap());
    assert!(connects_soon(one, &Lan::address(2)) && hears(two, one, &Lan::address(1)));

    lan.pull(1);
    assert!(!connects(one, &Lan::address(2)));
    lan.plug(1);
    assert!(connects_soon(one, &Lan::address(2)));

    lan.send_away(&[2]);
    assert!(!connects(one, &Lan::address(2)));
    lan.send_away(&[1]);
    assert!(connects_soon(one, &Lan::address(2)), "two that are away together");
    lan.bring_home(&[1, 2]);

    lan.readdress(2, "10.77.0.99");
    assert!(connects_soon(one, "10.77.0.99") && !connects(one, &Lan::address(2)));
    lan.readdress(2, &Lan::address(2));

    lan.block_multicast();
    assert!(connects_soon(one, &Lan::address(2)) && !hears(two, one, &Lan::address(1)));
    drop(listener);
}

#[test]
fn a_recording_has_what_passes() {
    let Some(lan) = Lan::new(2) else { return };
    let listener = lan.space(2).inside(|| TcpListener::bind("0.0.0.0:700").unwrap());
    let capture = Capture::start(lan.switch());
    lan.space(1).inside(|| {
        let mut stream = TcpStream::connect((Lan::address(2), 700)).unwrap();
        stream.write_all(b"a word in clear").unwrap();
    });
    let mut heard = String::new();
    listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "a word in clear");
    let packets = capture.end();
    assert!(packets.iter().any(|packet| packet.windows(15).any(|part| part == b"a word in clear")));
}

#[test]
fn a_network_is_gone_with_its_test() {
    let Some(lan) = Lan::new(1) else { return };
    let name = lan.space(1).name().to_owned();
    let path = std::path::Path::new("/run/netns").join(name);
    assert!(path.exists());
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _lan = lan;
        std::panic::resume_unwind(Box::new("a test fails"));
    }));
    assert!(panic.is_err() && !path.exists());
}
