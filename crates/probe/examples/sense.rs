//! Prints what is sensed of this machine as JSON: the second sample, which has what is counted since the first.

use std::path::PathBuf;
use std::time::Duration;

use probe::{Prober, Roots};

fn main() -> Result<(), serde_json::Error> {
    let places = std::env::args_os().skip(1).map(PathBuf::from).collect();
    #[allow(clippy::disallowed_methods, reason = "the edge of this program")]
    let roots = Roots::new(places, |name| std::env::var(name).ok());
    let mut prober = Prober::new(&roots);
    prober.sample();
    std::thread::sleep(Duration::from_secs(1));
    println!("{}", serde_json::to_string_pretty(&prober.sample())?);
    Ok(())
}
