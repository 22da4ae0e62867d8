//! An external command that wraps and unwraps keys: a bridge to any key service.

use std::{
    ffi::OsString,
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use super::{KeyProvider, SlotContext, WrappedKey};
use crate::{CryptoError, Entropy, SecretKey};

const TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The longest wrapped key, in bytes; its hex form takes twice that.
const MAX_WRAPPED_LEN: usize = 16 * 1024;
/// How much of standard error is read, and how much of that is reported.
const MAX_COMPLAINT_LEN: usize = 4096;
const MAX_REPORT_CHARS: usize = 200;
/// A key takes 64 hex digits; a command that traces what it does writes them to standard error.
const SECRET_DIGITS: usize = 32;
/// The exit status by which a command says that the key is not its own.
const STATUS_WRONG_KEY: i32 = 3;

/// Wraps with an external command.
///
/// The command is run as `PROGRAM wrap` or `PROGRAM unwrap`, without a shell; a name without a
/// slash is looked up in `PATH`. Secrets go through its standard input and output only, never
/// through arguments or the environment.
///
/// It reads four lines from standard input:
///
/// ```text
/// lightning_db key 1
/// database <32 hex digits: the database's id>
/// slot <64 hex digits: the slot's salt>
/// payload <hex: the key of 32 bytes to wrap, or what wrapping it gave>
/// ```
///
/// and writes one line to standard output: the wrapped key (from 1 byte to 16 KiB), or the key of
/// 32 bytes, in hex. What it wraps must be bound to its wrapping key, and should be bound to the
/// database and slot (as associated data, or an encryption context).
///
/// Exit status 0 means done; 3 that another key wrapped this; anything else that it failed, and
/// the first 200 characters of standard error are reported, without what may be a key. It is killed if it takes longer than 30
/// seconds.
#[derive(Clone, Debug)]
pub struct ExecProvider {
    program: OsString,
    timeout: Duration,
}

impl ExecProvider {
    /// Wraps with the command `program`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), timeout: TIMEOUT }
    }

    /// Kills the command after `timeout`, instead of after 30 seconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn run(
        &self,
        verb: &str,
        ctx: &SlotContext,
        payload: &[u8],
        max_len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let request = request(ctx, payload);
        let mut child = Command::new(&self.program)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(format!("it cannot be started: {error}")))?;
        // The three pipes are served side by side, or a command that fills one while it waits for
        // another would hang.
        let output = read_all(child.stdout.take(), 2 * max_len + 2);
        let complaint = read_all(child.stderr.take(), MAX_COMPLAINT_LEN);
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input says why by its exit status.
            thread::spawn(move || stdin.write_all(&request));
        }
        let deadline = Instant::now() + self.timeout;
        let status = self.wait(&mut child, deadline)?;
        let receive = |from: mpsc::Receiver<_>| {
            from.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .map_err(|_| self.failed("its output stayed open after it ended".into()))
        };
        if !status.success() {
            return Err(self.complain(status, &receive(complaint)?));
        }
        let output = receive(output)?;
        self.decode(&output, max_len)
    }

    fn wait(&self, child: &mut Child, deadline: Instant) -> Result<ExitStatus, CryptoError> {
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
                Ok(None) => {
                    let ended = child.kill().and_then(|()| child.wait());
                    let how = ended.map_or_else(|error| format!("not killed: {error}"), |_| "killed".into());
                    return Err(self.failed(format!("it took more than {:?} and was {how}", self.timeout)));
                }
                Err(error) => return Err(self.failed(format!("it cannot be waited for: {error}"))),
            }
        }
    }

    fn complain(&self, status: ExitStatus, complaint: &[u8]) -> CryptoError {
        if status.code() == Some(STATUS_WRONG_KEY) {
            return CryptoError::WrongKey {
                what: format!("{} says that another key wrapped this", self.name()),
            };
        }
        let text = presentable(&String::from_utf8_lossy(complaint));
        self.failed(format!("{status}; it said: {text:?}"))
    }

    pub(super) fn decode(&self, output: &[u8], max_len: usize) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let digits = output.trim_ascii();
        let mut decoded = Zeroizing::new(vec![0; digits.len() / 2]);
        if digits.is_empty() || digits.len() > 2 * max_len {
            return Err(self.failed(format!(
                "it answered with {} bytes, not with 2 to {} hex digits",
                digits.len(),
                2 * max_len
            )));
        }
        hex::decode_to_slice(digits, &mut decoded)
            .map_err(|_| self.failed("its answer is not in hex digits".into()))?;
        Ok(decoded)
    }

    fn name(&self) -> String {
        format!("exec:{}", self.program.to_string_lossy())
    }

    fn failed(&self, reason: String) -> CryptoError {
        CryptoError::Provider { name: self.name(), reason }
    }
}

impl KeyProvider for ExecProvider {
    fn kind(&self) -> &'static str {
        "exec"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        _entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let mut bytes = self.run("wrap", ctx, key.expose(), MAX_WRAPPED_LEN)?;
        if bytes.windows(SecretKey::LEN).any(|window| window == key.expose()) {
            return Err(self.failed("it gave the key back unwrapped".into()));
        }
        // The wrapping key is out of our sight, so the commitment is to the key inside.
        let commitment = ctx.commitment_to(key);
        Ok(WrappedKey { params: Vec::new(), bytes: std::mem::take(&mut *bytes), commitment })
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let bytes = self.run("unwrap", ctx, &wrapped.bytes, SecretKey::LEN)?;
        let key = SecretKey::from_slice(&bytes)
            .ok_or_else(|| self.failed(format!("it gave a key of {} bytes, not 32", bytes.len())))?;
        ctx.check_commitment(&key, &wrapped.commitment)?;
        Ok(key)
    }
}

fn request(ctx: &SlotContext, payload: &[u8]) -> Zeroizing<Vec<u8>> {
    let head =
        format!("lightning_db key 1\ndatabase {}\nslot {}\npayload ", ctx.database, hex::encode(ctx.salt));
    let mut request = Zeroizing::new(vec![0; head.len() + 2 * payload.len() + 1]);
    let (place, digits) = request.split_at_mut(head.len());
    place.copy_from_slice(head.as_bytes());
    let (digits, end) = digits.split_at_mut(2 * payload.len());
    hex::encode_to_slice(payload, digits).expect("the place has two digits a byte");
    end.copy_from_slice(b"\n");
    request
}

/// Keeps out of a report what may be a key, and what could rewrite what a terminal shows.
pub(super) fn presentable(complaint: &str) -> String {
    let mut text = String::new();
    for run in complaint.trim().split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let digits = run.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        if digits.len() >= SECRET_DIGITS {
            text.push_str("[redacted]");
            text.push_str(&run[digits.len()..]);
        } else {
            text.push_str(run);
        }
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REPORT_CHARS).collect()
}

/// Reads in the background: one byte more than `max_len` into memory, the rest into nothing, so
/// that a chatty command does not hang.
fn read_all<R: Read + Send + 'static>(pipe: Option<R>, max_len: usize) -> mpsc::Receiver<Zeroizing<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut content = Zeroizing::new(Vec::with_capacity(max_len + 1));
        if let Some(mut pipe) = pipe {
            // What was read before an error is judged like any other answer.
            let read = pipe.by_ref().take(max_len as u64 + 1).read_to_end(&mut content);
            if read.is_ok() && content.len() > max_len {
                let drained = std::io::copy(&mut pipe, &mut std::io::sink());
                tracing::debug!(?drained, "a key command wrote more than is read");
            }
        }
        // Nobody listens any more if the command was too slow.
        sender.send(content).ok();
    });
    receiver
}
