//! `require_signature` and its companions.

use std::collections::HashSet;
use std::time::Duration;

use http::HeaderName;

use crate::document::SignatureVersionName;
use crate::model::{Signature, SignatureVersion};
use crate::problem::Problems;

use super::header;
use super::settings_merge::Merged;

pub(super) const DEFAULT_TOLERANCE_SEC: u32 = 300;
pub(super) const DEFAULT_SIGNATURE_HEADER: &str = "x-signature";
pub(super) const DEFAULT_TIMESTAMP_HEADER: &str = "x-timestamp";
pub(super) const DEFAULT_NONCE_HEADER: &str = "x-nonce";

pub(super) fn signature(merged: &Merged<'_>, problems: &mut Problems) -> Option<Signature> {
    if !merged.flag(|settings| &settings.require_signature) {
        return None;
    }
    let version = merged.value(|settings| &settings.signature_version);
    let tolerance = merged.value(|settings| &settings.signature_tolerance_sec);
    let signature_header = merged.pick(|settings| &settings.signature_header);
    let timestamp_header = merged.pick(|settings| &settings.timestamp_header);
    let nonce_header = merged.pick(|settings| &settings.nonce_header);
    let mut name = |given: Option<super::settings_merge::Setting<'_, &String>>,
                    field: &str,
                    default: &'static str| match given {
        Some(given) => header::of_signature(given.value, &given.at.key(field), problems),
        None => Some(HeaderName::from_static(default)),
    };
    let signature_header = name(
        signature_header,
        "signature_header",
        DEFAULT_SIGNATURE_HEADER,
    )?;
    let timestamp_header = name(
        timestamp_header,
        "timestamp_header",
        DEFAULT_TIMESTAMP_HEADER,
    )?;
    let nonce_header = name(nonce_header, "nonce_header", DEFAULT_NONCE_HEADER)?;
    let names = [&signature_header, &timestamp_header, &nonce_header];
    let distinct: HashSet<_> = names.map(header::as_read).into();
    if distinct.len() < 3 {
        problems.add(
            merged.at(),
            "signature_header, timestamp_header and nonce_header are not three different names",
            "by default x-signature, x-timestamp and x-nonce",
        );
    }
    Some(Signature {
        version: match version {
            Some(SignatureVersionName::V1) | None => SignatureVersion::V1,
            Some(SignatureVersionName::V2) => SignatureVersion::V2,
        },
        tolerance: Duration::from_secs(u64::from(tolerance.unwrap_or(DEFAULT_TOLERANCE_SEC))),
        signature_header,
        timestamp_header,
        nonce_header,
    })
}
