//! Pairing over real sockets on loopback, honest and not.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::words::{Clear, Sealed, Why};
use super::*;
use crate::roster::{Role, Roster};
use crate::{FleetSecret, Identity};

fn who(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

fn code() -> Code {
    "7KQ2-M9XD".parse().unwrap()
}

async fn offer(settings: OfferSettings) -> (Offer, SocketAddr) {
    let offer = Offer::with_code(code(), OfferSettings { loopback: true, ..settings }).await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], offer.port()));
    (offer, address)
}

fn admit(candidate: &Candidate) -> Decision {
    let mut roster = Roster::found(&who(0), "founder", [1; 16]).unwrap();
    roster.add(&who(0), candidate.node, &candidate.name, Role::Admin).unwrap();
    let hints = vec![(who(0).key(), "10.0.0.5:11441".parse().unwrap())];
    let secrets = FleetSecret::from([5; 32]).into();
    Decision::Admit(Box::new(Handover { name: "Home".into(), secrets, roster, hints }))
}

async fn try_join(code: &str, address: SocketAddr, number: u8) -> Result<Welcome, JoinError> {
    join(&code.parse().unwrap(), &[address], &who(number), "laptop", |_| Ok(())).await
}

#[tokio::test]
async fn the_right_code_hands_the_fleet_over() {
    let (offer, address) = offer(OfferSettings::default()).await;
    let asked = RefCell::new(Vec::new());
    let running = offer.run(async |candidate: Candidate| {
        let decision = admit(&candidate);
        asked.borrow_mut().push(candidate);
        decision
    });
    let (joined, welcome) = tokio::join!(running, try_join("7kq2 m9xd", address, 1));
    let welcome = welcome.unwrap();
    assert_eq!(joined.unwrap(), Joined { node: who(1).key(), name: "laptop".into() });
    assert_eq!(asked.borrow().len(), 1);
    assert_eq!(welcome.name, "Home");
    assert_eq!(welcome.secrets.current().bytes(), &[5; 32]);
    assert_eq!(welcome.roster.allowed(), [who(0).key(), who(1).key()].into());
    assert_eq!(welcome.hints.len(), 1);
    // The code was good for once.
    assert!(matches!(try_join("7KQ2-M9XD", address, 2).await, Err(JoinError::Nobody)));
}

#[tokio::test]
async fn three_wrong_codes_end_the_offer() {
    let (offer, address) = offer(OfferSettings::default()).await;
    let running = offer.run(async |_| panic!("nobody knows the code"));
    let guessing = async {
        for left in [2, 1] {
            let result = try_join("7KQ2-M9XE", address, 1).await;
            assert!(matches!(result, Err(JoinError::WrongCode { tries_left }) if tries_left == left), "{result:?}");
        }
        assert!(matches!(try_join("7KQ2-M9XE", address, 1).await, Err(JoinError::TooManyTries)));
        // Right, but too late.
        assert!(matches!(try_join("7KQ2-M9XD", address, 1).await, Err(JoinError::Nobody | JoinError::TooManyTries)));
    };
    let (result, ()) = tokio::join!(running, guessing);
    assert!(matches!(result, Err(OfferError::TooManyTries)));
}

#[tokio::test]
async fn going_away_after_the_answer_is_a_try_too() {
    let (offer, address) = offer(OfferSettings::default()).await;
    let running = offer.run(async |_| panic!("nobody proves anything"));
    let guessing = async {
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let (_, share) = channel::begin(channel::Side::Joiner, &code());
            channel::say(&mut stream, &Clear::Knock { min: 1, max: 1, share }).await.unwrap();
            assert!(matches!(channel::hear(&mut stream).await.unwrap().0, Clear::Share { .. }));
        }
    };
    let (result, ()) = tokio::join!(running, guessing);
    assert!(matches!(result, Err(OfferError::TooManyTries)));
}

#[tokio::test]
async fn a_right_code_after_wrong_ones_joins() {
    let (offer, address) = offer(OfferSettings::default()).await;
    let joining = async {
        assert!(try_join("0000-0000", address, 1).await.is_err());
        assert!(try_join("0000-0001", address, 1).await.is_err());
        try_join("7KQ2-M9XD", address, 1).await
    };
    let (joined, welcome) = tokio::join!(offer.run(async |candidate| admit(&candidate)), joining);
    assert!(joined.is_ok() && welcome.is_ok());
}

