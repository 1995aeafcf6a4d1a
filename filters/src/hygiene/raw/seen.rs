//! What a raw head has said so far in the headers that a decision depends on:
//! each at most once (RFC 9110 section 5.3, RFC 9112 sections 3.2 and 6).

use super::Field;
use crate::hygiene::syntax;
use crate::refusal::{Malformation, Refusal};

/// What has been seen of the headers that a decision depends on.
#[derive(Default)]
pub(super) struct Seen<'h> {
    /// A bit for each.
    singles: u8,
    pub(super) host: Option<&'h [u8]>,
    pub(super) length: Option<u64>,
    pub(super) has_coding: bool,
    pub(super) has_websocket: bool,
}

impl<'h> Seen<'h> {
    pub(super) fn note(&mut self, field: &Field<'h>) -> Result<(), Refusal> {
        let Some(single) = Single::of(field.name) else {
            self.has_websocket |= spells(b"upgrade", field.name)
                && field.trimmed_value().eq_ignore_ascii_case(b"websocket");
            return Ok(());
        };
        if self.is_second(single) {
            return Err(Refusal::Malformed(single.second_copy()));
        }
        match single {
            Single::Host => self.host = Some(field.trimmed_value()),
            Single::Length => self.length = Some(syntax::length(field.trimmed_value())?),
            Single::Coding if field.trimmed_value().eq_ignore_ascii_case(b"chunked") => {
                self.has_coding = true;
            }
            Single::Coding => {
                return Err(Refusal::Malformed(
                    Malformation::UnsupportedTransferEncoding,
                ));
            }
            // Judged later, by whoever uses them.
            Single::Route | Single::Key | Single::Environment | Single::ClientAddress => {}
        }
        Ok(())
    }

    fn is_second(&mut self, single: Single) -> bool {
        let bit = 1 << single as u8;
        let is_second = self.singles & bit != 0;
        self.singles |= bit;
        is_second
    }
}

/// A header that a decision depends on, in the order of
/// [`crate::hygiene::SINGLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Single {
    Host,
    Length,
    Coding,
    Route,
    Key,
    Environment,
    ClientAddress,
}

impl Single {
    fn of(name: &[u8]) -> Option<Self> {
        // Most names have another length than all of these.
        match name.len() {
            4 if spells(b"host", name) => Some(Self::Host),
            14 if spells(b"content-length", name) => Some(Self::Length),
            17 if spells(b"transfer-encoding", name) => Some(Self::Coding),
            16 if spells(b"x-knoxcall-route", name) => Some(Self::Route),
            14 if spells(b"x-knoxcall-key", name) => Some(Self::Key),
            22 if spells(b"x-knoxcall-environment", name) => Some(Self::Environment),
            16 if spells(b"cf-connecting-ip", name) => Some(Self::ClientAddress),
            _other => None,
        }
    }

    fn second_copy(self) -> Malformation {
        match self {
            Self::Length => Malformation::AmbiguousLength,
            Self::Coding => Malformation::UnsupportedTransferEncoding,
            Self::Host | Self::Route | Self::Key | Self::Environment | Self::ClientAddress => {
                Malformation::DuplicateHeader
            }
        }
    }
}

/// `known` is of lower-case letters and hyphens. In tokens this bit is the
/// case of letters and makes no other byte a hyphen. No early return and a
/// length known to the compiler: it compares many bytes at once.
fn spells<const LENGTH: usize>(known: &[u8; LENGTH], name: &[u8]) -> bool {
    let pairs = known.iter().zip(name);
    let differences = pairs.fold(0, |found, (known, byte)| found | (known ^ (byte | 0x20)));
    name.len() == LENGTH && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hygiene::SINGLE;
    use crate::hygiene::class::Class;

    #[test]
    fn knows_the_same_headers_as_the_check_of_a_parsed_head() {
        for (place, name) in SINGLE.iter().enumerate() {
            for name in [name.as_str(), &name.as_str().to_ascii_uppercase()] {
                let single = Single::of(name.as_bytes());
                assert_eq!(single.map(|single| single as usize), Some(place), "{name}");
            }
        }
    }

    #[test]
    fn knows_no_other_header() {
        for name in [
            "hos",
            "hosts",
            "most",
            "content_length",
            "x-knoxcall-keys",
            "",
        ] {
            assert_eq!(Single::of(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn no_byte_of_a_token_spells_another_in_either_case() {
        let tchars = (0..=u8::MAX).filter(|byte| Class::TOKEN.has_all(&[*byte]));
        for byte in tchars {
            for known in b"abcdefghijklmnopqrstuvwxyz-" {
                let same = byte.eq_ignore_ascii_case(known);
                assert_eq!(spells(&[*known], &[byte]), same, "{byte:#x}");
            }
        }
    }
}
