//! Where output goes: one writer that takes a closed pipe for a reader who has seen enough.

use crate::exit::Exit;
use std::io::{ErrorKind, IsTerminal, Write};

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// Whether colors help.
    pub(crate) color: bool,
    /// Whether a person watches.
    pub(crate) terminal: bool,
}

impl Screen {
    /// Looks at the environment.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { color, terminal }
    }

    /// Writes. `Err` ends the command: quietly when the reader closed the pipe.
    pub(crate) fn put(self, text: &str) -> Result<(), Exit> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Exit::Ok),
            Err(_) => Err(Exit::Error),
        }
    }
}

/// Tells a person why; a closed standard error cannot be helped.
pub(crate) fn complain(text: &str) {
    let mut err = std::io::stderr().lock();
    if writeln!(err, "edgectl: {}", crate::table::clean(text)).is_err() {
        // Nobody reads it: the exit code still tells.
    }
}
