//! One walk over a JSON text that is known to be valid, as deep as any path may
//! still lead; everything beside is skipped without recursion and copied in one
//! piece.

use std::borrow::Cow;

use super::TransformError;
use super::path::{Child, Places};
use super::transform::{BodyRules, Edit};

/// Lists within each other that paths are followed into.
const MAX_DEPTH: usize = 128;

pub(super) struct Walk<'t, 'r> {
    text: &'t str,
    at: usize,
    rules: &'r BodyRules,
    out: Copied<'t>,
}

impl<'t, 'r> Walk<'t, 'r> {
    pub(super) fn new(text: &'t str, rules: &'r BodyRules, limit: usize) -> Self {
        Self {
            text,
            at: 0,
            rules,
            out: Copied {
                text,
                up_to: 0,
                new: None,
                limit,
            },
        }
    }

    /// `None` where nothing was changed.
    pub(super) fn over_document(mut self) -> Result<Option<Vec<u8>>, TransformError> {
        let root = Places::root(self.rules.len());
        self.space();
        self.value(&root, 0)?;
        self.out.finish()
    }

    fn value(&mut self, places: &Places, depth: usize) -> Result<(), TransformError> {
        match self.peek() {
            Some(b'{' | b'[') if places.is_empty() => self.skip(),
            Some(b'{' | b'[') if depth >= MAX_DEPTH => Err(TransformError::TooDeep),
            Some(b'{') => self.object(places, depth + 1),
            Some(b'[') => self.array(places, depth + 1),
            Some(_) | None => self.skip(),
        }
    }

    fn object(&mut self, places: &Places, depth: usize) -> Result<(), TransformError> {
        let mut list = List::default();
        self.at += 1;
        while self.in_list(b'}')? {
            let start = self.at;
            let name = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(TransformError::Malformed);
            }
            self.at += 1;
            self.space();
            let child = Child::Member(&read(name)?);
            self.child(child, start, places, &mut list, depth)?;
        }
        list.close(&mut self.out)
    }

    fn array(&mut self, places: &Places, depth: usize) -> Result<(), TransformError> {
        let mut list = List::default();
        let mut index = 0;
        self.at += 1;
        while self.in_list(b']')? {
            let child = Child::Element(index);
            self.child(child, self.at, places, &mut list, depth)?;
            index += 1;
        }
        list.close(&mut self.out)
    }

    /// Moves on to the next item, or past the end of the list.
    fn in_list(&mut self, end: u8) -> Result<bool, TransformError> {
        self.space();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.space();
        }
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Ok(true),
            None => Err(TransformError::Malformed),
        }
    }

    /// `start` is where the item begins, name and all; we stand at its value.
    fn child(
        &mut self,
        child: Child<'_>,
        start: usize,
        places: &Places,
        list: &mut List,
        depth: usize,
    ) -> Result<(), TransformError> {
        let rules = self.rules;
        let (places, rule) = places.at(child, |index| rules.path(index));
        match rule.and_then(|index| rules.edit(index)) {
            Some(edit) => self.edit(edit, start, list),
            None => {
                list.keeps(start, &mut self.out)?;
                self.value(&places, depth)?;
                list.kept_up_to(self.at);
                Ok(())
            }
        }
    }

    fn edit(&mut self, edit: &Edit, start: usize, list: &mut List) -> Result<(), TransformError> {
        let value = self.at;
        self.skip()?;
        let raw = self.text.get(value..self.at).unwrap_or_default();
        match edit.apply(raw) {
            Some(new) => {
                list.keeps(start, &mut self.out)?;
                self.out.replace(value, self.at, &new)?;
                list.kept_up_to(self.at);
            }
            None => list.removes(start, self.at),
        }
        Ok(())
    }

    /// Past a value, however deep it is.
    fn skip(&mut self) -> Result<(), TransformError> {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1).ok_or(TransformError::Malformed)?;
                    self.at += 1;
                }
                _ if depth == 0 => self.scalar(),
                _ => self.at += 1,
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(TransformError::Malformed)
    }

    /// Past a number or a word.
    fn scalar(&mut self) {
        let rest = self.bytes().get(self.at..).unwrap_or_default();
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
    }

    /// Past a string, which is returned with its quotes.
    fn string(&mut self) -> Result<&'t str, TransformError> {
        let start = self.at;
        self.at += 1;
        loop {
            let rest = self.bytes().get(self.at..).unwrap_or_default();
            let found = memchr::memchr2(b'"', b'\\', rest).ok_or(TransformError::Malformed)?;
            self.at += found + 1;
            if rest.get(found) == Some(&b'"') {
                break;
            }
            self.at += 1;
        }
        self.text
            .get(start..self.at)
            .ok_or(TransformError::Malformed)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn bytes(&self) -> &'t [u8] {
        self.text.as_bytes()
    }
}

/// A name as it is meant. One that no text can hold (half of a surrogate pair)
/// could be read as any other.
fn read(raw: &str) -> Result<Cow<'_, str>, TransformError> {
    let plain = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    match plain {
        Some(plain) if memchr::memchr(b'\\', plain.as_bytes()).is_none() => {
            Ok(Cow::Borrowed(plain))
        }
        Some(_) | None => serde_json::from_str(raw)
            .map(Cow::Owned)
            .map_err(|_| TransformError::Malformed),
    }
}

/// The items of a list that go, with the commas between them.
#[derive(Default)]
struct List {
    /// Where the last item that stays ends.
    kept: Option<usize>,
    /// From where to where items go, since then.
    gone: Option<(usize, usize)>,
}

impl List {
    fn removes(&mut self, start: usize, end: usize) {
        let start = self.gone.map_or(start, |(start, _)| start);
        self.gone = Some((start, end));
    }

    /// An item that begins at `start` stays.
    fn keeps(&mut self, start: usize, out: &mut Copied<'_>) -> Result<(), TransformError> {
        match (self.gone.take(), self.kept) {
            (Some((_, end)), Some(kept)) => out.replace(kept, end, ""),
            (Some((first, _)), None) => out.replace(first, start, ""),
            (None, _) => Ok(()),
        }
    }

    fn kept_up_to(&mut self, end: usize) {
        self.kept = Some(end);
    }

    fn close(self, out: &mut Copied<'_>) -> Result<(), TransformError> {
        match self.gone {
            Some((first, end)) => out.replace(self.kept.unwrap_or(first), end, ""),
            None => Ok(()),
        }
    }
}

/// The text as it came, with pieces replaced from left to right.
struct Copied<'t> {
    text: &'t str,
    up_to: usize,
    new: Option<Vec<u8>>,
    limit: usize,
}

impl Copied<'_> {
    fn replace(&mut self, from: usize, to: usize, with: &str) -> Result<(), TransformError> {
        let before = self.text.get(self.up_to..from);
        let before = before.ok_or(TransformError::Malformed)?;
        let room = self.text.len();
        let new = self.new.get_or_insert_with(|| Vec::with_capacity(room));
        new.extend_from_slice(before.as_bytes());
        new.extend_from_slice(with.as_bytes());
        self.up_to = to;
        within(new.len(), self.limit)
    }

    fn finish(self) -> Result<Option<Vec<u8>>, TransformError> {
        let rest = self.text.get(self.up_to..).unwrap_or_default();
        let Some(mut new) = self.new else {
            return Ok(None);
        };
        new.extend_from_slice(rest.as_bytes());
        within(new.len(), self.limit)?;
        Ok(Some(new))
    }
}

fn within(length: usize, limit: usize) -> Result<(), TransformError> {
    match length > limit {
        true => Err(TransformError::TooLarge),
        false => Ok(()),
    }
}
