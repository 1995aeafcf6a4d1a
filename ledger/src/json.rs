//! Writing JSON by hand into a buffer that is used again (RFC 8259).
//!
//! Whatever bytes come in, what goes out is valid UTF-8 on one line: control
//! characters, line separators and what reorders or hides text on a terminal
//! become `\uXXXX`; a byte that is not UTF-8 becomes the four characters `\xNN`.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// For each byte: itself is fine (0), a short escape's letter, or `u`.
static ESCAPE: [u8; 256] = escape_table();
const FINE: u8 = 0;
const NOT_ASCII: u8 = 1;

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses what is out of bounds"
)]
const fn escape_table() -> [u8; 256] {
    let mut table = [FINE; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x00..=0x1f | 0x7f => b'u',
            0x80..=0xff => NOT_ASCII,
            _ => FINE,
        };
        byte += 1;
    }
    table
}

/// Writes `bytes` as a JSON string, quotes included.
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    escaped(out, bytes);
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_fine(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| kind(byte) != FINE) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else {
            return;
        };
        rest = match kind(byte) {
            NOT_ASCII => {
                let run = special
                    .iter()
                    .position(u8::is_ascii)
                    .unwrap_or(special.len());
                let (foreign, after) = special.split_at(run);
                escaped_foreign(out, foreign);
                after
            }
            b'u' => {
                escaped_unit(out, u16::from(byte));
                after
            }
            letter => {
                out.extend_from_slice(&[b'\\', letter]);
                after
            }
        };
    }
    out.extend_from_slice(rest);
}

/// Most texts are. Arithmetic without an early return, so that many bytes are
/// asked at once.
fn is_fine(bytes: &[u8]) -> bool {
    let needs_escape = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\') | (byte >= 0x7f);
    !bytes
        .iter()
        .fold(false, |found, &byte| found | needs_escape(byte))
}

fn kind(byte: u8) -> u8 {
    ESCAPE.get(usize::from(byte)).copied().unwrap_or(NOT_ASCII)
}

fn escaped_foreign(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            foreign_character(out, character);
        }
        for &byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            hex(out, byte);
        }
    }
}

fn foreign_character(out: &mut Vec<u8>, character: char) {
    match u16::try_from(u32::from(character)) {
        Ok(unit) if deceives(unit) => escaped_unit(out, unit),
        Ok(_) | Err(_) => {
            let mut utf8 = [0; 4];
            out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
        }
    }
}

/// C1 controls, zero-width and bidirectional marks, line and paragraph
/// separators, the byte order mark: what a terminal or an editor would obey.
fn deceives(unit: u16) -> bool {
    matches!(
        unit,
        0x80..=0x9f | 0x061c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x2069 | 0xfeff
    )
}

fn escaped_unit(out: &mut Vec<u8>, unit: u16) {
    let [high, low] = unit.to_be_bytes();
    out.extend_from_slice(b"\\u");
    hex(out, high);
    hex(out, low);
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
}

pub(crate) fn integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(crate) fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Milliseconds with three decimals: 1.042.
pub(crate) fn milliseconds(out: &mut Vec<u8>, duration: Duration) {
    let micros = duration.as_micros();
    integer(out, micros / 1000);
    out.push(b'.');
    padded::<3>(out, u32::try_from(micros % 1000).unwrap_or(0));
}

/// An address without quotes; IPv4 by hand, because formatting it takes longer
/// than the rest of the field.
pub(crate) fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            integer(out, a);
            for octet in [b, c, d] {
                out.push(b'.');
                integer(out, octet);
            }
        }
        IpAddr::V6(v6) => {
            // Writing to a Vec does not fail.
            let _ = write!(out, "{v6}");
        }
    }
}

/// RFC 3339 in UTC with milliseconds, without quotes. A time before 1970 is
/// written as 1970, one after 9999 as the last of 9999.
pub(crate) fn timestamp(out: &mut Vec<u8>, time: SystemTime) {
    const LAST_SECOND_OF_9999: u64 = 253_402_300_799;
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = since.as_secs().min(LAST_SECOND_OF_9999);
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = u32::try_from(seconds % 86_400).unwrap_or(0);
    padded::<4>(out, year);
    for (mark, part) in [
        (b'-', month),
        (b'-', day),
        (b'T', of_day / 3600),
        (b':', of_day / 60 % 60),
        (b':', of_day % 60),
    ] {
        out.push(mark);
        padded::<2>(out, part);
    }
    out.push(b'.');
    padded::<3>(out, since.subsec_millis());
    out.push(b'Z');
}

/// Year, month and day of a count of days since 1970-01-01, in the Gregorian
/// calendar: eras of 400 years, years that begin in March.
fn civil(days: u64) -> (u32, u32, u32) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    let small = |value: u64| u32::try_from(value).unwrap_or(0);
    (small(year), small(month), small(day))
}

fn padded<const WIDTH: usize>(out: &mut Vec<u8>, value: u32) {
    let mut digits = [b'0'; WIDTH];
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// As `SocketAddr` displays itself, without quotes.
pub(crate) fn socket_address(out: &mut Vec<u8>, socket: SocketAddr) {
    match socket {
        SocketAddr::V4(v4) => {
            address(out, IpAddr::V4(*v4.ip()));
            out.push(b':');
            integer(out, v4.port());
        }
        SocketAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn as_string(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        string(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    fn time_of(seconds: u64, millis: u32) -> String {
        let mut out = Vec::new();
        let since = Duration::new(seconds, millis * 1_000_000);
        timestamp(&mut out, SystemTime::UNIX_EPOCH + since);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_what_would_end_the_line_or_the_string() {
        assert_eq!(
            as_string(b"a\"b\\c\nd\re\tf\0g\x7f"),
            r#""a\"b\\c\nd\re\tf\u0000g\u007f""#
        );
    }

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        let text = "\u{1b}[31m \u{9b}31m \u{202e}fdp.exe \u{2028} \u{feff}";
        let written = as_string(text.as_bytes());
        assert_eq!(
            written,
            r#""\u001b[31m \u009b31m \u202efdp.exe \u2028 \ufeff""#
        );
    }

    #[test]
    fn keeps_readable_text_and_shows_bytes_that_are_not_utf8() {
        assert_eq!(as_string("grün 漢 🦀".as_bytes()), "\"grün 漢 🦀\"");
        assert_eq!(as_string(b"a\xff\xc3(z"), r#""a\\xff\\xc3(z""#);
    }

    #[test]
    fn writes_times_as_rfc_3339() {
        assert_eq!(time_of(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time_of(951_782_399, 999), "2000-02-28T23:59:59.999Z");
        assert_eq!(time_of(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(time_of(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
        assert_eq!(time_of(1_735_689_599, 0), "2024-12-31T23:59:59.000Z");
        assert_eq!(
            time_of(u64::from(u32::MAX) * 100, 0),
            "9999-12-31T23:59:59.000Z"
        );
    }

    #[test]
    fn writes_milliseconds_with_their_fraction() {
        let mut out = Vec::new();
        milliseconds(&mut out, Duration::from_micros(12_034));
        out.push(b' ');
        milliseconds(&mut out, Duration::from_nanos(999));
        assert_eq!(out, b"12.034 0.000");
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_line_of_valid_json(bytes: Vec<u8>) {
            let written = as_string(&bytes);
            let read: String = serde_json::from_str(&written).unwrap();
            prop_assert!(!written.chars().any(char::is_control));
            if let Ok(text) = std::str::from_utf8(&bytes) {
                prop_assert_eq!(read, text);
            }
        }
    }
}
