//! The nonces of several instances, in Redis. It must not evict keys
//! (`maxmemory-policy noeviction`).
//!
//! Claims that are made at about the same moment, in one turn of a worker,
//! travel together: for a busy gateway the round trip costs more than what Redis
//! has to do for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::{Claim, Nonce, NonceKey};
use crate::link::{Away, Link};
use crate::memory;

/// Claims of one round trip.
const MOST: usize = 64;

pub(crate) struct SharedNonces {
    link: Arc<Link>,
    /// Of the keys in Redis.
    prefix: Box<str>,
    /// For the next round trip. Whoever comes first sees to it.
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    nonce: Nonce,
    answer: oneshot::Sender<Claim>,
}

impl SharedNonces {
    pub(crate) fn new(link: Arc<Link>, key_prefix: &str) -> Arc<SharedNonces> {
        Arc::new(SharedNonces {
            link,
            prefix: format!("{key_prefix}nonce:").into(),
            waiting: Mutex::default(),
        })
    }

    /// Safe to cancel; the nonce may be claimed all the same.
    pub(crate) async fn claim(self: &Arc<Self>, nonce: Nonce) -> Claim {
        let Ok(runtime) = Handle::try_current() else {
            return Claim::Unavailable;
        };
        let (answer, claim) = oneshot::channel();
        // A task of its own: the others must not depend on this request.
        match self.wait(Waiting { nonce, answer }) {
            Place::First => drop(runtime.spawn(Trip::of(self).make())),
            Place::Last(full) => drop(runtime.spawn(self.clone().judge(full))),
            Place::Between => {}
        }
        claim.await.unwrap_or(Claim::Unavailable)
    }

    fn wait(&self, claim: Waiting) -> Place {
        let mut waiting = self.waiting();
        waiting.push(claim);
        match waiting.len() {
            1 => Place::First,
            MOST => Place::Last(std::mem::take(&mut *waiting)),
            _ => Place::Between,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.waiting())
    }

    async fn judge(self: Arc<Self>, mut waiting: Vec<Waiting>) {
        // A nonce whose request is gone may be used yet.
        waiting.retain(|waiting| !waiting.answer.is_closed());
        if waiting.is_empty() {
            return;
        }
        let claims = self.claims(&waiting).await;
        let claims = claims.unwrap_or_else(|Away| vec![Claim::Unavailable; waiting.len()]);
        for (waiting, claim) in waiting.into_iter().zip(claims) {
            // It may have been cancelled.
            let _ = waiting.answer.send(claim);
        }
    }

    async fn claims(&self, waiting: &[Waiting]) -> Result<Vec<Claim>, Away> {
        let (since, is_new) = self.ask(waiting).await?;
        if since.is_none() {
            let latest = waiting.iter().map(|waiting| waiting.nonce.now).max();
            self.remember_from(latest.unwrap_or_default()).await?;
        }
        let judged = waiting.iter().zip(is_new).map(|(waiting, is_new)| {
            let remembers = |since| waiting.nonce.signed_at > since;
            match is_new {
                false => Claim::Replayed,
                true if since.is_some_and(remembers) => Claim::Fresh,
                true => Claim::BeforeStart,
            }
        });
        Ok(judged.collect())
    }

    /// Since when Redis remembers, and whether each was new to it. An answer
    /// that says neither yes nor no is a failure.
    async fn ask(&self, nonces: &[Waiting]) -> Result<(Option<u64>, Vec<bool>), Away> {
        let mut pipeline = redis::Pipeline::with_capacity(nonces.len() + 1);
        for Waiting { nonce, .. } in nonces {
            pipeline
                .cmd("SET")
                .arg(self.key(&nonce.key))
                .arg(1)
                .arg("NX")
                .arg("PX")
                .arg(nonce.lifetime().saturating_mul(1_000));
        }
        // Last: where Redis is emptied between two of these, it must show.
        pipeline.cmd("GET").arg(&self.link.memory_key);
        let answers: Vec<Value> = self.link.query(&pipeline).await?;
        let (record, set) = answers.split_last().ok_or(Away)?;
        let since = match record {
            Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(memory::since),
            _ => None,
        };
        let is_new = |answer: &Value| match answer {
            Value::Okay => Ok(true),
            Value::Nil => Ok(false),
            _ => Err(Away),
        };
        Ok((since, set.iter().map(is_new).collect::<Result<_, _>>()?))
    }

    fn key(&self, nonce: &NonceKey) -> Vec<u8> {
        [self.prefix.as_bytes(), nonce].concat()
    }

    /// Redis was emptied under a living connection: it remembers from now on.
    async fn remember_from(&self, now: u64) -> Result<(), Away> {
        let mut pipeline = redis::pipe();
        pipeline
            .cmd("SET")
            .arg(&self.link.memory_key)
            .arg(memory::record(now, ""))
            .arg("NX");
        self.link.query::<Value>(&pipeline).await.map(drop)
    }
}

/// Where a claim stands among those that wait.
enum Place {
    /// It sees to the round trip.
    First,
    Between,
    /// There is no more room: it takes all of them with it.
    Last(Vec<Waiting>),
}

/// A round trip that has not begun. However it ends, nobody is left who waits
/// for it.
struct Trip {
    nonces: Arc<SharedNonces>,
    /// Who waits now waits for another.
    has_left: bool,
}

impl Trip {
    fn of(nonces: &Arc<SharedNonces>) -> Trip {
        Trip {
            nonces: nonces.clone(),
            has_left: false,
        }
    }

    async fn make(mut self) {
        // Requests that are as far in this turn come along.
        yield_now().await;
        self.has_left = true;
        let waiting = self.nonces.leave();
        self.nonces.clone().judge(waiting).await;
    }
}

impl Drop for Trip {
    /// The runtime may drop it before it has begun.
    fn drop(&mut self) {
        if !self.has_left {
            drop(self.nonces.leave());
        }
    }
}
