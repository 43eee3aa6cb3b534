//! Plays many worlds and prints how long detection and election took.
//!
//! `worlds [COUNT]` plays that many, spread over all stories; `worlds one STORY SEED` plays one again.

#[path = "../tests/sim/mod.rs"]
mod sim;

use sim::script::{STORIES, Times};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["one", story, seed] => {
            let play = STORIES.iter().find(|(name, _)| name == story).map(|(_, play)| play);
            let names = || STORIES.map(|(name, _)| name).join(", ");
            let play = play.unwrap_or_else(|| panic!("no story `{story}`; there are: {}", names()));
            print!("{}", play(seed.parse().expect("a seed is a number")).table());
        }
        counts => {
            let count = counts.first().map_or(10_000, |count| count.parse().expect("a count of worlds"));
            let mut times = Times::default();
            for (at, (_, play)) in (0..count).zip(STORIES.iter().cycle()) {
                times.merge(play(at));
            }
            print!("{}", times.table());
        }
    }
}
