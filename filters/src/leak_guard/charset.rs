//! Whether a body's characters have the bytes that are looked for. In most
//! charsets the bytes below 128 are those of ASCII; in UTF-16, UTF-7 or EBCDIC
//! a secret has other bytes. Names are those of the Encoding standard (section
//! 4.2) and of IANA's registry; one that is not known here is taken for
//! foreign.

use smallvec::SmallVec;

/// Beginnings of names, of letters and digits alone.
const ASCII_SUPERSETS: [&[u8]; 24] = [
    b"ansix34",
    b"ascii",
    b"big5",
    b"binary",
    b"euc",
    b"gb18030",
    b"gb2312",
    b"gbk",
    b"iso2022",
    b"iso646us",
    b"iso8859",
    b"isolatin",
    b"koi8",
    b"ksc5601",
    b"latin",
    b"mac",
    b"mskanji",
    b"shiftjis",
    b"sjis",
    b"tis620",
    b"usascii",
    b"userdefined",
    b"utf8",
    b"windows31j",
];

const CODE_PAGES: [&[u8]; 6] = [b"cp", b"dos", b"ibm", b"ms", b"win", b"windows"];

/// A type that names no charset is taken at its bytes.
pub(super) fn may_be_foreign(content_type: &[u8]) -> bool {
    let mut parameters = content_type.split(|byte| *byte == b';').skip(1);
    parameters.any(names_foreign)
}

fn names_foreign(parameter: &[u8]) -> bool {
    let letters = parameter.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let letters: SmallVec<[u8; 48]> = letters.map(u8::to_ascii_lowercase).collect();
    let name = letters.strip_prefix(b"charset").unwrap_or_default();
    // Of names that no one has registered, and of IANA's aliases.
    let name = name
        .strip_prefix(b"x")
        .or_else(|| name.strip_prefix(b"cs"))
        .unwrap_or(name);
    !name.is_empty() && !is_ascii_superset(name)
}

fn is_ascii_superset(name: &[u8]) -> bool {
    let mut known = ASCII_SUPERSETS.iter();
    known.any(|known| name.starts_with(known)) || is_ascii_page(name)
}

/// Of the other code pages most are EBCDIC, and some are UTF-16 or UTF-7.
fn is_ascii_page(name: &[u8]) -> bool {
    let digits = name.iter().position(u8::is_ascii_digit);
    let Some((family, page)) = digits.and_then(|at| name.split_at_checked(at)) else {
        return false;
    };
    let page = str::from_utf8(page).ok().and_then(|page| page.parse().ok());
    let is_ascii = |page: u32| {
        matches!(
            page,
            437 | 720
                | 737
                | 775
                | 850..=858
                | 860..=863
                | 865
                | 866
                | 869
                | 874
                | 932
                | 936
                | 949
                | 950
                | 1250..=1258
                | 20127
                | 65001
        )
    };
    CODE_PAGES.contains(&family) && page.is_some_and(is_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_foreign(charset: &str) -> bool {
        may_be_foreign(format!("text/plain; charset={charset}").as_bytes())
    }

    #[test]
    fn common_charsets_have_the_bytes_of_ascii() {
        for charset in [
            "utf-8",
            "UTF8",
            "\"utf-8\"",
            "us-ascii",
            "ANSI_X3.4-1968",
            "ISO-8859-1",
            "iso8859-15",
            "iso_8859-1:1987",
            "latin1",
            "csISOLatin1",
            "windows-1252",
            "win-1251",
            "x-cp1250",
            "cp65001",
            "windows-31j",
            "ibm866",
            "IBM00858",
            "koi8-r",
            "KOI8-U",
            "Shift_JIS",
            "x-sjis",
            "cp932",
            "EUC-JP",
            "euc-kr",
            "ks_c_5601-1987",
            "iso-2022-jp",
            "GB2312",
            "gb_2312-80",
            "gbk",
            "gb18030",
            "Big5-HKSCS",
            "tis-620",
            "macintosh",
            "x-mac-cyrillic",
            "binary",
        ] {
            assert!(!is_foreign(charset), "{charset}");
        }
    }

    #[test]
    fn wide_and_other_characters_are_foreign() {
        for charset in [
            "UTF-16",
            "utf16",
            "\"utf-16le\"",
            "utf-16be",
            "csUTF16LE",
            "unicode",
            "csunicode",
            "unicodefeff",
            "unicodefffe",
            "x-utf-16le-bom",
            "utf-32",
            "utf32",
            "csUTF32",
            "ISO-10646-UCS-2",
            "iso-10646-ucs-4",
            "csUCS4",
            "ucs2",
            "ucs-4",
            "utf-7",
            "windows-65000",
            "cp1200",
            "ibm037",
            "cp500",
            "IBM1047",
            "ebcdic-cp-us",
            "scsu",
            "something-new",
        ] {
            assert!(is_foreign(charset), "{charset}");
        }
    }

    #[test]
    fn every_parameter_counts_and_however_it_is_written() {
        for value in [
            "text/plain;CHARSET=utf-16",
            "text/plain; x=y; charset = utf-32",
            "text/plain; charset=utf-8; charset=utf-16",
            "text/plain; charset=utf-8, text/html; charset=utf-16",
            "text/plain; charset=\"utf\\-16\"",
        ] {
            assert!(may_be_foreign(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_type_without_a_charset_is_not_foreign() {
        for value in [
            "",
            "application/json",
            "text/plain; charset=",
            "text/plain; charset=\"\"",
            "multipart/mixed; boundary=utf-16",
            "text/plain; format=flowed",
        ] {
            assert!(!may_be_foreign(value.as_bytes()), "{value}");
        }
    }
}
