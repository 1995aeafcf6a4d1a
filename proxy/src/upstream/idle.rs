//! HTTP/1 connections that wait for their next request.
//!
//! Pingora's own pool spawns a task for each connection that it is given, to
//! watch it, and ends that task when the connection is taken: a sixth of what a
//! proxied request costs in user space. Here a connection is looked at when it
//! is taken, and once a second while it waits.
//!
//! Each worker has a shelf of its own, whose lock others ask for only when
//! theirs is empty, and never wait for.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use lru::LruCache;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use pingora::upstreams::peer::HttpPeer;
use tokio::io::AsyncReadExt;

const SWEPT_EVERY: Duration = Duration::from_secs(1);
/// One that was used so lately is hardly closed by now.
const FRESH: Duration = Duration::from_secs(1);

pub struct IdleConnections {
    shelves: Box<[Mutex<Shelf>]>,
}

/// Whose a connection is: [`super::pool_key`] says what a group stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Owner {
    group: u64,
    address: SocketAddr,
}

struct Idle {
    connection: Stream,
    since: Instant,
    timeout: Option<Duration>,
}

struct Shelf {
    /// In the order in which they were put.
    by_owner: LruCache<Owner, VecDeque<Idle>>,
    kept: usize,
    most: usize,
}

impl IdleConnections {
    /// `most` are kept, an equal share by each worker.
    pub fn new(most: usize, workers: usize) -> Self {
        let share = most.div_ceil(workers.max(1));
        let shelves = (0..workers.max(1)).map(|_| Mutex::new(Shelf::new(share)));
        Self {
            shelves: shelves.collect(),
        }
    }

    /// A connection that is still open and on which nothing was said.
    pub fn take(&self, peer: &HttpPeer) -> Option<Stream> {
        let owner = Owner::of(peer)?;
        let own = worker() % self.shelves.len();
        let now = Instant::now();
        loop {
            let idle = lock(self.shelves.get(own)?).take(&owner, now);
            let mut idle = idle.or_else(|| self.take_from_others(own, &owner, now))?;
            if idle.is_usable(now) {
                return Some(idle.connection);
            }
        }
    }

    fn take_from_others(&self, own: usize, owner: &Owner, now: Instant) -> Option<Idle> {
        let (before, from_own) = self.shelves.split_at_checked(own)?;
        let others = from_own.iter().skip(1).chain(before);
        others.into_iter().find_map(|shelf| {
            let mut shelf = match shelf.try_lock() {
                Ok(shelf) => shelf,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            };
            shelf.take(owner, now)
        })
    }

    pub fn put(&self, mut connection: Stream, peer: &HttpPeer) {
        let Some(owner) = Owner::of(peer) else { return };
        if !is_quiet(&mut connection) {
            return;
        }
        let idle = Idle {
            connection,
            since: Instant::now(),
            timeout: peer.options.idle_timeout,
        };
        let own = worker() % self.shelves.len();
        let Some(shelf) = self.shelves.get(own) else {
            return;
        };
        // Closed when the lock is free again.
        let _displaced = lock(shelf).put(owner, idle);
    }

    /// Closes what has waited too long, and what the upstream has closed.
    fn sweep(&self) {
        for shelf in &self.shelves {
            let _gone = lock(shelf).sweep(Instant::now());
        }
    }
}

impl Owner {
    /// None of a UNIX domain socket: there are none yet.
    fn of(peer: &HttpPeer) -> Option<Self> {
        Some(Self {
            group: peer.group_key,
            address: *peer._address.as_inet()?,
        })
    }
}

impl Idle {
    fn is_usable(&mut self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.since);
        let is_late = self.timeout.is_some_and(|timeout| waited >= timeout);
        !is_late && is_quiet(&mut self.connection)
    }
}

impl Shelf {
    fn new(most: usize) -> Self {
        Self {
            by_owner: LruCache::unbounded(),
            kept: 0,
            most,
        }
    }

    /// While all are in use, the one that has waited for longest: upstreams are
    /// then found awake more often (6 % of a request's time). Once some are not
    /// needed they are left to end, and those that are needed stay young.
    fn take(&mut self, owner: &Owner, now: Instant) -> Option<Idle> {
        let connections = self.by_owner.get_mut(owner)?;
        let oldest = connections.front()?;
        let taken = match now.saturating_duration_since(oldest.since) < FRESH {
            true => connections.pop_front(),
            false => connections.pop_back(),
        };
        self.kept -= usize::from(taken.is_some());
        taken
    }

    /// What it displaces: the oldest connection of whoever has been quiet for
    /// longest.
    fn put(&mut self, owner: Owner, idle: Idle) -> Option<Idle> {
        let displaced = match self.kept < self.most {
            true => None,
            false => {
                let mut quietest = self.by_owner.iter_mut().rev();
                quietest.find_map(|(_, connections)| connections.pop_front())
            }
        };
        let of_owner = self.by_owner.get_or_insert_mut(owner, VecDeque::new);
        of_owner.push_back(idle);
        self.kept += usize::from(displaced.is_none());
        displaced
    }

    fn sweep(&mut self, now: Instant) -> Vec<Idle> {
        let mut gone = Vec::new();
        let mut without = Vec::new();
        for (owner, connections) in &mut self.by_owner {
            for mut idle in std::mem::take(connections) {
                match idle.is_usable(now) {
                    true => connections.push_back(idle),
                    false => gone.push(idle),
                }
            }
            if connections.is_empty() {
                without.push(*owner);
            }
        }
        for owner in without {
            self.by_owner.pop(&owner);
        }
        self.kept -= gone.len();
        gone
    }
}

