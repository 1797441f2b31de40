//! [`Streams`]: where a command reads and writes; the process's own streams, or memory in tests.

use bytes::Bytes;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Standard input.
#[derive(Clone, Debug)]
pub enum Input {
    /// The process's own.
    Process,
    /// These bytes, then the end.
    Bytes(Bytes),
}

type Sink = Arc<Mutex<dyn Write + Send>>;

/// Where a command reads and writes. Clones share the streams.
#[derive(Clone)]
pub struct Streams {
    /// Standard input.
    pub input: Input,
    out: Sink,
    err: Sink,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Streams({:?})", self.input)
    }
}

impl Streams {
    /// The process's own streams.
    pub fn process() -> Self {
        Self::new(Input::Process, io::stdout(), io::stderr())
    }

    /// Any streams.
    pub fn new(input: Input, out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self { input, out: Arc::new(Mutex::new(out)), err: Arc::new(Mutex::new(err)) }
    }

    /// Writes to standard output. A closed pipe ends the command quietly, as for other command line tools.
    pub(crate) fn out(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(bytes.as_ref())?;
        out.flush()
    }

    /// Writes to standard error.
    pub(crate) fn err(&self, bytes: impl AsRef<[u8]>) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere left to say that standard error is gone.
        let _ = err.write_all(bytes.as_ref()).and_then(|()| err.flush());
    }

    /// Writes a line to standard error.
    pub(crate) fn warn(&self, line: &str) {
        self.err(format!("{}\n", line.trim_end_matches('\n')));
    }

    pub(crate) fn flush(&self) {
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }

    /// All of standard input.
    pub(crate) async fn read_all(&self) -> io::Result<Bytes> {
        match &self.input {
            Input::Bytes(bytes) => Ok(bytes.clone()),
            Input::Process => {
                let read = tokio::task::spawn_blocking(|| {
                    let mut all = Vec::new();
                    io::stdin().lock().read_to_end(&mut all).map(|_| all)
                });
                Ok(read.await.map_err(io::Error::other)??.into())
            }
        }
    }

    /// Standard input in pieces, as it comes.
    pub(crate) fn pieces(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(8);
        match &self.input {
            Input::Bytes(bytes) => {
                if !bytes.is_empty() {
                    // A new channel has room.
                    let _ = sender.try_send(bytes.clone());
                }
            }
            Input::Process => {
                tokio::task::spawn_blocking(move || {
                    let mut buffer = vec![0; 32 << 10];
                    // Unbuffered: a terminal's keys go out as they are pressed.
                    while let Ok(length) = rustix::io::read(io::stdin(), &mut buffer[..]) {
                        if length == 0
                            || sender.blocking_send(Bytes::copy_from_slice(&buffer[..length])).is_err()
                        {
                            break;
                        }
                    }
                });
            }
        }
        receiver
    }
}
