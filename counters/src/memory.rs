//! Since when a Redis server remembers every nonce it was given. A server
//! that restarted, failed over or was flushed may have forgotten some, so that
//! signatures from before must be refused like those from before the start of a
//! local store. Kept in Redis as `"<unix seconds> <run id>"`.

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use crate::time::unix_seconds;

/// Called on each new connection, before anything relies on it. `first` is the
/// start of this process, if it has not been connected before: where there is
/// no record, nobody of us has been given a nonce since. Another server's record
/// is one that a failover has brought here, perhaps without the last nonces.
pub(crate) async fn establish(
    redis: &mut MultiplexedConnection,
    key: &str,
    first: Option<u64>,
) -> Result<(), RedisError> {
    let server = server(redis).await;
    let kept: Option<String> = redis::cmd("GET").arg(key).query_async(redis).await?;
    let known = kept.as_deref().and_then(parse);
    if known.is_some_and(|(_, run_id)| run_id == server.run_id) {
        return Ok(());
    }
    let since = match first {
        Some(started) if kept.is_none() => started.max(server.started),
        Some(_) | None => unix_seconds(),
    };
    redis::cmd("SET")
        .arg(key)
        .arg(record(since, &server.run_id))
        .query_async(redis)
        .await
}

/// Unix seconds of a record.
pub(crate) fn since(record: &str) -> Option<u64> {
    parse(record).map(|(since, _)| since)
}

pub(crate) fn record(since: u64, run_id: &str) -> String {
    format!("{since} {run_id}")
}

fn parse(record: &str) -> Option<(u64, &str)> {
    let (since, run_id) = record.split_once(' ')?;
    Some((since.parse().ok()?, run_id))
}

#[derive(Debug, Default)]
struct Server {
    run_id: String,
    /// Unix seconds.
    started: u64,
}

/// A server that does not say (some hosts forbid `INFO`) is taken for one that
/// never restarts.
async fn server(redis: &mut MultiplexedConnection) -> Server {
    let asked = redis::cmd("INFO").arg("server").query_async(redis).await;
    asked.map_or_else(
        |_| Server::default(),
        |info: String| read(&info, unix_seconds()),
    )
}

fn read(info: &str, now: u64) -> Server {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let uptime = field("uptime_in_seconds").and_then(|seconds| seconds.parse().ok());
    Server {
        run_id: field("run_id").unwrap_or_default().to_owned(),
        started: uptime.map_or(0, |uptime: u64| now.saturating_sub(uptime)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_server_says_of_itself() {
        let server = read("# Server\r\nrun_id:5f2c\r\nuptime_in_seconds:40\r\n", 1_000);
        assert_eq!((server.run_id.as_str(), server.started), ("5f2c", 960));
        let silent = read("", 1_000);
        assert_eq!((silent.run_id.as_str(), silent.started), ("", 0));
    }

    #[test]
    fn a_record_reads_back_and_anything_else_is_none() {
        assert_eq!(since(&record(1_800_000_000, "5f2c")), Some(1_800_000_000));
        assert_eq!(since(&record(7, "")), Some(7));
        assert_eq!(since("5f2c"), None);
        assert_eq!(since("x y"), None);
    }
}
