//! Two nodes (or more) of a fleet without roster and pairing, to try the mesh by hand, in network namespaces for instance.
//!
//! `cargo run -p mesh --example two -- NUMBER COUNT [ADDRESS…]` starts node NUMBER of COUNT, which looks for the others at
//! the given addresses, or, without any, by multicast DNS. Each prints what happens, says hello to everybody once a second,
//! hangs up on who was not heard for 3.5 seconds, and answers requests with its number.

#![allow(clippy::unwrap_used, reason = "an example")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use mesh::discovery::{Discovery, Found, Networks};
use mesh::{
    Answering, Body, Event, FleetSecret, Hint, Identity, Listen, Mesh, NodeKey, Settings, Source, Transport as _,
};
use proto::{Clock, Moment};

fn since_start() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    #[allow(clippy::disallowed_methods, reason = "an example")]
    START.get_or_init(std::time::Instant::now).elapsed()
}

fn clock() -> Clock {
    Clock::new(|| Moment::at(since_start()), || 0)
}

fn body(text: String) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        || arguments.next().and_then(|text| text.parse::<u8>().ok()).expect("two numbers: mine, and how many");
    let (me, count) = (number(), number());
    since_start();
    let identity = |number: u8| Identity::from_seed(&[number; 32]);
    let settings = Settings {
        identity: identity(me),
        secrets: FleetSecret::from([0; 32]).into(),
        port: 11441,
        listen: Listen::Everywhere,
        clock: clock(),
        features: 0,
    };
    let answer = move |_: NodeKey, _: Request<hyper::body::Incoming>| -> Answering {
        Box::pin(async move { Response::new(body(format!("I am node {me}"))) })
    };
    let (mesh, mut events) = Mesh::start(settings, Arc::new(answer)).await.unwrap();
    println!("{:?} node {me} ({}) listens on port {}", since_start(), mesh.me().short(), mesh.port());
    mesh.allow((1..=count).map(|number| identity(number).key()).collect());
    let hint = |address: String| Hint { address: address.parse().unwrap(), node: None, source: Source::Typed };
    let hints: Vec<_> = arguments.map(hint).collect();
    let secrets = FleetSecret::from([0; 32]).into();
    let mut discovery =
        hints.is_empty().then(|| Discovery::start(Networks::Local, clock(), secrets, mesh.port()).unwrap());
    mesh.dial(hints);
    let mut heard = BTreeMap::new();

    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::Connected { node, address }) => {
                    heard.insert(node, since_start());
                    println!("{:?} connected with {} at {address}", since_start(), node.short());
                    let asked = Request::get("http://herd/").body(body(String::new())).unwrap();
                    match mesh.request(node, asked).await {
                        Ok(answer) => println!("{:?} {:?}", since_start(), answer.into_body().collect().await.map(|b| b.to_bytes())),
                        Err(error) => println!("{:?} {error}", since_start()),
                    }
                }
                Some(Event::Heard { from } | Event::Message { from, .. }) => drop(heard.insert(from, since_start())),
                Some(event) => println!("{:?} {event:?}", since_start()),
                None => break,
            },
            found = async { discovery.as_mut().expect("asked only if there is one").next().await }, if discovery.is_some() => {
                if let Some(Found::Node(hints)) = found {
                    mesh.dial(hints);
                }
            }
            _ = second.tick() => {
                for peer in mesh.peers() {
                    let silent = heard.get(&peer.node).map(|last| since_start() - *last);
                    if peer.connected && silent.is_some_and(|silent| silent > Duration::from_millis(3500)) {
                        println!("{:?} hanging up on {}", since_start(), peer.node.short());
                        mesh.hang_up(peer.node);
                    }
                    if mesh.send(peer.node, format!("hello from {me}").into()).is_err() {
                        println!("{:?} {} is away: {:?}", since_start(), peer.node.short(), peer.trouble);
                    }
                }
            }
            _ = tokio::signal::ctrl_c() => {
                println!("{:#?}", mesh.peers());
                mesh.stop().await;
            }
        }
    }
}
