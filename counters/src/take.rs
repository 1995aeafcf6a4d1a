//! One token from each of a request's buckets, or from none. The common way
//! is a compare-and-swap a bucket; only a lease that has run out awaits Redis,
//! once for all buckets together and never beyond the time it is given.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Cmd, Pipeline, Script};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Inner;
use crate::bucket::{Bucket, Judge, Receipt, Step};
use crate::gcra::Empty;
use crate::lease::{Grant, Lead, Lease, Waiting};
use crate::limit::{Limit, Quota};
use crate::link::{Away, Link};
use crate::time::Now;

/// Loaded by every connection before it is used.
pub(crate) static SCRIPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lease.lua")));

/// What became of a request at its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// With the quota of the tightest limit; `None` if there was no limit.
    Granted(Option<Quota>),
    /// The bucket at `index` is empty; nothing was taken from any.
    Refused {
        index: usize,
        retry_after: Duration,
        quota: Quota,
    },
}

/// Only Redis can tell.
struct Dry;

const NOBODY_TO_ASK: Taken = Taken::Refused {
    index: 0,
    retry_after: Duration::from_secs(1),
    quota: Quota {
        limit: 0,
        remaining: 0,
        reset_after: Duration::from_secs(1),
    },
};

pub(crate) async fn take<B: AsRef<Bucket> + Sync>(inner: &Inner, buckets: &[B], now: Now) -> Taken {
    if buckets.is_empty() {
        return Taken::Granted(None);
    }
    let judge = match &inner.link {
        Some(link) => inner.judge(link.is_away()),
        None => Judge::Here,
    };
    match (attempt(buckets, 0, &[], judge, now), &inner.link) {
        (Ok(taken), Some(link)) => {
            if matches!(judge, Judge::Redis) && is_low(buckets, now) {
                refill(inner, link, buckets, now);
            }
            taken
        }
        (Ok(taken), None) => taken,
        (Err(Dry), Some(link)) => {
            let buckets: Vec<&Bucket> = buckets.iter().map(AsRef::as_ref).collect();
            // Boxed: it is rare, and would make every request's future larger.
            Box::pin(take_shared(inner, link, &buckets, now)).await
        }
        // Does not happen: without Redis nothing is dry. Closed all the same.
        (Err(Dry), None) => NOBODY_TO_ASK,
    }
}

/// Takes from the first bucket and then from the rest; what follows a refusal
/// gives back, innermost first. `in_hand` are tokens already had from Redis.
fn attempt<B: AsRef<Bucket>>(
    buckets: &[B],
    index: usize,
    in_hand: &[Option<Quota>],
    judge: Judge,
    now: Now,
) -> Result<Taken, Dry> {
    let Some((first, rest)) = buckets.split_first() else {
        return Ok(Taken::Granted(None));
    };
    let bucket = first.as_ref();
    let step = match in_hand.get(index) {
        Some(Some(quota)) => Step::Took(Receipt::InHand, *quota),
        Some(None) | None => bucket.take(judge, now),
    };
    let (receipt, quota) = match step {
        Step::Took(receipt, quota) => (receipt, quota),
        Step::Refused(empty) => return Ok(refused(index, empty)),
        Step::Dry => return Err(Dry),
    };
    match attempt(rest, index + 1, in_hand, judge, now) {
        Ok(Taken::Granted(others)) => Ok(Taken::Granted(Some(quota.tighter(others)))),
        not_all => {
            bucket.give_back(receipt, now);
            not_all
        }
    }
}

fn refused(index: usize, empty: Empty) -> Taken {
    Taken::Refused {
        index,
        retry_after: empty.retry_after,
        quota: empty.quota,
    }
}

fn is_low<B: AsRef<Bucket>>(buckets: &[B], now: Now) -> bool {
    let mut leases = buckets.iter().filter_map(|bucket| bucket.as_ref().lease());
    leases.any(|lease| lease.is_low(now))
}