/// Nothing to read, not even an end. What comes unasked is never an answer to
/// the next request.
fn is_quiet(connection: &mut Stream) -> bool {
    let mut seen = [0];
    let reading = connection.read(&mut seen);
    tokio::task::unconstrained(reading).now_or_never().is_none()
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads, numbered as they come here.
fn worker() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| {
        let given = number
            .get()
            .unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        number.set(Some(given));
        given
    })
}

/// Looks at them, once a second.
pub struct Sweep(pub Arc<IdleConnections>);

#[async_trait]
impl BackgroundService for Sweep {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut tick = tokio::time::interval(SWEPT_EVERY);
        while !*shutdown.borrow() {
            tokio::select! {
                _ = tick.tick() => self.0.sweep(),
                _ = shutdown.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn peer(group: u64, last_octet: u8) -> HttpPeer {
        let address = SocketAddr::from(([192, 0, 2, last_octet], 80));
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.group_key = group;
        peer
    }

    /// Ours, and the upstream's end.
    fn connection() -> (Stream, DuplexStream) {
        let (ours, theirs) = duplex(64);
        (Box::new(ours), theirs)
    }

    /// Which of three are taken, when the first of them has waited for so long.
    async fn order(waited: Duration) -> Vec<u8> {
        let mut shelf = Shelf::new(8);
        let owner = Owner::of(&peer(1, 1)).unwrap();
        let now = Instant::now();
        let mut upstreams = Vec::new();
        for (number, waited) in [(1, waited), (2, Duration::ZERO), (3, Duration::ZERO)] {
            let (connection, mut theirs) = connection();
            theirs.write_u8(number).await.unwrap();
            upstreams.push(theirs);
            shelf.put(
                owner,
                Idle {
                    connection,
                    since: now.checked_sub(waited).unwrap(),
                    timeout: None,
                },
            );
        }
        let mut taken = Vec::new();
        while let Some(mut idle) = shelf.take(&owner, now) {
            taken.push(idle.connection.read_u8().await.unwrap());
        }
        assert_eq!(shelf.kept, 0);
        taken
    }

    #[tokio::test]
    async fn all_are_used_in_turn_until_some_are_not_needed() {
        assert_eq!(order(Duration::ZERO).await, [1, 2, 3]);
        assert_eq!(order(FRESH).await, [3, 2, 1]);
    }

    #[tokio::test]
    async fn nobody_takes_what_is_anothers() {
        let idle = IdleConnections::new(8, 2);
        let (ours, _theirs) = connection();
        idle.put(ours, &peer(1, 1));
        for other in [peer(2, 1), peer(1, 2)] {
            assert!(idle.take(&other).is_none());
        }
        assert!(idle.take(&peer(1, 1)).is_some());
    }

    #[tokio::test]
    async fn what_was_closed_spoken_on_or_kept_too_long_is_not_given() {
        let idle = IdleConnections::new(8, 1);
        let (closed, theirs) = connection();
        idle.put(closed, &peer(1, 1));
        drop(theirs);
        let (spoken_on, mut theirs) = connection();
        idle.put(spoken_on, &peer(1, 1));
        theirs.write_u8(b'H').await.unwrap();
        let (late, _theirs) = connection();
        let mut impatient = peer(1, 1);
        impatient.options.idle_timeout = Some(Duration::ZERO);
        idle.put(late, &impatient);
        assert!(idle.take(&peer(1, 1)).is_none());
        assert_eq!(idle.shelves[0].lock().unwrap().kept, 0);

        let (ours, mut theirs) = connection();
        theirs.write_u8(b'H').await.unwrap();
        idle.put(ours, &peer(1, 1));
        assert!(idle.take(&peer(1, 1)).is_none(), "spoken on before");
    }

    #[tokio::test]
    async fn a_full_shelf_gives_up_the_oldest_of_the_quietest() {
        let idle = IdleConnections::new(3, 1);
        let (oldest, mut displaced) = connection();
        idle.put(oldest, &peer(1, 1));
        let others = [1, 2, 2].map(|owner| {
            let (ours, theirs) = connection();
            idle.put(ours, &peer(owner, 1));
            theirs
        });
        assert!(displaced.read_u8().await.is_err(), "closed");
        let of = |owner| std::iter::from_fn(|| idle.take(&peer(owner, 1))).count();
        assert_eq!((of(1), of(2)), (1, 2));
        drop(others);
    }

    #[tokio::test]
    async fn a_sweep_closes_what_nobody_can_use_and_forgets_its_owner() {
        let idle = IdleConnections::new(8, 1);
        let (closed, theirs) = connection();
        idle.put(closed, &peer(1, 1));
        drop(theirs);
        let (late, mut theirs) = connection();
        let mut impatient = peer(2, 1);
        impatient.options.idle_timeout = Some(Duration::ZERO);
        idle.put(late, &impatient);
        let (good, _theirs) = connection();
        idle.put(good, &peer(3, 1));
        idle.sweep();
        assert!(theirs.read_u8().await.is_err(), "closed");
        let shelf = idle.shelves[0].lock().unwrap();
        assert_eq!((shelf.kept, shelf.by_owner.len()), (1, 1));
    }

    #[tokio::test]
    async fn a_worker_whose_shelf_is_empty_takes_from_another() {
        let idle = Arc::new(IdleConnections::new(8, 64));
        let (ours, _theirs) = connection();
        idle.put(ours, &peer(1, 1));
        let elsewhere = idle.clone();
        let taken = std::thread::spawn(move || elsewhere.take(&peer(1, 1)).is_some());
        assert!(taken.join().unwrap());
        assert!(idle.take(&peer(1, 1)).is_none());
    }
}
