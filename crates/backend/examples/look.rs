//! Prints what the watcher sees: `cargo run -p backend --example look -- [PLACE]…`. Ends with Ctrl-C.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backend::{Place, Settings, Watcher};
use proto::{Clock, Moment};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut places: Vec<Place> = std::env::args().skip(1).map(|text| Place::parse(&text)).collect::<Result<_, _>>()?;
    if places.is_empty() {
        places.push(Place::ollama("")?);
        places.extend(Place::usual());
    }
    let settings = Settings { places, cloud_models: false, own_id: String::new() };
    let (watcher, handle) =
        Watcher::new(settings, Clock::new(now, unix_ms), Box::new(|states| println!("{states:#?}")));
    let stop = CancellationToken::new();
    let until_told = async {
        handle.first_look().await;
        for note in handle.notes() {
            println!("{}", note.found);
        }
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    };
    tokio::join!(watcher.run(stop.clone()), until_told);
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "an example has no node to get a clock from")]
fn now() -> Moment {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    Moment::at(START.get_or_init(Instant::now).elapsed())
}

#[allow(clippy::disallowed_methods, reason = "an example has no node to get a clock from")]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
