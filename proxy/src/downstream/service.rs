//! Accepts connections on the edge's sockets, one task a socket, and gives each
//! a task of its own on the workers, as Pingora's listening service does.
//!
//! Without files or memory for another connection, `accept` fails at once and
//! for ever: then it rests instead of turning.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use rustix::net::{SocketFlags, accept_with};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::door::{Entry, enter};
use crate::edge::connection::Edge;
use crate::edge::connections::Arrival;
use crate::gateway::Gateway;
use crate::lifecycle::Event;
use crate::listening::{Alive, Bound};

const NAME: &str = "edge";
/// Long enough to let connections end, short enough to be unnoticed.
const REST: Duration = Duration::from_millis(200);

pub struct EdgeService {
    gateway: Arc<Gateway>,
    edge: Arc<Edge>,
    sockets: Vec<Bound>,
    events: Sender<Event>,
}

/// One socket's accept loop.
struct Acceptor {
    gateway: Arc<Gateway>,
    edge: Arc<Edge>,
    /// Its index among the listeners.
    listener: usize,
    shutdown: ShutdownWatch,
    _accepts: Arrival,
}

impl EdgeService {
    pub fn new(
        gateway: Arc<Gateway>,
        edge: Edge,
        sockets: Vec<Bound>,
        events: Sender<Event>,
    ) -> Self {
        Self {
            gateway,
            edge: Arc::new(edge),
            sockets,
            events,
        }
    }

    /// The sockets of all listeners, in their order.
    fn listen(&mut self) -> io::Result<Vec<Arc<TcpListener>>> {
        let sockets = std::mem::take(&mut self.sockets);
        let sockets = sockets.into_iter();
        sockets.map(|bound| bound.listen().map(Arc::new)).collect()
    }
}

#[async_trait]
impl Service for EdgeService {
    async fn start_service(
        &mut self,
        _: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let _alive = Alive::new(NAME, shutdown.clone(), self.events.clone());
        let listeners = match self.listen() {
            Ok(listeners) => listeners,
            Err(error) => return tracing::error!(%error, "the sockets cannot be listened on"),
        };
        let mut tasks = JoinSet::new();
        let runtime = pingora_runtime::current_handle();
        for (listener, socket) in listeners.into_iter().enumerate() {
            for _ in 0..listeners_per_fd {
                let acceptor = Acceptor {
                    gateway: self.gateway.clone(),
                    edge: self.edge.clone(),
                    listener,
                    shutdown: shutdown.clone(),
                    _accepts: self.gateway.connections.arrive(),
                };
                tasks.spawn_on(acceptor.run(socket.clone()), &runtime);
            }
        }
        // Nobody listens any more only when the process is ending anyway.
        let _ = self.events.send(Event::Listening);
        // Each runs until the shutdown; one that has ended before it has died,
        // and the service with it.
        while tasks.join_next().await.is_some() && *shutdown.borrow() {}
        tracing::info!("no more connections are accepted");
    }

    fn name(&self) -> &str {
        NAME
    }
}

impl Acceptor {
    async fn run(mut self, socket: Arc<TcpListener>) {
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = stopped(&mut self.shutdown) => return self.serve_waiting(&socket),
            };
            match accepted {
                Ok((stream, peer)) => {
                    is_failing = false;
                    self.serve(stream, peer);
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    self.gateway.metrics.downstream.accept_errors.inc();
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Those that the kernel has accepted for us, and would reset. A successor
    /// has the same queue.
    fn serve_waiting(&self, socket: &TcpListener) {
        if self.gateway.is_succeeded() {
            return;
        }
        loop {
            match accept_at_once(socket) {
                Ok((stream, peer)) => self.serve(stream, peer),
                Err(error) if is_the_clients(&error) => {}
                // There are none left.
                Err(_) => return,
            }
        }
    }

    /// On any of the workers, until it ends or the cut is made.
    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let (gateway, edge) = (self.gateway.clone(), self.edge.clone());
        let (listener, shutdown) = (self.listener, self.shutdown.clone());
        let arrival = gateway.connections.arrive();
        pingora_runtime::current_handle().spawn(async move {
            let accepted = (stream, peer, arrival);
            let connection = connection(&gateway, &edge, listener, accepted, &shutdown);
            gateway.cutoff.unless_cut(pin!(connection)).await;
        });
    }
}

/// One connection, from `accept` to its end.
pub async fn connection(
    gateway: &Gateway,
    edge: &Arc<Edge>,
    listener: usize,
    (stream, peer, arrival): (TcpStream, SocketAddr, Arrival),
    shutdown: &ShutdownWatch,
) {
    // Of a socket that is broken already the first read will tell.
    let _ = stream.set_nodelay(true);
    let entry = enter(gateway, listener, stream, peer).await;
    drop(arrival);
    match entry {
        Entry::Accepted(connection) => edge.accepted(connection, shutdown).await,
        Entry::Overloaded(stream, peer) => edge.refuse_overload(stream, peer).await,
        Entry::Closed => {}
    }
}

async fn stopped(shutdown: &mut ShutdownWatch) {
    // Without anybody who could stop it, it has been.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Whether tokio has heard of a connection yet is of no matter here.
fn accept_at_once(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = std::net::TcpStream::from(accept_with(socket, flags)?);
    let peer = stream.peer_addr()?;
    Ok((TcpStream::from_std(stream)?, peer))
}

/// It was gone before it was accepted: the next one may be sound.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | NotConnected
    )
}
