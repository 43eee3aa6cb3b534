//! What holds in every world: one leader in the end, soon, and no change without need.

mod sim;

use std::time::Duration;

use sim::script::{STORIES, Times};

/// Worlds of each kind. `cargo run -p membership --example worlds -- 100000` plays more.
const WORLDS: u64 = 30;

fn play(story: usize, worlds: u64) -> Times {
    let mut times = Times::default();
    for seed in 0..worlds {
        times.merge(STORIES[story].1(seed));
    }
    times
}
macro_rules! stories {
    ($($name:ident = $at:expr;)*) => {$(
        #[test]
        fn $name() {
            let times = play($at, WORLDS);
            println!("{}", times.table());
        }
    )*};
}
stories! {
    boot = 0; leader_dies = 1; leader_silent = 2; leader_leaves = 3; partition = 4; sleep = 5; newcomer = 6; partial = 7; one_way = 8; churn = 9;
}
#[allow(dead_code)]
fn unused() -> Duration { Duration::ZERO }
