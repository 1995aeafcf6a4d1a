//! `response_headers`, `response_body` and what goes with them: what is done to
//! the answers of an upstream.

mod body;
mod headers;

use crate::document::{NotJsonName, ResponseDecodingName};
use crate::model::{NotJson, ResponseDecoding, ResponseSettings};
use crate::problem::Problems;

use super::settings_merge::Merged;

pub(super) fn response(merged: &Merged<'_>, problems: &mut Problems) -> ResponseSettings {
    let headers = merged.pick(|settings| &settings.response_headers);
    let body = merged.pick(|settings| &settings.response_body);
    let decoding = merged.value(|settings| &settings.response_decoding);
    ResponseSettings {
        headers: headers.map_or_else(Default::default, |given| {
            headers::headers(given.value, &given.at.key("response_headers"), problems)
        }),
        body: body.map_or_else(Vec::new, |given| {
            body::rules(given.value, &given.at.key("response_body"), problems)
        }),
        not_json: not_json(merged, problems),
        decoding: match decoding {
            Some(ResponseDecodingName::Decode) => ResponseDecoding::Decode,
            Some(ResponseDecodingName::Identity) | None => ResponseDecoding::Identity,
        },
    }
}

fn not_json(merged: &Merged<'_>, problems: &mut Problems) -> NotJson {
    let Some(given) = merged.pick(|settings| &settings.response_not_json) else {
        return NotJson::default();
    };
    if merged.pick(|settings| &settings.response_body).is_none() {
        let remedy = "it is for routes with response_body";
        let at = given.at.key("response_not_json");
        problems.add(&at, "has nothing to decide", remedy);
    }
    match given.value {
        NotJsonName::Refuse => NotJson::Refuse,
        NotJsonName::Pass => NotJson::Pass,
    }
}
