//! Asks a running gateway for its health: the check of a container, which has
//! no curl. One plain HTTP/1.1 request, one deadline for all of it; the exit
//! code is 0 for a 200 and 1 for everything else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use http::Uri;

/// Of an answer, this much is read. Ours has some hundred bytes.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Ask a running gateway whether it is well: exit code 0 if so, 1 if not
///
/// Prints what it answered. /healthz is well while traffic may come, /livez while the process
/// answers.
#[derive(Args)]
pub struct Health {
    /// Where to ask, on the admin listener or on one for traffic in clear
    #[arg(
        long,
        env = "KNOXCALL_HEALTH_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:9901/healthz"
    )]
    url: Target,

    /// How long the answer may take, in milliseconds, connection included
    #[arg(
        long,
        value_name = "MILLISECONDS",
        default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    timeout_ms: u32,
}

/// What a plain `http` URL asks for, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// As in the `Host` header.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Told {
    status: u16,
    body: String,
}

/// The moment at which patience ends.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Health {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let deadline = Deadline::after(Duration::from_millis(self.timeout_ms.into()));
        match ask(&self.url, deadline) {
            Ok(told) if told.status == 200 => {
                println!("{}", told.body.trim_end());
                return Ok(ExitCode::SUCCESS);
            }
            Ok(told) => eprintln!("knoxcall: {} {}", told.status, told.body.trim_end()),
            Err(error) => super::complain(&error),
        }
        Ok(ExitCode::FAILURE)
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "write http://HOST:PORT/PATH, as in http://127.0.0.1:9901/healthz";
        let uri: Uri = text.parse().map_err(|_| WANTED)?;
        let authority = uri.authority().ok_or(WANTED)?;
        if uri.scheme_str() != Some("http") || authority.as_str().contains('@') {
            return Err(WANTED);
        }
        let host = authority.host();
        Ok(Self {
            authority: authority.to_string(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }
}

fn ask(target: &Target, deadline: Deadline) -> anyhow::Result<Told> {
    let answer = exchange(target, deadline)
        .with_context(|| format!("no answer from http://{}{}", target.authority, target.path))?;
    let Some(told) = Told::parse(&answer) else {
        bail!("what answers on {} does not speak HTTP", target.authority);
    };
    Ok(told)
}

fn exchange(target: &Target, deadline: Deadline) -> io::Result<Vec<u8>> {
    let mut stream = connect(target, deadline)?;
    stream.set_write_timeout(Some(deadline.left()?))?;
    let Target {
        authority, path, ..
    } = target;
    let head = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    read_to_end(stream, deadline)
}

/// To the first of the name's addresses that takes the connection.
#[expect(
    clippy::disallowed_methods,
    reason = "a command that serves nobody may wait for a name"
)]
fn connect(target: &Target, deadline: Deadline) -> io::Result<TcpStream> {
    let addresses = (target.host.as_str(), target.port).to_socket_addrs()?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match connect_to(address, deadline) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_to(address: SocketAddr, deadline: Deadline) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address, deadline.left()?)
}

/// A read's time-out is for that read alone; whoever drips is cut off as well.
fn read_to_end(stream: TcpStream, deadline: Deadline) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    let mut stream = stream.take(LONGEST_ANSWER);
    loop {
        stream.get_ref().set_read_timeout(Some(deadline.left()?))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
            Err(error) => return Err(error),
        }
    }
}

impl Deadline {
    fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    /// Never zero, which a socket would take for "no time-out".
    fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(late())
        } else {
            Ok(left)
        }
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}

impl Told {
    fn parse(answer: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let rest = head.strip_prefix("HTTP/1.")?;
        let status = rest.split(' ').nth(1)?.trim_end();
        Some(Self {
            status: status.lines().next()?.parse().ok()?,
            body: body.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    fn deadline() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    /// What is asked of a server that answers with these bytes, and its answer.
    fn answered(bytes: &'static str) -> anyhow::Result<Told> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/healthz", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            let count = stream.read(&mut head).unwrap();
            stream.write_all(bytes.as_bytes()).unwrap();
            String::from_utf8(head[..count].to_vec()).unwrap()
        });
        let told = ask(&url.parse().unwrap(), deadline());
        let head = server.join().unwrap();
        assert!(head.starts_with("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"));
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        told
    }

    #[test]
    fn a_url_says_whom_to_ask_and_what() {
        let target: Target = "http://127.0.0.1:9901/healthz".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("127.0.0.1", 9901));
        assert_eq!(target.path, "/healthz");
        let target: Target = "http://[::1]:8080/livez?x=1".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8080));
        assert_eq!(target.authority, "[::1]:8080");
        assert_eq!(target.path, "/livez?x=1");
        let target: Target = "http://gateway".parse().unwrap();
        assert_eq!((target.port, target.path.as_str()), (80, "/"));
    }

    #[test]
    fn refuses_a_url_that_is_not_plain_http() {
        for text in [
            "",
            "/healthz",
            "127.0.0.1:9901",
            "https://gateway/",
            "http://a@gateway/",
        ] {
            let told = text.parse::<Target>().unwrap_err();
            assert!(told.contains("http://HOST:PORT/PATH"), "{text}");
        }
    }

    #[test]
    fn tells_status_and_body() {
        let told =
            answered("HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\n{\"status\":\"stopping\"}");
        let told = told.unwrap();
        assert_eq!(told.status, 503);
        assert_eq!(told.body, "{\"status\":\"stopping\"}");
        assert_eq!(answered("HTTP/1.1 200\r\n\r\n").unwrap().status, 200);
    }

    #[test]
    fn refuses_what_is_no_http() {
        for bytes in [
            "",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 two hundred\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            let told = answered(bytes).unwrap_err().to_string();
            assert!(told.ends_with("does not speak HTTP"), "{bytes:?}: {told}");
        }
    }

    #[test]
    fn a_port_where_nobody_listens_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let told = ask(&url.parse().unwrap(), deadline()).unwrap_err();
        assert!(format!("{told:#}").contains("refused"), "{told:#}");
    }

    #[test]
    fn silence_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let patience = Deadline::after(Duration::from_millis(20));
        let told = ask(&url.parse().unwrap(), patience).unwrap_err();
        assert!(
            format!("{told:#}").ends_with("it took too long"),
            "{told:#}"
        );
    }
}
