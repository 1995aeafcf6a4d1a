//! The known name that a mistyped one is nearest to.

/// Names that are compared at most: a report is read by people, and must not
/// take minutes where thousands of names are wrong.
const MAX_COMPARED: usize = 10_000;

/// How alike two names must be (Jaro-Winkler, 0 to 1) to suggest one.
const ALIKE: f64 = 0.82;

pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .take(MAX_COMPARED)
        .map(|candidate| {
            (
                strsim::jaro_winkler(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_alike_and_nothing_else() {
        let known = ["target_base_url", "inject_headers", "inject_body"];
        assert_eq!(
            nearest("inject_header", known.into_iter()),
            Some("inject_headers")
        );
        assert_eq!(
            nearest("TargetBaseUrl", known.into_iter()),
            Some("target_base_url")
        );
        assert_eq!(nearest("zzz", known.into_iter()), None);
    }
}
