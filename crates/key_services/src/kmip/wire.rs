//! Messages on a connection. The crate that encodes them brings a client only with a TLS of long ago.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kmip_protocol::request;
use kmip_protocol::response;
use kmip_protocol::types::request::RequestPayload;
use kmip_protocol::types::response::{ResponseMessage, ResponsePayload, ResultReason, ResultStatus};
use lightning_db_crypto::Zeroizing;

/// Tag, type and length of the whole message.
const HEAD_LEN: usize = 8;
const MAX_ANSWER_LEN: usize = 64 * 1024;

/// Why there is no answer.
pub(super) enum Failure {
    /// The connection failed.
    Connection(io::Error),
    /// The server said something that is no answer.
    Form(&'static str),
    /// The server refused, for this reason and in these words.
    Refused(Option<ResultReason>, String),
}

/// Sends a request of one operation, and receives what it gives.
pub(super) fn exchange(
    connection: &mut (impl Read + Write),
    payload: RequestPayload,
) -> Result<ResponsePayload, Failure> {
    let operation = payload.operation();
    let request =
        request::to_vec(payload, None).map_err(|_| Failure::Form("the request cannot be encoded"))?;
    if let Err(error) = connection.write_all(&request).and_then(|()| connection.flush()) {
        return Err(Failure::Connection(said_before_closing(connection).unwrap_or(error)));
    }
    let mut message = Zeroizing::new(vec![0; HEAD_LEN]);
    connection.read_exact(&mut message).map_err(Failure::Connection)?;
    let len = u32::from_be_bytes([message[4], message[5], message[6], message[7]]) as usize;
    if len > MAX_ANSWER_LEN {
        return Err(Failure::Form("its answer is too long"));
    }
    message = Zeroizing::new([&message[..], &vec![0; len]].concat());
    connection.read_exact(&mut message[HEAD_LEN..]).map_err(Failure::Connection)?;
    let mut answer: ResponseMessage =
        response::from_slice(&message).map_err(|_| Failure::Form("its answer cannot be decoded"))?;
    let Some(item) = answer.batch_items.pop().filter(|_| answer.batch_items.is_empty()) else {
        return Err(Failure::Form("it answered another number of questions"));
    };
    match (item.result_status, item.payload) {
        (ResultStatus::Success, Some(payload)) if item.operation == Some(operation) => Ok(payload),
        (ResultStatus::Success, _) => Err(Failure::Form("it answered another question")),
        _ => Err(Failure::Refused(item.result_reason, item.result_message.unwrap_or_default())),
    }
}

/// Why the other end closed the connection, if it said so: it judges a certificate after this end was content.
fn said_before_closing(connection: &mut impl Read) -> Option<io::Error> {
    connection.read(&mut [0]).err().filter(|error| error.kind() == io::ErrorKind::InvalidData)
}

/// A connection that lasts until a moment, however slowly the other end speaks.
pub(super) struct Bounded {
    pub(super) stream: TcpStream,
    pub(super) deadline: Instant,
}

impl Bounded {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"));
        }
        Ok(Some(left))
    }

    fn late(error: io::Error) -> io::Error {
        // What a time-out of a socket is called depends on the system.
        match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"),
            _ => error,
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(Self::late)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes).map_err(Self::late)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
