//! What somebody on the network sees who has no secret, or is no member. Real sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mesh::{FleetSecret, Hint, Identity, Mesh, Secrets, Source, Transport, Trouble};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::fleet::{Node, PATIENCE, echo, get, identity, real, secret, settings};

/// All that comes back until the connection ends.
async fn heard(mut stream: TcpStream, said: &[u8]) -> Vec<u8> {
    // It may be hung up on before all is said.
    let _ = stream.write_all(said).await;
    let mut heard = Vec::new();
    let read = async {
        let mut buffer = [0; 1024];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => heard.extend_from_slice(&buffer[..length]),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the connection is ended");
    heard
}

#[tokio::test]
async fn a_stranger_gets_no_byte_and_is_hung_up_on() {
    let node = real(1, secret(), echo).await;
    let tls = [&[0x16, 0x03, 0x01, 0x00, 0xc8, 0x01, 0x00, 0x00, 0xc4, 0x03, 0x03][..], &[7; 200]].concat();
    let strangers = [
        // Silent, and half a knock: waited for, for five seconds.
        &b""[..],
        &[1; 31],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x13/multistream/1.0.0\n\x03ls\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &[0; 32],
        &[0xff; 4096],
        &tls,
    ];
    let strangers = strangers.map(async |said| {
        let stream = TcpStream::connect(node.address).await.unwrap();
        assert_eq!(heard(stream, said).await, b"", "{said:?}");
    });
    futures_util::future::join_all(strangers).await;
}

#[tokio::test]
async fn one_address_cannot_fill_the_door() {
    let node = real(1, secret(), echo).await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(node.address).await.unwrap());
    }
    // The seventeenth is closed at once, and says why to nobody.
    let over = TcpStream::connect(node.address).await.unwrap();
    assert_eq!(heard(over, b"").await, b"");
    for stream in &silent {
        assert!(stream.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
    // With room again, members come in.
    silent.truncate(8);
    let (mut one, mut two) = (node, real(2, secret(), echo).await);
    one.allow(&[&two]);
    two.allow(&[&one]);
    two.dial(&one);
    two.connected(one.key).await;
    one.connected(two.key).await;
}

async fn trouble(node: &Node) -> Trouble {
    let trouble = async {
        loop {
            if let [stray] = &node.transport.strays()[..]
                && let Some(trouble) = stray.trouble
            {
                return trouble;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, trouble).await.expect("a dial that fails says why")
}

#[tokio::test]
async fn each_trouble_has_its_name() {
    let one = real(1, secret(), echo).await;

    let other_fleet = real(2, FleetSecret::from([1; 32]), echo).await;
    other_fleet.dial(&one);
    assert_eq!(trouble(&other_fleet).await, Trouble::NotOurs);

    let not_on_our_list = real(3, secret(), echo).await;
    not_on_our_list.dial(&one);
    assert_eq!(trouble(&not_on_our_list).await, Trouble::NotAMember);

    let nobody_there = real(4, secret(), echo).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    nobody_there.transport.dial(vec![Hint { address: closed, node: None, source: Source::Typed }]);
    assert_eq!(trouble(&nobody_there).await, Trouble::Refused);

    let fooled = real(5, secret(), echo).await;
    let pretender = TcpListener::bind("127.0.0.1:0").await.unwrap();
    fooled.transport.dial(vec![Hint { address: pretender.local_addr().unwrap(), node: None, source: Source::Typed }]);
    let (mut stream, _) = pretender.accept().await.unwrap();
    let mut knock = [0; 32];
    stream.read_exact(&mut knock).await.unwrap();
    stream.write_all(&[7; 48]).await.unwrap();
    // Nothing but the knock was said to it.
    assert_eq!(stream.read(&mut knock).await.unwrap_or(0), 0);
    assert_eq!(trouble(&fooled).await, Trouble::Pretender);

    // Members that do not know each other's addresses, where another member listens now.
    let mut six = real(6, secret(), echo).await;
    let seven = real(7, secret(), echo).await;
    let absent = identity(8).key();
    six.transport.allow([seven.key, absent].into());
    seven.allow(&[&six]);
    six.transport.dial(vec![Hint { address: seven.address, node: Some(absent), source: Source::Remembered }]);
    six.connected(seven.key).await;
    assert_eq!(six.peer(absent).trouble, Some(Trouble::OtherNode));
}

#[tokio::test]
async fn who_is_on_no_list_learns_nothing_but_that() {
    // It has the secret, as a removed member does, and dials us.
    let one = real(1, secret(), echo).await;
    let removed = real(2, secret(), echo).await;
    removed.allow(&[&one]);
    removed.dial(&one);
    let gone = async {
        while removed.peer(one.key).trouble != Some(Trouble::HungUp) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    assert!(removed.ask(one.key, get("/")).await.is_err());
    assert!(one.transport.peers().is_empty());
}

#[tokio::test]
async fn on_the_wire_there_is_nothing_to_recognise() {
    let (mut one, mut two) = (real(1, secret(), echo).await, real(2, secret(), echo).await);
    one.allow(&[&two]);
    two.allow(&[&one]);
    // Everything between them goes through here.
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, to) = (relay.local_addr().unwrap(), two.address);
    let wire = Arc::new(Mutex::new(Vec::new()));
    let mut relays = tokio::task::JoinSet::new();
    let written = wire.clone();
    relays.spawn(async move {
        let mut streams = tokio::task::JoinSet::new();
        while let Ok((here, _)) = relay.accept().await {
            let there = TcpStream::connect(to).await.unwrap();
            let ((hr, hw), (tr, tw)) = (here.into_split(), there.into_split());
            for (mut read, mut write) in [(hr, tw), (tr, hw)] {
                let wire = written.clone();
                streams.spawn(async move {
                    let mut buffer = vec![0; 65536];
                    while let Ok(length @ 1..) = read.read(&mut buffer).await {
                        wire.lock().unwrap().extend_from_slice(&buffer[..length]);
                        if write.write_all(&buffer[..length]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    one.transport.dial(vec![Hint { address, node: Some(two.key), source: Source::Remembered }]);
    one.connected(two.key).await;
    two.connected(one.key).await;
    one.transport.send(two.key, "a marked message".into()).unwrap();
    two.message().await;
    one.ask(two.key, get("/a/marked/path")).await.unwrap();
    let wire = wire.lock().unwrap().clone();
    assert!(wire.len() > 1000);
    let key = |number| identity(number).key().bytes().to_vec();
    for word in [
        b"noise".to_vec(),
        b"yamux".to_vec(),
        b"herd".to_vec(),
        b"multistream".to_vec(),
        b"marked".to_vec(),
        b"HTTP".to_vec(),
        key(1),
        key(2),
    ] {
        assert!(!wire.windows(word.len()).any(|part| part == word), "{}", String::from_utf8_lossy(&word));
    }
}

#[tokio::test]
async fn a_fleet_may_change_its_secret_while_it_runs() {
    let (old, new) = (FleetSecret::from([1; 32]), FleetSecret::from([2; 32]));
    let start = async |number: u8, secrets: Vec<FleetSecret>| {
        let mut settings = settings(number, secret());
        settings.secrets = Secrets::new(secrets).unwrap();
        let (mesh, events) = Mesh::start(settings, Arc::new(echo)).await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], mesh.port()));
        Node { key: mesh.me(), address, transport: Arc::new(mesh), events }
    };
    // One knows the new secret already and accepts the old one; two still knocks with the old one.
    let mut one = start(1, vec![new, old.clone()]).await;
    let mut two = start(2, vec![old]).await;
    one.allow(&[&two]);
    two.allow(&[&one]);
    two.dial(&one);
    two.connected(one.key).await;
    one.connected(two.key).await;
}

#[tokio::test]
async fn a_taken_port_is_left_to_whoever_has_it() {
    let first = real(1, secret(), echo).await;
    let mut settings = settings(2, secret());
    settings.port = first.address.port();
    let (second, _events) = Mesh::start(settings, Arc::new(echo)).await.unwrap();
    assert_ne!(second.port(), first.address.port());
    assert!(second.port() > first.address.port() && second.port() <= first.address.port() + 15);
}

// A crash, as others see it: the system closes its sockets, and nothing else is said.
#[test]
fn a_killed_node_is_missed_at_once() {
    let runtime = |name: &str| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build().unwrap()
    };
    let (doomed, living) = (runtime("doomed"), runtime("living"));
    let mut one = living.block_on(real(1, secret(), echo));
    let two = doomed.block_on(real(2, secret(), echo));
    let key = two.key;
    one.allow(&[&two]);
    two.allow(&[&one]);
    one.dial(&two);
    living.block_on(one.connected(key));
    living.block_on(one.ask(key, get("/"))).unwrap();
    let asking = one.transport.request(key, get("/"));
    // Handles are kept, so that nothing is said by dropping them.
    doomed.shutdown_background();
    living.block_on(async {
        one.closed(key).await;
        // Whether it was answered before or broke, it does not hang.
        let _ = tokio::time::timeout(PATIENCE, asking).await.unwrap();
        assert!(!one.peer(key).connected);
    });
    std::mem::forget(two);
}

#[tokio::test]
async fn identities_are_used_once() {
    // A cloned disk: two nodes with one key do not connect to each other.
    let one = real(1, secret(), echo).await;
    let clone = real(1, secret(), echo).await;
    clone.allow(&[&one]);
    clone.dial(&one);
    assert_eq!(trouble(&clone).await, Trouble::Oneself);
    assert_eq!(Identity::from_seed(&[1; 32]).key(), one.key);
}
