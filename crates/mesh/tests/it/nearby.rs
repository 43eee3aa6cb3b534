//! Finding each other by multicast on this machine's loopback interface. Skipped, loudly, where the system does not carry it.

use std::time::Duration;

use mesh::discovery::{Discovery, Found, Networks, find_offers};
use mesh::{FleetSecret, Source};

use crate::fleet::{PATIENCE, clock};

fn discovery(secret: u8, port: u16) -> Discovery {
    Discovery::start(Networks::Loopback, clock(), FleetSecret::from([secret; 32]).into(), port).unwrap()
}

/// Who is announced at `ports`; `None` if some are not found in a long time.
async fn sources<const N: usize>(discovery: &mut Discovery, ports: [u16; N]) -> Option<[Source; N]> {
    let mut found = std::collections::BTreeMap::new();
    let looking = async {
        while !ports.iter().all(|port| found.contains_key(port)) {
            if let Found::Node(hints) = discovery.next().await.unwrap() {
                found.extend(hints.iter().map(|hint| (hint.address.port(), hint.source)));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking).await.ok()?;
    Some(ports.map(|port| found[&port]))
}

#[tokio::test]
async fn members_and_offers_are_found() {
    // Ports that nobody listens on: only announced.
    let (mut one, mut two, _three) = (discovery(1, 40_001), discovery(1, 40_002), discovery(2, 40_003));
    let Some(found) = sources(&mut one, [40_002, 40_003]).await else {
        eprintln!("SKIPPED: no multicast on loopback here");
        return;
    };
    assert_eq!(found, [Source::Announced, Source::Foreign]);
    assert_eq!(sources(&mut two, [40_001]).await, Some([Source::Announced]));

    let announcement = one.announcer().offer(40_004, '7').unwrap();
    let found = find_offers(Networks::Loopback, '7', PATIENCE).await.unwrap();
    assert_eq!(found, ["127.0.0.1:40004".parse().unwrap()]);
    assert_eq!(find_offers(Networks::Loopback, '8', Duration::from_millis(500)).await.unwrap(), []);
    drop(announcement);
}
