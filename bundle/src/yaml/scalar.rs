//! What a plain scalar means: the core schema of YAML 1.2 (section 10.3.2).
//! `yes`, `no`, `on` and `off` are text; so is everything in quotes.

use saphyr_parser::ScalarStyle;
use serde_json::{Number, Value};

pub(super) fn resolve(text: &str, style: ScalarStyle) -> Result<Value, &'static str> {
    match style {
        ScalarStyle::Plain => plain(text),
        ScalarStyle::SingleQuoted
        | ScalarStyle::DoubleQuoted
        | ScalarStyle::Literal
        | ScalarStyle::Folded => Ok(Value::String(text.to_owned())),
    }
}

fn plain(text: &str) -> Result<Value, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(text, digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(text, digits, 8);
    }
    match form(text) {
        Form::Integer => integer(text),
        Form::Float => float(text),
        Form::Special => Err("infinity and not-a-number are not supported"),
        Form::Text => Ok(Value::String(text.to_owned())),
    }
}

fn radix(text: &str, digits: &str, radix: u32) -> Result<Value, &'static str> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Ok(Value::String(text.to_owned()));
    }
    u64::from_str_radix(digits, radix)
        .map(Value::from)
        .map_err(|_| TOO_LARGE)
}

const TOO_LARGE: &str = "the number is too large";

fn integer(text: &str) -> Result<Value, &'static str> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits
        .parse::<u64>()
        .map(Value::from)
        .or_else(|_| digits.parse::<i64>().map(Value::from))
        .map_err(|_| TOO_LARGE)
}

fn float(text: &str) -> Result<Value, &'static str> {
    let number = text.parse::<f64>().ok().and_then(Number::from_f64);
    number.map(Value::Number).ok_or(TOO_LARGE)
}

enum Form {
    Integer,
    Float,
    Special,
    Text,
}

/// `[-+]? [0-9]+` is an integer; `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? )
/// ( [eE] [-+]? [0-9]+ )?` a float.
fn form(text: &str) -> Form {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Form::Special;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let has_digits = !whole.is_empty() || fraction.is_some_and(|digits| !digits.is_empty());
    let exponent_fits = exponent.is_none_or(|text| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        !digits.is_empty() && is_digits(digits)
    });
    if !has_digits || !is_digits(whole) || !fraction.is_none_or(is_digits) || !exponent_fits {
        return Form::Text;
    }
    if fraction.is_none() && exponent.is_none() {
        Form::Integer
    } else {
        Form::Float
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolved(text: &str) -> Value {
        resolve(text, ScalarStyle::Plain).expect(text)
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, value) in [
            ("~", json!(null)),
            ("TRUE", json!(true)),
            ("no", json!("no")),
            ("on", json!("on")),
            ("12", json!(12)),
            ("-12", json!(-12)),
            ("+12", json!(12)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("0b11", json!("0b11")),
            ("1.5", json!(1.5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("1_000", json!("1_000")),
            ("a1b2c3d4", json!("a1b2c3d4")),
            ("127.0.0.1", json!("127.0.0.1")),
            (".", json!(".")),
            ("e5", json!("e5")),
            ("-", json!("-")),
            ("0x", json!("0x")),
        ] {
            assert_eq!(resolved(text), value, "{text}");
        }
    }

    #[test]
    fn quotes_make_text() {
        assert_eq!(resolve("12", ScalarStyle::SingleQuoted), Ok(json!("12")));
        assert_eq!(resolve("", ScalarStyle::DoubleQuoted), Ok(json!("")));
    }

    #[test]
    fn refuses_numbers_that_would_change() {
        assert_eq!(
            resolve("123456789012345678901", ScalarStyle::Plain),
            Err(TOO_LARGE)
        );
        assert_eq!(resolve("1e999", ScalarStyle::Plain), Err(TOO_LARGE));
        assert!(resolve(".inf", ScalarStyle::Plain).is_err());
    }
}
