//! A URL taken apart as curl does it. curl sends characters that no URI may
//! hold: it is for the gateway to refuse them, and for us to say that it does.

use anyhow::bail;

pub struct Url {
    /// Empty where the URL names none.
    pub authority: String,
    /// Path and query.
    pub target: String,
}

impl Url {
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        // curl sends none of these.
        if text.contains(|letter: char| letter == ' ' || letter.is_ascii_control()) {
            bail!("write a blank as %20, and no control character");
        }
        let rest = after_scheme(text)?;
        let sent = rest.split_once('#').map_or(rest, |(sent, _fragment)| sent);
        let end = sent.find(['/', '?']).unwrap_or(sent.len());
        let (authority, target) = sent.split_at(end);
        if authority.contains('@') {
            bail!("write a name and password as -H 'authorization: Basic …'");
        }
        let root = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            authority: authority.to_owned(),
            target: format!("{root}{}", escaped(target)),
        })
    }
}

fn after_scheme(text: &str) -> anyhow::Result<&str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(text);
    };
    if !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        // Of another URL, in the query of this one.
        return Ok(text);
    }
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => Ok(rest),
        _other => bail!("it begins with http:// or https://"),
    }
}

/// curl escapes what is not ASCII, and nothing else.
fn escaped(target: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02x}"),
    };
    target.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As curl 7.88 was seen to send them.
    #[test]
    fn takes_a_url_apart_as_curl_does() {
        for (text, authority, target) in [
            ("http://h", "h", "/"),
            ("HTTPS://h:1/p?q", "h:1", "/p?q"),
            ("h/p", "h", "/p"),
            ("http://h?q=http://x/", "h", "/?q=http://x/"),
            ("h/p?q=http://x/", "h", "/p?q=http://x/"),
            ("http://h/a#b", "h", "/a"),
            ("http://h#b", "h", "/"),
            ("http://h/a/../b", "h", "/a/../b"),
            ("http://h/a|b\"<>^`\\%zz", "h", "/a|b\"<>^`\\%zz"),
            ("http://h/é", "h", "/%c3%a9"),
            ("/p", "", "/p"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(
                (&*url.authority, &*url.target),
                (authority, target),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_curl_does_not_send() {
        for text in ["http://h/a b", "http://h/a\n", "ftp://h/", "http://a:b@h/"] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }
}