/// Asks for more, and keeps nobody waiting.
#[cold]
fn refill<B: AsRef<Bucket>>(inner: &Inner, link: &Arc<Link>, buckets: &[B], now: Now) {
    let buckets = buckets.iter().map(AsRef::as_ref).enumerate();
    let orders: Vec<Order> = buckets
        .filter_map(|(index, bucket)| {
            let lease = bucket.lease().filter(|lease| lease.is_low(now))?;
            if bucket.limit().is_exact() {
                // A reload has made it so.
                lease.settle();
                return None;
            }
            let order = order(index, bucket, lease, now, |lease| lease.is_low(now))?;
            Some(Order { need: 0, ..order })
        })
        .collect();
    if !orders.is_empty() {
        let _ = send(inner, link, orders, now);
    }
}

/// Asks Redis until every bucket has granted or one has refused. Cancelling it
/// loses at most the tokens of the request itself.
async fn take_shared(inner: &Inner, link: &Arc<Link>, buckets: &[&Bucket], now: Now) -> Taken {
    let deadline = Instant::now() + link.patience();
    let mut in_hand: Vec<Option<Quota>> = vec![None; buckets.len()];
    let _waiting: Vec<Waiting<'_>> = leased(buckets).map(|lease| Waiting::on(lease)).collect();
    let mut away = false;
    let taken = loop {
        away = away || link.is_away() || Instant::now() >= deadline;
        if let Ok(taken) = attempt(buckets, 0, &in_hand, inner.judge(away), now) {
            break taken;
        }
        if let Some(refused) = standing_refusal(buckets, &in_hand, now) {
            break refused;
        }
        match errand(buckets, &in_hand, now) {
            Errand::Ask(orders) => match ask(inner, link, orders, now).await {
                Ok(granted) => receive(&mut in_hand, granted),
                Err(Away) => away = true,
            },
            Errand::Wait(lease) => lease.landed(deadline).await,
            Errand::Nothing => tokio::task::yield_now().await,
        }
    };
    if matches!(taken, Taken::Refused { .. }) {
        give_back(link, buckets, &in_hand).await;
    }
    taken
}

impl Inner {
    /// Counts where Redis would have judged and cannot.
    fn judge(&self, away: bool) -> Judge {
        if !away {
            return Judge::Redis;
        }
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
        Judge::Share(self.instances)
    }
}

fn leased<'a>(buckets: &'a [&Bucket]) -> impl Iterator<Item = &'a Arc<Lease>> {
    buckets
        .iter()
        .filter(|bucket| !bucket.limit().is_exact())
        .filter_map(|bucket| bucket.lease())
}

/// Spares Redis a question where another limit refuses anyway.
fn standing_refusal(buckets: &[&Bucket], in_hand: &[Option<Quota>], now: Now) -> Option<Taken> {
    let open = buckets.iter().zip(in_hand).enumerate();
    open.filter(|(_, (_, token))| token.is_none())
        .find_map(|(index, (bucket, _))| Some(refused(index, bucket.standing_refusal(now)?)))
}

fn receive(in_hand: &mut [Option<Quota>], granted: Vec<(usize, Quota)>) {
    for (index, quota) in granted {
        if let Some(token) = in_hand.get_mut(index) {
            *token = Some(quota);
        }
    }
}

/// What a request without all its tokens does next.
enum Errand<'a> {
    Ask(Vec<Order>),
    /// For what another request has asked.
    Wait(&'a Lease),
    /// A lease has landed meanwhile.
    Nothing,
}

/// A question to Redis about one bucket.
struct Order {
    index: usize,
    limit: Limit,
    need: u32,
    want: u32,
    lease: Arc<Lease>,
    /// `None`: one token, for this request only.
    lead: Option<Lead>,
}

fn errand<'a>(buckets: &[&'a Bucket], in_hand: &[Option<Quota>], now: Now) -> Errand<'a> {
    let mut orders = Vec::new();
    let mut behind = None;
    for (index, (bucket, token)) in buckets.iter().zip(in_hand).enumerate() {
        let Some(lease) = bucket.lease() else {
            continue;
        };
        if token.is_some() || lease.holds_token(now) {
            continue;
        }
        let is_due = |lease: &Lease| !lease.holds_token(now);
        match order(index, bucket, lease, now, is_due) {
            Some(order) => orders.push(order),
            None => behind = Some(&**lease),
        }
    }
    match (orders.is_empty(), behind) {
        (false, _) => Errand::Ask(orders),
        (true, Some(lease)) => Errand::Wait(lease),
        (true, None) => Errand::Nothing,
    }
}

