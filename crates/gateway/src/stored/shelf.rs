//! A bounded number of turns, of which the one that was not used for the longest time goes first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dialect::Turn;

/// What a turn costs beside its bytes.
const TURN_BYTES: u64 = 512;

pub(super) struct Shelf {
    turns: HashMap<String, Place>,
    /// Labels by the time of their last use.
    by_use: BTreeMap<u64, String>,
    uses: u64,
    bytes: u64,
    most: usize,
    most_bytes: u64,
}

struct Place {
    used: u64,
    turn: Arc<Turn>,
}

impl Shelf {
    pub(super) fn new(most: usize, most_bytes: u64) -> Shelf {
        Shelf { turns: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0, most, most_bytes }
    }

    pub(super) fn get(&mut self, id: &str) -> Option<Arc<Turn>> {
        let place = self.turns.get_mut(id)?;
        self.uses += 1;
        let id = self.by_use.remove(&std::mem::replace(&mut place.used, self.uses))?;
        self.by_use.insert(self.uses, id);
        Some(place.turn.clone())
    }

    /// Takes a turn in, in place of one with the same label, and lets others go until there is room.
    pub(super) fn put(&mut self, label: String, turn: Turn) {
        self.remove(&label);
        self.uses += 1;
        self.bytes += cost(&turn);
        self.by_use.insert(self.uses, label.clone());
        self.turns.insert(label, Place { used: self.uses, turn: Arc::new(turn) });
        while self.turns.len() > self.most || self.bytes > self.most_bytes {
            let Some(oldest) = self.by_use.first_key_value().map(|(_, id)| id.clone()) else { break };
            self.remove(&oldest);
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(Place { used, turn }) = self.turns.remove(id) else { return false };
        self.by_use.remove(&used);
        self.bytes -= cost(&turn);
        true
    }
}

fn cost(turn: &Turn) -> u64 {
    turn.bytes() + TURN_BYTES
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn turn(id: &str, bytes: usize) -> Turn {
        let response = format!("{{\"id\":\"{id}\",\"output\":[]}}");
        let input = Bytes::from(vec![b' '; bytes - response.len() - id.len()]);
        Turn::new(input, response.into()).unwrap()
    }

    fn put(shelf: &mut Shelf, id: &str, bytes: usize) {
        shelf.put(id.to_owned(), turn(id, bytes));
    }

    fn kept(shelf: &Shelf) -> Vec<&str> {
        shelf.by_use.values().map(String::as_str).collect()
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first() {
        let mut shelf = Shelf::new(3, 1 << 20);
        for id in ["a", "b", "c"] {
            put(&mut shelf, id, 100);
        }
        assert!(shelf.get("a").is_some() && shelf.get("x").is_none());
        put(&mut shelf, "d", 100);
        assert_eq!(kept(&shelf), ["c", "a", "d"]);
        put(&mut shelf, "c", 200);
        assert_eq!(kept(&shelf), ["a", "d", "c"]);
        assert!(shelf.remove("d") && !shelf.remove("d"));
        assert_eq!((kept(&shelf), shelf.bytes), (vec!["a", "c"], 300 + 2 * TURN_BYTES));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut shelf = Shelf::new(1000, 3 * (1000 + TURN_BYTES));
        for id in ["a", "b", "c", "d"] {
            put(&mut shelf, id, 1000);
        }
        assert_eq!(kept(&shelf), ["b", "c", "d"]);
        put(&mut shelf, "e", 2000);
        assert_eq!(kept(&shelf), ["d", "e"]);
        put(&mut shelf, "f", 100_000);
        assert_eq!((kept(&shelf), shelf.bytes), (vec![], 0), "one that never fits empties the shelf and is not kept");
    }
}
