//! Messages between two processes of one user: a line of text each, perhaps
//! with a socket (`unix(7)`, SCM_RIGHTS). Packets that keep their borders, so
//! that nothing needs framing.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

const LONGEST: usize = 512;
const SPACE: usize = cmsg_space!(ScmRights(1));

#[derive(Debug)]
pub struct Message {
    pub text: String,
    pub socket: Option<OwnedFd>,
}

pub fn send(to: impl AsFd, text: &str, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [const { MaybeUninit::uninit() }; SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if socket.is_some() && !control.push(SendAncillaryMessage::ScmRights(socket.as_slice())) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let parts = [IoSlice::new(text.as_bytes())];
    sendmsg(to, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// An error at the end, too: whoever still waits for a word has lost the other.
pub fn receive(from: impl AsFd) -> io::Result<Message> {
    let mut space = [const { MaybeUninit::uninit() }; SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; LONGEST];
    let received = recvmsg(
        from,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let socket = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        })
        .flatten()
        .last();
    let text = bytes.get(..received.bytes).unwrap_or_default();
    match text {
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        text => Ok(Message {
            text: String::from_utf8_lossy(text).into_owned(),
            socket,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_socket_goes_with_its_message() {
        let (one, other) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        send(&one, "here it is", Some(listener.as_fd())).unwrap();
        send(&one, "and no more", None).unwrap();
        let first = receive(&other).unwrap();
        assert_eq!(first.text, "here it is");
        let same = TcpListener::from(first.socket.unwrap());
        assert_eq!(same.local_addr().unwrap(), listener.local_addr().unwrap());
        let second = receive(&other).unwrap();
        assert_eq!(second.text, "and no more");
        assert!(second.socket.is_none());
    }

    #[test]
    fn the_end_is_an_error() {
        let (one, other) = pair();
        let would_block = receive(&other).unwrap_err();
        assert_eq!(would_block.kind(), io::ErrorKind::WouldBlock);
        drop(one);
        let end = receive(&other).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        assert!(send(&other, "anybody?", None).is_err());
    }
}
