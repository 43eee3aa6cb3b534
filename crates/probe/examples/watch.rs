//! Prints what speaks for somebody using this machine, at each change, until a line is entered.

use probe::presence::{Surroundings, Watch};

fn main() -> std::io::Result<()> {
    #[allow(clippy::disallowed_methods, reason = "the edge of this program")]
    let surroundings = Surroundings::new(|name| std::env::var(name).ok());
    let _watch = Watch::start(&surroundings, |evidence| println!("{evidence:#?}"))?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
