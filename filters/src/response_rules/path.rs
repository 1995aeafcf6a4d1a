//! Follows all paths of a route at once while a document is walked. For each
//! rule, a word of bits says after which of its steps the walk may stand; `..`
//! makes it several.

use knoxcall_bundle::json_path::{JsonPath, JsonStep};
use smallvec::SmallVec;

/// One member of an object, or element of an array.
#[derive(Clone, Copy)]
pub(super) enum Child<'a> {
    Member(&'a str),
    Element(usize),
}

#[derive(Clone, Copy, Debug)]
struct Place {
    path: usize,
    /// Bit n: n steps have been made.
    steps: u64,
}

/// Where the walk stands, by the paths that may still lead somewhere.
#[derive(Clone, Debug)]
pub(super) struct Places(SmallVec<[Place; 4]>);

impl Places {
    /// At the document itself.
    pub(super) fn root(paths: usize) -> Self {
        let paths = 0..paths;
        Self(paths.map(|path| Place { path, steps: 1 }).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At a child: the places there, and the first of the paths that end there.
    pub(super) fn at<'p>(
        &self,
        child: Child<'_>,
        path: impl Fn(usize) -> Option<&'p JsonPath>,
    ) -> (Self, Option<usize>) {
        let mut ended = None;
        let mut places = SmallVec::new();
        for place in &self.0 {
            let steps = path(place.path).map(JsonPath::steps).unwrap_or_default();
            let made = made(place.steps, steps, child);
            if made >> steps.len() & 1 == 1 {
                ended = ended.or(Some(place.path));
            }
            if made != 0 {
                places.push(Place {
                    path: place.path,
                    steps: made,
                });
            }
        }
        (Self(places), ended)
    }
}

fn made(before: u64, steps: &[JsonStep], child: Child<'_>) -> u64 {
    let steps = steps.iter().enumerate();
    steps
        .filter(|(position, _)| before >> position & 1 == 1)
        .map(|(position, step)| {
            let stays = matches!(step, JsonStep::Below(_));
            (u64::from(leads_to(step, child)) << (position + 1)) | (u64::from(stays) << position)
        })
        .fold(0, |made, bits| made | bits)
}

fn leads_to(step: &JsonStep, child: Child<'_>) -> bool {
    match (step, child) {
        (JsonStep::Every, _) => true,
        (JsonStep::Member(name) | JsonStep::Below(name), Child::Member(own)) => name == own,
        (JsonStep::Element(index), Child::Element(own)) => *index == own,
        (JsonStep::Member(_) | JsonStep::Below(_), Child::Element(_))
        | (JsonStep::Element(_), Child::Member(_)) => false,
    }
}
