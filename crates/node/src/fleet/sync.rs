//! Decides what members tell each other of their rosters, so that all end up with the same statements and then are quiet.
//!
//! Whoever connects says the digest of its roster. Whoever hears another one gives all its statements, once for each pair
//! of digests: two that cannot agree (one list is full, say) do not repeat themselves for ever. News are handed on.

use std::collections::BTreeMap;

use mesh::NodeKey;
use mesh::roster::{Roster, Statement};
use proto::wire::{self, MAX_STATEMENTS};

/// Bytes of statements in one message: leaves room for what is around them.
const CHUNK: usize = 48 * 1024;

/// What was told to whom.
#[derive(Default)]
pub(crate) struct Told {
    /// For each connected member: its digest and ours when it was last given all.
    given: BTreeMap<NodeKey, ([u8; 16], [u8; 16])>,
}

/// What follows from a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Whether the roster has changed: store it, and allow whom it names.
    pub(crate) changed: bool,
    /// For the sender.
    pub(crate) reply: Vec<wire::Roster>,
    /// For all others that are connected.
    pub(crate) spread: Vec<wire::Roster>,
}

impl Told {
    /// `node` is connected anew: what it may be given again.
    pub(crate) fn forget(&mut self, node: NodeKey) {
        self.given.remove(&node);
    }

    /// A message of the member `from`, about `roster`.
    pub(crate) fn receive(&mut self, roster: &mut Roster, from: NodeKey, message: &wire::Roster) -> Outcome {
        let mut outcome = Outcome::default();
        let statements: Vec<Statement> =
            message.statements.iter().filter_map(|bytes| Statement::decode(bytes).ok()).collect();
        if !statements.is_empty() {
            let known: Vec<_> = roster.statements().map(Statement::id).collect();
            outcome.changed = roster.merge(statements).added > 0;
            if outcome.changed {
                let news = roster.statements().filter(|statement| !known.contains(&statement.id()));
                outcome.spread = messages(roster, news);
            }
        }
        let digests = (message.digest, roster.digest());
        if !message.more && digests.0 != digests.1 && self.given.get(&from) != Some(&digests) {
            self.given.insert(from, digests);
            outcome.reply = messages(roster, roster.statements());
        }
        outcome
    }
}

/// The digest alone.
pub(crate) fn digest(roster: &Roster) -> wire::Roster {
    wire::Roster { digest: roster.digest(), ..wire::Roster::default() }
}

/// `statements` of `roster`, in as many messages as they need.
pub(crate) fn messages<'a>(roster: &Roster, statements: impl Iterator<Item = &'a Statement>) -> Vec<wire::Roster> {
    let digest = roster.digest();
    let mut messages = vec![wire::Roster { digest, ..wire::Roster::default() }];
    let mut bytes = 0;
    for encoded in statements.map(Statement::encode) {
        let last = messages.last_mut().expect("there is one from the start");
        // One that fits no message at all is left out: nobody signs thousands of statements.
        if encoded.len() > CHUNK {
            continue;
        }
        if bytes + encoded.len() > CHUNK || last.statements.len() >= MAX_STATEMENTS {
            last.more = true;
            bytes = 0;
            messages.push(wire::Roster { digest, ..wire::Roster::default() });
        }
        bytes += encoded.len();
        messages.last_mut().expect("there is one from the start").statements.push(encoded.into());
    }
    messages
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use mesh::Identity;
    use mesh::roster::Role;

    use super::*;

    fn identity(number: u8) -> Identity {
        Identity::from_seed(&[number; 32])
    }

    /// Two members exchange what they say until both are quiet; tells how many messages that took.
    fn settle(rosters: &mut [Roster; 2]) -> usize {
        let keys = [identity(1).key(), identity(2).key()];
        let mut told = [Told::default(), Told::default()];
        let mut on_the_way: VecDeque<(usize, wire::Roster)> =
            VecDeque::from([(0, digest(&rosters[1])), (1, digest(&rosters[0]))]);
        let mut count = 0;
        while let Some((to, message)) = on_the_way.pop_front() {
            count += 1;
            assert!(count < 100, "they talk for ever");
            let outcome = told[to].receive(&mut rosters[to], keys[1 - to], &message);
            on_the_way.extend(outcome.reply.into_iter().map(|message| (1 - to, message)));
        }
        count
    }

    fn pair() -> [Roster; 2] {
        let mut roster = Roster::found(&identity(1), "one", [7; 16]).unwrap();
        roster.add(&identity(1), identity(2).key(), "two", Role::Admin).unwrap();
        [roster.clone(), roster]
    }

    #[test]
    fn equal_rosters_say_no_more_than_that() {
        assert_eq!(settle(&mut pair()), 2);
    }

    #[test]
    fn what_each_lacks_arrives() {
        let mut rosters = pair();
        for number in 3..200 {
            let by = &identity(1 + number % 2);
            let index = usize::from(number % 2);
            rosters[index].add(by, identity(number).key(), "another", Role::Member).unwrap();
        }
        settle(&mut rosters);
        assert_eq!(rosters[0], rosters[1]);
        assert_eq!(rosters[0].members().count(), 199);
    }

    #[test]
    fn news_are_handed_on_once_and_only_news() {
        let [mut ahead, mut behind] = pair();
        let statement = ahead.add(&identity(1), identity(3).key(), "three", Role::Member).unwrap();
        let mut told = Told::default();
        let message = messages(&ahead, ahead.statements()).remove(0);
        let outcome = told.receive(&mut behind, identity(1).key(), &message);
        assert!(outcome.changed && outcome.reply.is_empty());
        assert_eq!(outcome.spread, [wire::Roster { statements: vec![statement.encode().into()], ..digest(&ahead) }]);
        assert_eq!(told.receive(&mut behind, identity(1).key(), &message), Outcome::default());
    }

    #[test]
    fn two_that_cannot_agree_stop_talking() {
        let [one, _] = pair();
        let other = Roster::found(&identity(2), "two", [8; 16]).unwrap();
        assert!(settle(&mut [one, other]) <= 6);
    }

    #[test]
    fn nonsense_changes_nothing() {
        let [mut roster, _] = pair();
        let before = roster.clone();
        let message = wire::Roster { statements: vec![vec![1, 2, 3].into()], ..digest(&roster) };
        assert_eq!(Told::default().receive(&mut roster, identity(2).key(), &message), Outcome::default());
        assert_eq!(roster, before);
    }
}
