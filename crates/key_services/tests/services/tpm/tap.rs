//! Somebody who listens on the wires between the machine and its TPM.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::swtpm::free_pair;

/// Listens from now on.
pub(crate) struct Tap {
    pub(crate) port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// Stands before the TPM at port `real`, and before its control at the next one.
    pub(crate) fn before(real: u16) -> Self {
        let tap = Self { port: free_pair(), heard: Arc::default() };
        for next in [0, 1] {
            let listener = TcpListener::bind(("127.0.0.1", tap.port + next)).expect("a port");
            let heard = Arc::clone(&tap.heard);
            thread::spawn(move || {
                for machine in listener.incoming() {
                    join(machine.expect("a connection"), real + next, &heard);
                }
            });
        }
        tap
    }

    /// Whether this was heard.
    pub(crate) fn heard(&self, bytes: &[u8]) -> bool {
        self.heard.lock().expect("a lock").windows(bytes.len()).any(|window| window == bytes)
    }
}

fn join(machine: TcpStream, real: u16, heard: &Arc<Mutex<Vec<u8>>>) {
    let tpm = TcpStream::connect(("127.0.0.1", real)).expect("the TPM");
    let (answers, asker) = (tpm.try_clone().expect("a stream"), machine.try_clone().expect("a stream"));
    for (from, to) in [(machine, tpm), (answers, asker)] {
        let heard = Arc::clone(heard);
        thread::spawn(move || carry(from, to, &heard));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, heard: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        heard.lock().expect("a lock").extend_from_slice(&bytes[..count]);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}
