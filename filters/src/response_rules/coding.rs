//! The coding of an answer's body (RFC 9110, section 8.4), as far as we know
//! it. More than one at a time is not decoded.

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

/// Decoded by [`super::decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coded {
    Not,
    By(Coding),
    /// In another way, or in several.
    Otherwise,
}

impl Coded {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(CONTENT_ENCODING).iter();
        let mut codings = values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
        match (codings.next(), codings.next()) {
            (None, _) => Self::Not,
            (Some(coding), None) => Coding::named(coding).map_or(Self::Otherwise, Self::By),
            (Some(_), Some(_)) => Self::Otherwise,
        }
    }
}

impl Coding {
    fn named(name: &[u8]) -> Option<Self> {
        let names: [(&[u8], Self); 4] = [
            (b"gzip", Self::Gzip),
            (b"x-gzip", Self::Gzip),
            (b"br", Self::Brotli),
            (b"zstd", Self::Zstd),
        ];
        let mut names = names.into_iter();
        let found = names.find(|(known, _)| name.eq_ignore_ascii_case(known));
        found.map(|(_, coding)| coding)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn coded(values: &[&'static str]) -> Coded {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Coded::of(&headers)
    }

    #[test]
    fn knows_the_codings_that_are_decoded_in_any_case() {
        assert_eq!(coded(&["gzip"]), Coded::By(Coding::Gzip));
        assert_eq!(coded(&["X-GZIP"]), Coded::By(Coding::Gzip));
        assert_eq!(coded(&[" BR "]), Coded::By(Coding::Brotli));
        assert_eq!(coded(&["zstd"]), Coded::By(Coding::Zstd));
    }

    #[test]
    fn identity_and_nothing_are_no_coding() {
        for values in [&[][..], &[""], &["identity"], &["Identity", ","]] {
            assert_eq!(coded(values), Coded::Not, "{values:?}");
        }
    }

    #[test]
    fn another_coding_or_several_are_not_decoded() {
        for values in [
            &["deflate"][..],
            &["gzip, br"],
            &["gzip", "gzip"],
            &["gzipp"],
        ] {
            assert_eq!(coded(values), Coded::Otherwise, "{values:?}");
        }
    }
}
