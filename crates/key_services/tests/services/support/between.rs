//! A double of a slow, throttling or lying service: it stands between the database and the real one, or there is none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What to do with a request.
pub(crate) enum Action {
    /// Let the real service answer.
    Pass,
    /// Answer with this status and body.
    Answer(u16, String),
    /// Ask for a token, as a vault does of who brings none.
    #[cfg(feature = "azurekv")]
    Challenge(String),
    /// Say nothing, and keep the connection.
    Hang,
    /// Close the connection.
    Hangup,
}

/// A request: its first line, headers and body.
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

type Decide = dyn Fn(&Request) -> Action + Send + Sync;

/// Listens until it is dropped.
pub(crate) struct Between {
    pub(crate) port: u16,
    decide: Arc<Mutex<Arc<Decide>>>,
    seen: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Between {
    /// Stands before the service at port `real`; it passes everything on until it is told otherwise.
    pub(crate) fn before(real: u16) -> Self {
        Self::listen(0, real, None)
    }

    /// Stands at a port (any, for 0) for a service that cannot be had; it hangs up until it is told what to answer.
    #[cfg(any(feature = "azurekv", feature = "gcpkms"))]
    pub(crate) fn alone(port: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let between = Self::listen(port, 0, tls);
        between.set(|_| Action::Hangup);
        between
    }

    fn listen(port: u16, real: u16, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let between = Self {
            port: listener.local_addr().expect("an address").port(),
            decide: Arc::new(Mutex::new(Arc::new(|_: &Request| Action::Pass))),
            seen: Arc::default(),
            over: Arc::default(),
        };
        let (decide, seen, over) =
            (Arc::clone(&between.decide), Arc::clone(&between.seen), Arc::clone(&between.over));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let (decide, seen, tls) = (Arc::clone(&decide), Arc::clone(&seen), tls.clone());
                thread::spawn(move || match tls {
                    None => serve(stream, real, &decide, &seen),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).expect("a connection");
                        serve(StreamOwned::new(connection, stream), real, &decide, &seen)
                    }
                });
            }
        });
        between
    }

    /// Does this from now on, and counts anew.
    pub(crate) fn set(&self, decide: impl Fn(&Request) -> Action + Send + Sync + 'static) {
        *self.decide.lock().expect("a lock") = Arc::new(decide);
        self.seen.store(0, Ordering::Relaxed);
    }

    /// Requests since it was last told what to do.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

fn serve(
    mut stream: impl Read + Write,
    real: u16,
    decide: &Mutex<Arc<Decide>>,
    seen: &AtomicUsize,
) -> Option<()> {
    let request = read(&mut stream)?;
    seen.fetch_add(1, Ordering::Relaxed);
    let decide = Arc::clone(&*decide.lock().expect("a lock"));
    match decide(&request) {
        Action::Pass => pass(&request, &mut stream, real)?,
        Action::Answer(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
        }
        #[cfg(feature = "azurekv")]
        Action::Challenge(how) => {
            let head = format!(
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {how}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).ok()?;
        }
        Action::Hang => thread::sleep(Duration::from_secs(30)),
        Action::Hangup => {}
    }
    stream.flush().ok()
}

fn read(stream: &mut impl Read) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    let mut body = vec![0; header.map_or(0, |length| length.trim().parse().expect("a length"))];
    stream.read_exact(&mut body).ok()?;
    Some(Request { head, body })
}

/// Asks the real service, for this one request.
fn pass(request: &Request, stream: &mut impl Write, real: u16) -> Option<()> {
    let mut service = TcpStream::connect(("127.0.0.1", real)).ok()?;
    let lines =
        request.head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head = lines.collect::<Vec<_>>().join("\r\n") + "\r\nConnection: close\r\n\r\n";
    service.write_all(&[head.as_bytes(), &request.body].concat()).ok()?;
    std::io::copy(&mut service, stream).ok().map(|_| ())
}
