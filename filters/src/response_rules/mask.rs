//! A value that is there, but cannot be read: a text as asterisks, as many as
//! it has characters, so that forms still fit; anything else as `"***"`.

/// So long a text is told by no more asterisks than this.
const MAX_ASTERISKS: usize = 256;

const OTHER: &str = "\"***\"";

/// `raw` is the JSON text of a value.
pub(super) fn mask(raw: &str, keep_last: usize) -> String {
    if !raw.starts_with('"') {
        return OTHER.to_owned();
    }
    // Half of a surrogate pair is in no character.
    let Ok(text) = serde_json::from_str::<String>(raw) else {
        return OTHER.to_owned();
    };
    let characters = text.chars().count();
    let shown = match characters >= keep_last.saturating_mul(2) {
        true => keep_last,
        false => 0,
    };
    let hidden = characters - shown;
    let mut masked = "*".repeat(hidden.min(MAX_ASTERISKS));
    masked.extend(text.chars().skip(hidden));
    serde_json::Value::from(masked).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_as_many_asterisks_as_it_has_characters() {
        assert_eq!(mask(r#""""#, 0), r#""""#);
        assert_eq!(mask(r#""abc""#, 0), r#""***""#);
        assert_eq!(mask(r#""é\u00e9\n""#, 0), r#""***""#);
    }

    #[test]
    fn anything_else_becomes_three() {
        for raw in [
            "null",
            "true",
            "-1.5e3",
            "[1,2]",
            r#"{"a":1}"#,
            r#""\ud800""#,
        ] {
            assert_eq!(mask(raw, 2), r#""***""#, "{raw}");
        }
    }

    #[test]
    fn the_end_is_shown_where_at_least_as_much_is_hidden() {
        assert_eq!(mask(r#""4111111111111234""#, 4), r#""************1234""#);
        assert_eq!(mask(r#""12345678""#, 4), r#""****5678""#);
        assert_eq!(mask(r#""1234567""#, 4), r#""*******""#);
        assert_eq!(mask(r#""ab\"c""#, 1), r#""***c""#);
        assert_eq!(mask(r#""abc\"""#, 1), r#""***\"""#);
    }

    #[test]
    fn a_long_text_does_not_tell_how_long_it_is() {
        let masked = |length| mask(&format!("\"{}\"", "a".repeat(length)), 0);
        assert_eq!(masked(256).len(), 258);
        assert_eq!(masked(257), masked(10_000));
    }
}
