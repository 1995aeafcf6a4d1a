//! Points in time (RFC 3339).

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::model::UnixSeconds;
use crate::problem::{At, Problems};

pub(super) fn instant(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<UnixSeconds> {
    let seconds = OffsetDateTime::parse(text.trim(), &Rfc3339)
        .ok()
        .and_then(|time| u64::try_from(time.unix_timestamp()).ok());
    if seconds.is_none() {
        let remedy = "write it as RFC 3339 has it: 2030-01-31T12:00:00Z";
        problems.add(at, "is not a point in time", remedy);
    }
    seconds.map(UnixSeconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<u64> {
        instant(text, &At::ROOT, &mut Problems::default()).map(|time| time.0)
    }

    #[test]
    fn reads_offsets() {
        assert_eq!(parsed("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parsed("2030-01-31T12:00:00Z"), Some(1_896_091_200));
    }

    #[test]
    fn refuses_a_date_alone_and_what_is_before_1970() {
        assert_eq!(parsed("2030-01-31"), None);
        assert_eq!(parsed("1969-12-31T23:59:59Z"), None);
    }
}
