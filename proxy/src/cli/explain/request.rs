//! A request written as for curl, as it would arrive. The same flags mean the
//! same as there (curl's manual, options -d, --data-binary, --json and -H).

mod url;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use url::Url;

/// Short flags that change nothing of what is sent to the gateway.
const WITHOUT_EFFECT: &[u8] = b"iksSvL";

/// The path is taken as it is written, with or without it.
const PATH_AS_IS: &str = "--path-as-is";

pub struct Request {
    pub method: Method,
    pub target: String,
    pub host: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The arguments, one after the other.
#[derive(Default)]
struct Written {
    method: Option<Method>,
    url: Option<Url>,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    is_json: bool,
}

impl Request {
    pub fn parse(words: &[String]) -> anyhow::Result<Self> {
        let mut written = Written::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (flag, attached) = split_attached(word);
            let value = || {
                attached
                    .or_else(|| words.next())
                    .with_context(|| format!("{flag} needs a value"))
            };
            written.take(flag, value)?;
        }
        written.finish()
    }
}

impl Written {
    fn take<'w>(
        &mut self,
        flag: &'w str,
        value: impl FnOnce() -> anyhow::Result<&'w str>,
    ) -> anyhow::Result<()> {
        match flag {
            "-X" | "--request" => self.method = Some(Method::from_bytes(value()?.as_bytes())?),
            "-H" | "--header" => add_header(&mut self.headers, value()?)?,
            "-d" | "--data" => {
                let mut data = data(flag, value()?)?;
                data.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
                self.add_data(data, b"&");
            }
            "--data-raw" => self.add_data(value()?.into(), b"&"),
            "--data-binary" => self.add_data(data(flag, value()?)?, b"&"),
            "--json" => {
                self.add_data(data(flag, value()?)?, b"");
                self.is_json = true;
            }
            "curl" if self.url.is_none() => {}
            other if has_no_effect(other) => {}
            other if other.starts_with('-') => bail!(
                "{other}: use -X, -H, -d, --data-raw, --data-binary, --json, -i, -k, -L, -s, -S, -v, --path-as-is and a URL"
            ),
            other if self.url.is_none() => self.url = Some(Url::parse(other).context("URL")?),
            other => bail!("{other}: one URL only"),
        }
        Ok(())
    }

    fn add_data(&mut self, data: Vec<u8>, between: &[u8]) {
        match &mut self.body {
            Some(body) => {
                body.extend_from_slice(between);
                body.extend(data);
            }
            None => self.body = Some(data),
        }
    }

    fn finish(mut self) -> anyhow::Result<Request> {
        let url = self
            .url
            .context("a URL is needed, such as http://acme.localhost:8080/api/v1/things")?;
        let default_method = match self.body {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        if self.is_json {
            let json = HeaderValue::from_static("application/json");
            self.headers.entry(CONTENT_TYPE).or_insert(json.clone());
            self.headers.entry(ACCEPT).or_insert(json);
        } else if self.body.is_some() {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            self.headers.entry(CONTENT_TYPE).or_insert(form);
        }
        Ok(Request {
            method: self.method.unwrap_or(default_method),
            host: host_of(&url, &self.headers)?,
            target: url.target,
            headers: self.headers,
            body: self.body.unwrap_or_default().into(),
        })
    }
}

/// `-XPOST` is `-X POST`.
fn split_attached(word: &str) -> (&str, Option<&str>) {
    match word.split_at_checked(2) {
        Some((flag @ ("-X" | "-H" | "-d"), value)) if !value.is_empty() => (flag, Some(value)),
        Some(_) | None => (word, None),
    }
}

fn has_no_effect(flag: &str) -> bool {
    if flag == PATH_AS_IS {
        return true;
    }
    let letters = flag.strip_prefix('-').filter(|letters| !letters.is_empty());
    letters.is_some_and(|letters| {
        letters
            .bytes()
            .all(|letter| WITHOUT_EFFECT.contains(&letter))
    })
}

/// `@FILE` stands for what the file holds.
fn data(flag: &str, value: &str) -> anyhow::Result<Vec<u8>> {
    match value.strip_prefix('@') {
        Some(file) => std::fs::read(file).with_context(|| format!("{flag}: {file}")),
        None => Ok(value.into()),
    }
}

fn add_header(headers: &mut HeaderMap, line: &str) -> anyhow::Result<()> {
    let (name, value) = line
        .split_once(':')
        .with_context(|| format!("-H {line:?}: write NAME: VALUE"))?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).context("-H: name")?;
    headers.append(
        name,
        HeaderValue::from_str(value.trim()).context("-H: value")?,
    );
    Ok(())
}

fn host_of(url: &Url, headers: &HeaderMap) -> anyhow::Result<String> {
    if let Some(host) = headers.get(HOST) {
        return Ok(host.to_str()?.to_owned());
    }
    match url.authority.as_str() {
        "" => bail!("the URL needs a host"),
        authority => Ok(authority.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Request {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Request::parse(&words).unwrap()
    }

    fn content_type(request: &Request) -> Option<&str> {
        let value = request.headers.get(CONTENT_TYPE)?;
        value.to_str().ok()
    }

    #[test]
    fn data_makes_a_form_that_is_posted() {
        for body in ["a=1", ""] {
            let request = parse(&["curl", "-sSk", "-d", body, "http://h/p?q"]);
            assert_eq!(
                (&request.method, &*request.body),
                (&Method::POST, body.as_bytes())
            );
            assert_eq!(
                content_type(&request),
                Some("application/x-www-form-urlencoded")
            );
            assert_eq!((&*request.host, &*request.target), ("h", "/p?q"));
        }
        let request = parse(&["-da=1", "--data-raw", "@b", "-XPUT", "http://h/"]);
        assert_eq!(
            (&request.method, &*request.body),
            (&Method::PUT, &b"a=1&@b"[..])
        );
    }

    #[test]
    fn json_says_that_it_is_json() {
        let request = parse(&["--json", "{\"a\":", "--json", "1}", "http://h/"]);
        assert_eq!(&*request.body, b"{\"a\":1}");
        assert_eq!(content_type(&request), Some("application/json"));
        let named = ["-H", "Content-Type: text/plain", "--json", "1", "http://h/"];
        assert_eq!(content_type(&parse(&named)), Some("text/plain"));
    }

    #[test]
    fn a_file_is_read_and_data_loses_its_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        std::fs::write(&file, "a\r\nb\n").unwrap();
        let named = format!("@{}", file.display());
        assert_eq!(&*parse(&["-d", &named, "http://h/"]).body, b"ab");
        let binary = parse(&["--data-binary", &named, "http://h/"]);
        assert_eq!(&*binary.body, b"a\r\nb\n");
    }

    #[test]
    fn without_data_it_is_a_get_without_a_type() {
        let request = parse(&["-i", "-v", "--path-as-is", "http://h"]);
        assert_eq!((&request.method, &*request.target), (&Method::GET, "/"));
        assert_eq!(content_type(&request), None);
    }
}
