//! Who may change things from the page: a ticket that works once becomes a session. Nothing of it outlives the program.
//!
//! Sessions are told from each other by a token in a header, never by a cookie: browsers send cookies to every port.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto::Moment;

/// How long a ticket is good for.
pub(super) const TICKET_LASTS: Duration = Duration::from_secs(60);
/// A session that was not used for this long is over.
const IDLE: Duration = Duration::from_secs(24 * 3600);
/// Tickets that wait to be used, at most; the oldest goes.
const MOST_TICKETS: usize = 16;
/// Sessions at most; the one not used for the longest time goes.
const MOST_SESSIONS: usize = 64;

/// All tickets and sessions.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Oldest first, with the moment when each was made.
    tickets: Vec<(String, Moment)>,
    /// The one used last at the end, with that moment.
    sessions: Vec<(String, Moment)>,
}

impl Sessions {
    /// A ticket that [`Sessions::begin`] takes once, within a minute. `None`: the system has no random numbers.
    pub(super) fn ticket(&self, now: Moment) -> Option<String> {
        let ticket = random()?;
        let mut known = self.known();
        known.tickets.retain(|(_, made)| now.since(*made) < TICKET_LASTS);
        push(&mut known.tickets, MOST_TICKETS, (ticket.clone(), now));
        Some(ticket)
    }

    /// Begins a session for whoever has `ticket`: its token.
    pub(super) fn begin(&self, ticket: &str, now: Moment) -> Option<String> {
        let mut known = self.known();
        let at = known.tickets.iter().position(|(one, _)| is_same(one, ticket))?;
        let (_, made) = known.tickets.remove(at);
        if now.since(made) >= TICKET_LASTS {
            return None;
        }
        let token = random()?;
        push(&mut known.sessions, MOST_SESSIONS, (token.clone(), now));
        Some(token)
    }

    /// Whether `token` is that of a session, which is used by this.
    pub(crate) fn admits(&self, token: &str, now: Moment) -> bool {
        let mut known = self.known();
        known.sessions.retain(|(_, used)| now.since(*used) < IDLE);
        let Some(at) = known.sessions.iter().position(|(one, _)| is_same(one, token)) else { return false };
        let (token, _) = known.sessions.remove(at);
        known.sessions.push((token, now));
        true
    }

    /// Ends a session.
    pub(super) fn end(&self, token: &str) {
        self.known().sessions.retain(|(one, _)| !is_same(one, token));
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push(list: &mut Vec<(String, Moment)>, most: usize, one: (String, Moment)) {
    if list.len() >= most {
        list.remove(0);
    }
    list.push(one);
}

/// Takes as long for a text that is nearly right as for any other of its length.
pub(crate) fn is_same(ours: &str, sent: &str) -> bool {
    let differs = ours.bytes().zip(sent.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    !ours.is_empty() && ours.len() == sent.len() && differs == 0
}

/// 192 bits that nobody can guess, as hexadecimal digits.
fn random() -> Option<String> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    #[test]
    fn a_ticket_works_once_and_for_a_minute() {
        let sessions = Sessions::default();
        let ticket = sessions.ticket(at(0)).unwrap();
        assert!(!sessions.admits(&ticket, at(1)), "a ticket is no session");
        let token = sessions.begin(&ticket, at(59)).unwrap();
        assert!(sessions.begin(&ticket, at(59)).is_none());
        assert!(sessions.admits(&token, at(60)));
        let late = sessions.ticket(at(100)).unwrap();
        assert!(sessions.begin(&late, at(160)).is_none());
        assert!(sessions.begin("", at(160)).is_none());
    }

    #[test]
    fn sessions_end_when_told_when_idle_and_when_there_are_too_many() {
        let sessions = Sessions::default();
        let begin = |now| sessions.begin(&sessions.ticket(now).unwrap(), now).unwrap();
        let first = begin(at(0));
        let second = begin(at(1));
        sessions.end(&first);
        assert!(!sessions.admits(&first, at(2)));
        assert!(sessions.admits(&second, at(2)));
        assert!(!sessions.admits(&second, at(2 + 24 * 3600)));
        let many: Vec<_> = (0..=MOST_SESSIONS).map(|_| begin(at(3))).collect();
        assert!(!sessions.admits(&many[0], at(3)));
        assert!(sessions.admits(&many[1], at(3)));
        assert_eq!(sessions.known().sessions.len(), MOST_SESSIONS);
    }

    #[test]
    fn tickets_are_bounded() {
        let sessions = Sessions::default();
        let first = sessions.ticket(at(0)).unwrap();
        for _ in 0..MOST_TICKETS {
            sessions.ticket(at(0)).unwrap();
        }
        assert!(sessions.begin(&first, at(0)).is_none());
    }
}
