//! The end of the grace: connections that are still open are dropped, so that
//! what they were doing is recorded and counted before the process ends. A
//! runtime that is merely abandoned would drop nothing.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

/// Made once, and for good.
#[derive(Default)]
pub struct Cutoff {
    made: AtomicBool,
    told: Notify,
}

impl Cutoff {
    pub fn cut(&self) {
        self.made.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    pub fn is_made(&self) -> bool {
        self.made.load(Ordering::Acquire)
    }

    /// What the work comes to; `None` once the cut is made. The caller drops
    /// the work then.
    ///
    /// Asking [`Notify`] takes a lock that all connections share, so it is
    /// asked once, and not each time the work goes on.
    pub async fn unless_cut<F: Future>(&self, mut work: Pin<&mut F>) -> Option<F::Output> {
        let mut told = pin!(self.told.notified());
        told.as_mut().enable();
        let mut asked_by: Option<Waker> = None;
        poll_fn(|context: &mut Context<'_>| {
            if self.is_made() {
                return Poll::Ready(None);
            }
            let known = asked_by.as_ref();
            if !known.is_some_and(|waker| waker.will_wake(context.waker())) {
                asked_by = Some(context.waker().clone());
                if told.as_mut().poll(context).is_ready() {
                    return Poll::Ready(None);
                }
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn work_that_ends_before_the_cut_is_kept() {
        let cutoff = Cutoff::default();
        assert_eq!(cutoff.unless_cut(pin!(async { 7 })).await, Some(7));
    }

    #[tokio::test]
    async fn a_cut_ends_work_that_waits() {
        let cutoff = Arc::new(Cutoff::default());
        let (begun, begins) = tokio::sync::oneshot::channel();
        let task = tokio::spawn({
            let cutoff = cutoff.clone();
            async move {
                let work = async {
                    let _ = begun.send(());
                    std::future::pending::<()>().await;
                };
                cutoff.unless_cut(pin!(work)).await
            }
        });
        begins.await.unwrap();
        cutoff.cut();
        assert_eq!(task.await.unwrap(), None);
    }

    #[tokio::test]
    async fn work_that_comes_after_the_cut_does_not_begin() {
        let cutoff = Cutoff::default();
        cutoff.cut();
        let work = async { unreachable!("it began") };
        let ended: Option<()> = cutoff.unless_cut(pin!(work)).await;
        assert_eq!(ended, None);
    }
}
