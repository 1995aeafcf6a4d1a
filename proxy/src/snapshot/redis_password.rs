//! The password in a Redis URL, as the Redis client takes it: percent-decoded,
//! before the last `@` of `redis://[USER][:PASSWORD]@HOST`, or the parameter
//! `pass` of a Unix socket's query, where `+` is a space.

use knoxcall_bundle::SecretValue;
use percent_encoding::percent_decode_str;

pub fn of(url: &SecretValue) -> Option<SecretValue> {
    let url = url.expose();
    let (rest, query) = url.split_once('?').unwrap_or((url, ""));
    let password = match before_host(rest) {
        Some(password) => percent_decoded(password),
        None => percent_decoded(&parameter(query)?.replace('+', " ")),
    };
    Some(SecretValue::new(password))
}

fn before_host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("redis://")?;
    let authority = rest.split('/').next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

/// The client takes the last of several.
fn parameter(query: &str) -> Option<&str> {
    let mut pairs = query.rsplit('&');
    pairs.find_map(|pair| pair.strip_prefix("pass="))
}

/// A `%` without two digits stays. The URL has been checked: it is UTF-8.
fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(url: &str) -> Option<String> {
        of(&SecretValue::new(url.to_owned())).map(|password| password.expose().to_owned())
    }

    #[test]
    fn the_password_of_a_host_is_what_the_client_sends() {
        for (url, expected) in [
            ("redis://:hunter2@127.0.0.1:6379/0", "hunter2"),
            ("redis://user:hunter2@[::1]", "hunter2"),
            ("redis://:a:b@c@h/1", "a:b@c"),
            ("redis://:s%C3%A9%2fcr%zz+et%@h?protocol=3", "sé/cr%zz+et%"),
        ] {
            assert_eq!(password(url).as_deref(), Some(expected), "{url}");
        }
    }

    #[test]
    fn the_password_of_a_socket_is_in_its_query() {
        for scheme in ["redis+unix", "unix"] {
            let url = format!("{scheme}:///a@b:c.sock?db=1&pass=a+b%2B%26&user=x");
            assert_eq!(password(&url).as_deref(), Some("a b+&"), "{url}");
        }
        assert_eq!(password("unix:///x?pass=a&pass=b").as_deref(), Some("b"));
    }

    #[test]
    fn a_url_without_a_password_has_none() {
        for url in [
            "redis://h",
            "redis://h:6379/0",
            "redis://user@h",
            "unix:///x.sock?db=2",
        ] {
            assert_eq!(password(url), None, "{url}");
        }
    }
}
