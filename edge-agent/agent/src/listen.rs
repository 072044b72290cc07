//! Sockets: the Unix socket for people and the loopback port for tills.
//!
//! A socket file left by a killed daemon is replaced; one that somebody answers on is not, and the error says so. The file
//! gets mode 0660: its group decides who may act on the store.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener};

/// Permission bits of the Unix socket.
pub const SOCKET_MODE: u32 = 0o660;

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process answers there.
    #[error("socket {0} is taken: another daemon answers on it")]
    SocketTaken(PathBuf),
    /// Something that is not a socket stands in the way.
    #[error("expected a socket or nothing at {0}, found another kind of file")]
    NotASocket(PathBuf),
    /// The file system refused.
    #[error("cannot listen on socket {path}: {source}")]
    Socket {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The port is in use.
    #[error("port {0} is taken: another process listens on it")]
    PortTaken(SocketAddr),
    /// The system refused.
    #[error("cannot listen on {address}: {source}")]
    Port {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Binds the Unix socket.
pub fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    use std::os::unix::fs::FileTypeExt;
    let socket = |source| ListenError::Socket { path: path.to_path_buf(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(socket(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_path_buf()));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(ListenError::SocketTaken(path.to_path_buf())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tracing::info!(path = %path.display(), "replacing a socket that nobody answers on");
                std::fs::remove_file(path).map_err(socket)?;
            }
            Err(error) => return Err(socket(error)),
        },
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(socket)?;
    }
    let listener = UnixListener::bind(path).map_err(socket)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(socket)?;
    Ok(listener)
}

/// Binds the loopback port.
pub async fn tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::PortTaken(address),
        _ => ListenError::Port { address, source },
    })
}
