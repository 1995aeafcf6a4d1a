//! The sockets of the process, bound all together before anything is started,
//! or taken over from the process before: what cannot be had is said in one
//! line, nobody else takes one meanwhile, and port 0 is announced as the port
//! it became.
//!
//! Pingora would bind on its services' threads, try for half a minute, and then
//! panic there.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::mpsc::Sender;

use anyhow::anyhow;
use async_trait::async_trait;
use knoxcall_bundle::settings::Settings;
use pingora::apps::ServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::listening::Service;
use tokio::net::TcpSocket;

use crate::lifecycle::Event;
use crate::reason;

/// How many connections the kernel may keep until they are accepted.
const BACKLOG: u32 = 65_535;

pub struct Bound {
    pub address: SocketAddr,
    socket: TcpListener,
}

pub struct Sockets {
    pub edge: Vec<Bound>,
    pub admin: Option<Bound>,
}

/// From the process before.
struct Inherited(Vec<Bound>);

/// A service that gets its sockets from us, and whose death ends the process.
pub struct Listening<A> {
    service: Service<A>,
    sockets: Vec<Bound>,
    events: Sender<Event>,
}

/// Dropped with the service: at the shutdown, or before it in a panic.
pub struct Alive {
    name: String,
    shutdown: ShutdownWatch,
    events: Sender<Event>,
}

impl Sockets {
    pub fn bind(settings: &Settings) -> anyhow::Result<Self> {
        Self::adopt(settings, Vec::new())
    }

    /// Of the inherited sockets those that the settings name; what is missing
    /// is bound, and the rest closed.
    pub fn adopt(settings: &Settings, inherited: Vec<TcpListener>) -> anyhow::Result<Self> {
        let mut inherited = Inherited::new(inherited)?;
        let listeners = settings.listeners.iter();
        Ok(Self {
            edge: listeners
                .map(|listener| inherited.take_or_bind(listener.address))
                .collect::<anyhow::Result<_>>()?,
            admin: settings
                .admin
                .map(|admin| inherited.take_or_bind(admin.address))
                .transpose()?,
        })
    }

    /// For the process that comes after this one.
    pub fn shared(&self) -> io::Result<Vec<TcpListener>> {
        let all = self.edge.iter().chain(&self.admin);
        all.map(|bound| bound.socket.try_clone()).collect()
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        let all = self.edge.iter().chain(&self.admin);
        all.map(|bound| bound.address).collect()
    }
}

impl Inherited {
    fn new(sockets: Vec<TcpListener>) -> io::Result<Self> {
        let bound = sockets.into_iter().map(Bound::of);
        Ok(Self(bound.collect::<io::Result<_>>()?))
    }

    fn take_or_bind(&mut self, wanted: SocketAddr) -> anyhow::Result<Bound> {
        let found = self.0.iter().position(|bound| bound.address == wanted);
        match found {
            Some(index) => Ok(self.0.swap_remove(index)),
            None => Bound::new(wanted),
        }
    }
}

impl Bound {
    fn new(wanted: SocketAddr) -> anyhow::Result<Self> {
        TcpListener::bind(wanted)
            .and_then(Self::of)
            .map_err(|error| anyhow!("cannot listen on {wanted}: {}", reason::of_io(&error)))
    }

    fn of(socket: TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { address, socket })
    }

    /// For this runtime. Listening again only changes the backlog: the standard
    /// library's is too short for a burst.
    pub fn listen(self) -> io::Result<tokio::net::TcpListener> {
        let socket = TcpStream::from(OwnedFd::from(self.socket));
        TcpSocket::from_std_stream(socket).listen(BACKLOG)
    }
}

impl<A> Listening<A> {
    /// The service's own listeners are the addresses of `sockets`.
    pub fn new(service: Service<A>, sockets: Vec<Bound>, events: Sender<Event>) -> Self {
        Self {
            service,
            sockets,
            events,
        }
    }

    /// Pingora takes a socket that is in this table instead of binding one, and
    /// owns it from then on.
    fn hand_over(&mut self, table: &ListenFds) {
        let mut table = table.lock();
        for bound in self.sockets.drain(..) {
            table.add(bound.address.to_string(), bound.socket.into_raw_fd());
        }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> pingora::services::Service for Listening<A> {
    async fn start_service(
        &mut self,
        table: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let _alive = Alive::new(self.service.name(), shutdown.clone(), self.events.clone());
        if let Some(table) = &table {
            self.hand_over(table);
        }
        pingora::services::Service::start_service(
            &mut self.service,
            table,
            shutdown,
            listeners_per_fd,
        )
        .await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads
    }
}

impl Alive {
    pub fn new(name: &str, shutdown: ShutdownWatch, events: Sender<Event>) -> Self {
        Self {
            name: name.to_owned(),
            shutdown,
            events,
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if !*self.shutdown.borrow() {
            // Nobody listens any more only when the process is ending anyway.
            let _ = self
                .events
                .send(Event::Died(std::mem::take(&mut self.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use tokio::sync::watch;

    #[test]
    fn sockets_are_held_until_they_are_handed_over() {
        let first = Bound::new("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(first.address.port(), 0);
        let Err(refusal) = Bound::new(first.address) else {
            panic!("the same address was bound twice");
        };
        assert_eq!(
            refusal.to_string(),
            format!("cannot listen on {}: Address already in use", first.address)
        );
    }

    #[test]
    fn an_inherited_socket_is_taken_by_its_address_and_the_rest_closed() {
        let [kept, left] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [&kept, &left].map(|socket| socket.local_addr().unwrap());
        let mut inherited = Inherited::new(vec![left, kept]).unwrap();
        let taken = inherited.take_or_bind(addresses[0]).unwrap();
        assert_eq!(taken.address, addresses[0]);
        drop(inherited);
        Bound::new(addresses[1]).unwrap();
    }

    #[test]
    fn the_death_of_a_service_is_told_and_its_shutdown_is_not() {
        for stopping in [false, true] {
            let (_stop, shutdown) = watch::channel(stopping);
            let (events, told) = channel();
            drop(Alive {
                name: "edge".to_owned(),
                shutdown,
                events,
            });
            let died = matches!(told.try_recv(), Ok(Event::Died(name)) if name == "edge");
            assert_eq!(died, !stopping);
        }
    }
}