#[tokio::test]
async fn the_person_may_say_no() {
    let (offer, address) = offer(OfferSettings::default()).await;
    let (result, joined) = tokio::join!(offer.run(async |_| Decision::Refuse), try_join("7KQ2-M9XD", address, 1));
    assert!(matches!(result, Err(OfferError::Refused { name }) if name == "laptop"));
    assert!(matches!(joined, Err(JoinError::Refused)));
}

#[tokio::test]
async fn of_two_machines_at_once_one_is_asked_to_wait() {
    let (offer, address) = offer(OfferSettings::default()).await;
    // The second comes while the person is being asked about the first.
    let running = offer.run(async |candidate: Candidate| {
        assert_eq!(candidate.node, who(1).key());
        assert!(matches!(try_join("7KQ2-M9XD", address, 2).await, Err(JoinError::Busy)));
        admit(&candidate)
    });
    let (joined, welcome) = tokio::join!(running, try_join("7KQ2-M9XD", address, 1));
    assert_eq!(joined.unwrap().node, who(1).key());
    assert!(welcome.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_offer_ends_in_time() {
    let (offer, address) = offer(OfferSettings { lasts: Duration::from_secs(180), ..OfferSettings::default() }).await;
    assert!(matches!(offer.run(async |_| Decision::Refuse).await, Err(OfferError::Expired)));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_offer_that_ends_while_the_person_thinks_is_expired() {
    let (offer, address) = offer(OfferSettings::default()).await;
    let (asked, is_asked) = tokio::sync::oneshot::channel();
    let asked = std::cell::Cell::new(Some(asked));
    let running = offer.run(|_| {
        let _ = asked.take().unwrap().send(());
        std::future::pending::<Decision>()
    });
    let withdrawn = async {
        tokio::select! {
            _ = running => unreachable!("nobody answers"),
            _ = is_asked => {}
        }
    };
    let ((), joined) = tokio::join!(withdrawn, try_join("7KQ2-M9XD", address, 1));
    assert!(matches!(joined, Err(JoinError::Expired)), "{joined:?}");
}

#[tokio::test]
async fn a_listener_without_the_code_is_noticed_and_learns_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let fake = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (Clear::Knock { share, .. }, knock) = channel::hear(&mut stream).await.unwrap() else { panic!() };
        let (spake, ours) = channel::begin(channel::Side::Offerer, &"0000-0000".parse().unwrap());
        let key = spake.finish(&share).unwrap();
        let said = channel::say(&mut stream, &Clear::Share { version: 1, share: ours }).await.unwrap();
        let agreed = channel::Agreed::new(&key, &knock, &said).unwrap();
        channel::hear(&mut stream).await.unwrap();
        channel::say(&mut stream, &agreed.proof(channel::Side::Offerer)).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        rest
    };
    let (rest, joined) = tokio::join!(fake, try_join("7KQ2-M9XD", address, 1));
    assert!(matches!(joined, Err(JoinError::Pretender)), "{joined:?}");
    assert_eq!(rest, b"", "no name and no key was said");
}

#[tokio::test]
async fn nonsense_does_no_harm() {
    let (offer, address) = offer(OfferSettings::default()).await;
    let joining = async {
        for nonsense in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 5000], &[0, 0, 0, 3, 1, 2, 3], &[0, 0, 0, 0]] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(nonsense).await;
            let _ = stream.shutdown().await;
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
            assert_eq!(heard, b"", "{nonsense:?}");
        }
        // A half of SPAKE2 that is no point: counted as a try, or it could be repeated for ever.
        let mut stream = TcpStream::connect(address).await.unwrap();
        channel::say(&mut stream, &Clear::Knock { min: 1, max: 1, share: vec![0x41; 33] }).await.unwrap();
        assert!(channel::hear(&mut stream).await.is_err());
        let mut stream = TcpStream::connect(address).await.unwrap();
        channel::say(&mut stream, &Clear::Knock { min: 7, max: 9, share: Vec::new() }).await.unwrap();
        let (sorry, _) = channel::hear(&mut stream).await.unwrap();
        assert_eq!(sorry, Clear::Sorry { why: Why::Version.number(), tries_left: 2 });
        // Strangers who say nothing do not keep others out, up to a number.
        let mut silent = Vec::new();
        for _ in 0..7 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        try_join("7KQ2-M9XD", address, 1).await
    };
    let (joined, welcome) = tokio::join!(offer.run(async |candidate| admit(&candidate)), joining);
    assert!(joined.is_ok() && welcome.is_ok(), "{joined:?} {welcome:?}");
}

