//! Tells systemd that the gateway serves, and which process it is
//! (`sd_notify(3)`, `Type=notify`): a datagram to the socket that it names.
//! Without one nobody asks.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const SOCKET: &str = "NOTIFY_SOCKET";

/// Serves, as the unit's main process.
pub fn serving() {
    let state = format!("READY=1\nMAINPID={}\n", std::process::id());
    if let Err(error) = tell(std::env::var_os(SOCKET), &state) {
        tracing::warn!(%error, "systemd ({SOCKET}) cannot be told");
    }
}

fn tell(socket: Option<OsString>, state: &str) -> io::Result<()> {
    let Some(socket) = socket.filter(|socket| !socket.is_empty()) else {
        return Ok(());
    };
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    from.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_goes_to_the_socket_that_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        tell(Some(path.into_os_string()), "READY=1\n").unwrap();
        let mut told = [0; 64];
        let length = supervisor.recv(&mut told).unwrap();
        assert_eq!(&told[..length], b"READY=1\n");
    }

    #[test]
    fn an_abstract_socket_is_named_with_an_at() {
        let name = format!("knoxcall-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let supervisor = UnixDatagram::bind_addr(&address).unwrap();
        tell(Some(format!("@{name}").into()), "READY=1\n").unwrap();
        let mut told = [0; 64];
        assert_eq!(supervisor.recv(&mut told).unwrap(), 8);
    }

    #[test]
    fn without_a_supervisor_nothing_is_told() {
        tell(None, "READY=1\n").unwrap();
        tell(Some(OsString::new()), "READY=1\n").unwrap();
    }
}
