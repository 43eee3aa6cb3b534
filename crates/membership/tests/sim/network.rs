//! Connections: ordered and reliable as TCP is, so what is lost comes late, and with it all that was sent after it.

use super::{Event, MS, Rng, SECOND, Time};

#[derive(Clone, Debug)]
pub struct Network {
    pub name: &'static str,
    /// One way, in microseconds.
    pub least: Time,
    pub most: Time,
    /// A card that saves power holds back one message in so many (0: none) ...
    pub spike_one_in: u64,
    /// ... for up to this long.
    pub spike: Time,
    /// One message in so many (0: none) must be sent again, after 200, 400, 800 ... ms.
    pub loss_one_in: u64,
    /// One message in so many (0: none) is thrown away, because the queue to that peer is full.
    pub overflow_one_in: u64,

    /// Whether anything gets from one machine to another.
    pub passes: Vec<Vec<bool>>,
    /// The connection as each end sees it.
    pub connection: Vec<Vec<Option<u64>>>,
    /// The last one whose end overtook what was sent before it: that may still come, but not
    /// for long.
    pub late: Vec<Vec<Option<(u64, Time)>>>,
    /// When each end last had one.
    pub ended: Vec<Vec<Time>>,
    pub dialling: Vec<Vec<bool>>,
    /// What cannot pass now and will be sent again.
    pub held: Vec<Vec<Vec<Event>>>,
    last_arrival: Vec<Vec<Time>>,
    connections: u64,
}

impl Network {
    pub fn new(name: &'static str, least: Time, most: Time) -> Network {
        Network {
            name,
            least,
            most,
            spike_one_in: 0,
            spike: 0,
            loss_one_in: 0,
            overflow_one_in: 0,
            passes: vec![],
            connection: vec![],
            late: vec![],
            ended: vec![],
            dialling: vec![],
            held: vec![],
            last_arrival: vec![],
            connections: 0,
        }
    }

    pub fn wired() -> Network {
        Network::new("wired", 100, MS)
    }

    pub fn wireless() -> Network {
        Network { spike_one_in: 50, spike: 300 * MS, loss_one_in: 200, ..Network::new("wireless", MS, 30 * MS) }
    }

    /// A house with thick walls.
    pub fn poor() -> Network {
        Network {
            spike_one_in: 20,
            spike: 500 * MS,
            loss_one_in: 50,
            overflow_one_in: 100,
            ..Network::new("poor", MS, 30 * MS)
        }
    }

    pub fn among(self, machines: usize) -> Network {
        Network {
            passes: vec![vec![true; machines]; machines],
            connection: vec![vec![None; machines]; machines],
            late: vec![vec![None; machines]; machines],
            ended: vec![vec![0; machines]; machines],
            dialling: vec![vec![false; machines]; machines],
            held: vec![vec![vec![]; machines]; machines],
            last_arrival: vec![vec![0; machines]; machines],
            ..self
        }
    }

    pub fn latency(&self, rng: &mut Rng) -> Time {
        let happens = |one_in: u64, rng: &mut Rng| one_in > 0 && rng.one_in(one_in);
        let mut latency = rng.between(self.least, self.most);
        if happens(self.spike_one_in, rng) {
            latency += rng.below(self.spike);
        }
        let mut again = 200 * MS;
        while happens(self.loss_one_in, rng) {
            latency += again;
            again = (again * 2).min(2 * SECOND);
        }
        latency
    }

    /// When a message that is sent now arrives; `None`: never.
    pub fn arrival(&mut self, from: usize, to: usize, now: Time, rng: &mut Rng) -> Option<Time> {
        let is_thrown_away = self.overflow_one_in > 0 && rng.one_in(self.overflow_one_in);
        (!is_thrown_away).then(|| self.now_or_later(from, to, now, rng))
    }

    pub fn now_or_later(&mut self, from: usize, to: usize, now: Time, rng: &mut Rng) -> Time {
        let latency = self.latency(rng);
        self.in_order(from, to, now + latency)
    }

    pub fn in_order(&mut self, from: usize, to: usize, arrival: Time) -> Time {
        let last = &mut self.last_arrival[from][to];
        *last = arrival.max(*last + 1);
        *last
    }

    pub fn hold(&mut self, from: usize, to: usize, event: Event) {
        // What the sender's window holds.
        if self.held[from][to].len() < 64 {
            self.held[from][to].push(event);
        }
    }

    pub fn is_connected(&self, one: usize, other: usize) -> bool {
        self.connection[one][other].is_some() && self.connection[one][other] == self.connection[other][one]
    }

    pub fn connect(&mut self, from: usize, to: usize) -> u64 {
        self.connections += 1;
        for (one, other) in [(from, to), (to, from)] {
            self.last_arrival[one][other] = 0;
            self.held[one][other].clear();
            self.late[one][other] = None;
        }
        self.connections
    }

    /// `node` has no connection to `peer` any more; the one that it had.
    pub fn forget(&mut self, node: usize, peer: usize, now: Time) -> Option<u64> {
        let connection = self.connection[node][peer].take();
        if connection.is_some() {
            self.ended[node][peer] = now;
        }
        connection
    }
}