#[tokio::test]
async fn a_machine_that_cannot_store_does_not_join() {
    let (offer, address) = offer(OfferSettings::default()).await;
    let joining = async { join(&code(), &[address], &who(1), "laptop", |_| Err("the disk is full".into())).await };
    let (joined, welcome) = tokio::join!(offer.run(async |candidate| admit(&candidate)), joining);
    assert!(matches!(welcome, Err(JoinError::NotStored(why)) if why == "the disk is full"));
    assert!(matches!(joined, Err(OfferError::Lost { node, .. }) if node == who(1).key()));
}

#[tokio::test]
async fn a_fleet_without_us_is_refused() {
    let (offer, address) = offer(OfferSettings::default()).await;
    let running = offer.run(async |candidate: Candidate| admit(&Candidate { node: who(9).key(), ..candidate }));
    let (_, welcome) = tokio::join!(running, try_join("7KQ2-M9XD", address, 1));
    assert!(matches!(welcome, Err(JoinError::Damaged)));
}

#[tokio::test]
async fn names_are_checked() {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    for name in ["", "a\nb", &"x".repeat(65)] {
        assert!(matches!(join(&code(), &[nowhere], &who(1), name, |_| Ok(())).await, Err(JoinError::BadName)));
    }
    assert!(matches!(join(&code(), &[nowhere], &who(1), "x", |_| Ok(())).await, Err(JoinError::Nobody)));
}

#[test]
fn the_bytes_of_pairing_stay() {
    let clear = [
        Clear::Knock { min: 1, max: 2, share: vec![0x41; 33] },
        Clear::Share { version: 1, share: vec![0x42; 33] },
        Clear::Proof { proof: vec![3; 32] },
        Clear::Sorry { why: Why::WrongCode.number(), tries_left: 2 },
    ];
    let sealed = [
        Sealed::Introduction { node: vec![1; 32], name: "Küche".into(), signature: vec![2; 64] },
        Sealed::Welcome {
            fleet: vec![3; 16],
            name: "Home".into(),
            secrets: vec![vec![4; 32].into()],
            statements: vec![vec![5; 3].into()],
            addresses: vec!["key 10.0.0.5:11441".into()],
        },
        Sealed::Done {},
        Sealed::Sorry { why: Why::Refused.number() },
        Sealed::Wait {},
    ];
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut lines: Vec<_> = clear.iter().map(|word| hex(minicbor::to_vec(word).unwrap())).collect();
    lines.extend(sealed.iter().map(|word| hex(minicbor::to_vec(word).unwrap())));
    let agreed = channel::Agreed::new(&[7; 32], b"knock", b"share").unwrap();
    for side in [channel::Side::Joiner, channel::Side::Offerer] {
        lines.push(hex(minicbor::to_vec(agreed.proof(side)).unwrap()));
    }
    lines.push(hex(agreed.to_sign()));
    crate::golden::check("pairing.txt", lines.join("\n").as_bytes());
    for (number, why) in [(1, Why::WrongCode), (6, Why::Expired), (0, Why::Other), (200, Why::Other)] {
        assert_eq!(Why::of(number), why);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_words_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = channel::decode::<Clear>(&bytes);
        let _ = channel::decode::<Sealed>(&bytes);
    }

    #[test]
    fn any_text_is_a_code_or_refused(text in ".{0,40}") {
        if let Ok(code) = text.parse::<Code>() {
            prop_assert_eq!(code.to_string().parse(), Ok(code));
        }
    }
}
