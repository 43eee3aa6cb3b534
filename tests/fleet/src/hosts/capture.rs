//! Everything that crosses the bridges.

use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::Space;

/// `ETH_P_ALL` of linux/if_ether.h: packets of every kind.
const EVERY_KIND: u16 = 3;
/// The most that is kept; a test that sends more is told.
const MOST: usize = 256 << 20;
/// The most that is read before looking whether it is to end: what waits in the socket is less.
const MOST_AT_ONCE: usize = 100_000;

/// A recording of all packets of a namespace, each as often as it is seen.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Vec<u8>>>,
}

impl Capture {
    /// Begins.
    ///
    /// # Panics
    /// If packets cannot be recorded, which root can.
    pub fn start(space: &Space) -> Capture {
        let socket = space.inside(|| {
            let kind = Protocol::from(i32::from(EVERY_KIND.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(kind)).expect("root may record packets");
            let _ = socket.set_recv_buffer_size(32 << 20);
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes a timeout");
            socket
        });
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = stop.clone();
        let thread = std::thread::spawn(move || record(socket, &is_over));
        Capture { stop, thread }
    }

    /// Ends, and gives the packets.
    ///
    /// # Panics
    /// If there were too many to keep.
    pub fn end(self) -> Vec<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the recording was whole")
    }
}

fn record(mut socket: Socket, is_over: &AtomicBool) -> Vec<Vec<u8>> {
    let (mut packets, mut size) = (Vec::new(), 0);
    let mut packet = vec![0; 1 << 16];
    loop {
        // Looked at first: what passed before the end is still to be read.
        let is_last = is_over.load(Ordering::Relaxed);
        let read_before = packets.len();
        loop {
            match socket.read(&mut packet) {
                Ok(length) => {
                    size += length;
                    assert!(size <= MOST, "more packets than a recording keeps");
                    packets.push(packet[..length].to_vec());
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                // A cable that is pulled.
                Err(error) if error.kind() == ErrorKind::NetworkDown => break,
                Err(error) => panic!("packets cannot be read: {error}"),
            }
            if packets.len() - read_before >= MOST_AT_ONCE {
                break;
            }
        }
        if is_last {
            return packets;
        }
    }
}