/// `None` if somebody else is asking, or has been answered meanwhile.
fn order(
    index: usize,
    bucket: &Bucket,
    lease: &Arc<Lease>,
    now: Now,
    is_due: impl Fn(&Lease) -> bool,
) -> Option<Order> {
    let limit = bucket.limit();
    let (need, want, lead) = if limit.is_exact() {
        (1, 1, None)
    } else {
        let lead = Lead::try_take(lease).filter(|_| is_due(lease))?;
        let most = limit.lease_size();
        let need = lease.waiting().clamp(1, most);
        (need, lease.next_size(most, now), Some(lead))
    };
    Some(Order {
        index,
        limit,
        need,
        want,
        lease: Arc::clone(lease),
        lead,
    })
}

/// One round trip for all.
async fn ask(
    inner: &Inner,
    link: &Arc<Link>,
    orders: Vec<Order>,
    now: Now,
) -> Result<Vec<(usize, Quota)>, Away> {
    let asked = send(inner, link, orders, now)?;
    asked.await.unwrap_or(Err(Away))
}

type Asked = JoinHandle<Result<Vec<(usize, Quota)>, Away>>;

/// A task of its own, bounded by the link's patience, so that a cancelled
/// request does not lose what Redis has granted to all.
fn send(inner: &Inner, link: &Arc<Link>, orders: Vec<Order>, now: Now) -> Result<Asked, Away> {
    let link = Arc::clone(link);
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| Away)?;
    inner.lease_round_trips.fetch_add(1, Ordering::Relaxed);
    Ok(runtime.spawn(async move {
        let mut pipeline = redis::pipe();
        for order in &orders {
            pipeline.add_command(command(
                order.limit,
                order.lease.key(),
                i64::from(order.need),
                i64::from(order.want),
            ));
        }
        let answers: Vec<Answer> = link.query(&pipeline).await?;
        let land = |(order, answer): (&Order, Answer)| land(order, answer, now);
        Ok(orders.iter().zip(answers).filter_map(land).collect())
    }))
}

/// Granted, left, µs until the next token.
type Answer = (u64, u64, u64);

fn command(limit: Limit, key: &str, need: i64, want: i64) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command
        .arg(SCRIPT.get_hash())
        .arg(1)
        .arg(key)
        .arg(limit.capacity())
        .arg(limit.requests.get())
        .arg(limit.window.as_micros().max(1).to_string())
        .arg(need)
        .arg(want);
    command
}

/// Stores what was granted to all; returns what was granted to this request.
fn land(order: &Order, (granted, left, wait): Answer, now: Now) -> Option<(usize, Quota)> {
    if granted == 0 {
        // Who asks ahead of need is told of a scarcity, not of an end.
        if order.need > 0 {
            order.lease.refuse(Duration::from_micros(wait), now);
        }
        return None;
    }
    if order.lead.is_some() {
        let grant = Grant {
            tokens: granted,
            left_there: left,
            lifetime: order.limit.lease_lifetime(),
        };
        order.lease.deposit(grant, order.limit.lease_size(), now);
        return None;
    }
    Some((order.index, order.limit.rate().quota(left)))
}

/// Returns single tokens of a request that was refused elsewhere. If that
/// fails they stay taken, which errs on the safe side.
async fn give_back(link: &Arc<Link>, buckets: &[&Bucket], in_hand: &[Option<Quota>]) {
    let mut pipeline = Pipeline::new();
    let held = buckets
        .iter()
        .zip(in_hand)
        .filter(|(_, token)| token.is_some())
        .filter_map(|(bucket, _)| Some((bucket.limit(), bucket.lease()?)));
    for (limit, lease) in held {
        pipeline.add_command(command(limit, lease.key(), -1, -1));
    }
    if !pipeline.is_empty() && !link.is_away() {
        let _: Result<Vec<(i64, u64, u64)>, Away> = link.query(&pipeline).await;
    }
}
