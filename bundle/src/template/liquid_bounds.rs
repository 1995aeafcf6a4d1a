//! What Liquid's own parts let grow without end is bounded here: every value
//! that a filter reads or a template keeps has at most [`MAX_VALUE_BYTES`].
//! So a rendering needs no more memory than a few of them, however often a
//! template doubles a text.

use std::io::{self, Write};

use liquid_core::model::{KString, Value, ValueView};
use liquid_core::{
    BlockReflection, Error, Language, ParseBlock, Renderable, Result, Runtime, TagBlock,
    TagTokenIter, Template,
};

use super::liquid_filter::OwnFilter;
use super::{liquid_lists, liquid_math};

/// Bytes of what a template makes, and of any value on the way to it.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// What an item of a list costs beside its text.
const ITEM_BYTES: usize = 16;

/// The filter that passes on what is not too large. The rewriter puts it
/// before every filter and at the end of what is assigned.
pub(super) const GUARD: &str = "knoxcall_bounded";

/// With the filters and the block of ours in the place of Liquid's own.
pub(super) fn parser() -> Option<liquid::Parser> {
    FILTERS
        .into_iter()
        .chain(liquid_math::FILTERS)
        .chain(liquid_lists::FILTERS)
        .fold(liquid::ParserBuilder::with_stdlib(), |builder, filter| {
            builder.filter(filter)
        })
        .block(Capture)
        .build()
        .ok()
}

/// `join` and `replace` multiply what they are given: they are told apart
/// before they do. What any other filter makes is a few times what it reads.
const FILTERS: [OwnFilter; 3] = [
    OwnFilter {
        name: GUARD,
        arguments: (0, 0),
        compute: |input, _| guard(input),
    },
    OwnFilter {
        name: "join",
        arguments: (0, 1),
        compute: |input, arguments| join(input, arguments.text(0).as_deref().unwrap_or(" ")),
    },
    OwnFilter {
        name: "replace",
        arguments: (1, 2),
        compute: |input, arguments| {
            let search = arguments.text(0).unwrap_or_default();
            let by = arguments.text(1).unwrap_or_default();
            replace(&input.to_kstr(), &search, &by)
        },
    },
];

fn guard(input: &dyn ValueView) -> Result<Value> {
    check(size(input))?;
    Ok(input.to_value())
}

fn join(input: &dyn ValueView, separator: &str) -> Result<Value> {
    let items = input
        .as_array()
        .ok_or_else(|| Error::with_msg("a list is expected"))?;
    let texts: Vec<_> = items.values().map(|item| item.to_kstr()).collect();
    let own: usize = texts.iter().map(|text| text.len()).sum();
    check(
        separator
            .len()
            .saturating_mul(texts.len())
            .saturating_add(own),
    )?;
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
    Ok(Value::scalar(texts.join(separator)))
}

fn replace(input: &str, search: &str, by: &str) -> Result<Value> {
    let found = input.matches(search).count();
    check(found.saturating_mul(by.len()).saturating_add(input.len()))?;
    Ok(Value::scalar(input.replace(search, by)))
}

fn check(bytes: usize) -> Result<()> {
    match bytes {
        0..=MAX_VALUE_BYTES => Ok(()),
        _ => Err(Error::with_msg("the value is too large")),
    }
}

fn size(value: &dyn ValueView) -> usize {
    match value.as_array() {
        Some(items) => items
            .values()
            .map(|item| size(item).saturating_add(ITEM_BYTES))
            .fold(0, usize::saturating_add),
        None => value.to_kstr().len(),
    }
}

/// `{% capture NAME %}`, up to as much as a value may have.
#[derive(Clone, Copy, Debug)]
struct Capture;

impl BlockReflection for Capture {
    fn start_tag(&self) -> &str {
        "capture"
    }

    fn end_tag(&self) -> &str {
        "endcapture"
    }

    fn description(&self) -> &str {
        ""
    }
}

impl ParseBlock for Capture {
    fn parse(
        &self,
        mut arguments: TagTokenIter<'_>,
        mut block: TagBlock<'_, '_>,
        options: &Language,
    ) -> Result<Box<dyn Renderable>> {
        let name = arguments
            .expect_next("a name is expected")?
            .expect_identifier()
            .into_result()?
            .to_owned();
        arguments.expect_nothing()?;
        let inside = Template::new(block.parse_all(options)?);
        block.assert_empty();
        Ok(Box::new(Captured {
            name: name.into(),
            inside,
        }))
    }

    fn reflection(&self) -> &dyn BlockReflection {
        self
    }
}

#[derive(Debug)]
struct Captured {
    name: KString,
    inside: Template,
}

impl Renderable for Captured {
    fn render_to(&self, _writer: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        let mut out = BoundedText::default();
        self.inside.render_to(&mut out, runtime)?;
        let text = out
            .into_text()
            .ok_or_else(|| Error::with_msg("a text is expected"))?;
        runtime.set_global(self.name.clone(), Value::scalar(text));
        Ok(())
    }
}

/// Takes up to [`MAX_VALUE_BYTES`].
#[derive(Default)]
pub struct BoundedText(Vec<u8>);

impl BoundedText {
    /// `None`: it is not UTF-8.
    pub fn into_text(self) -> Option<String> {
        String::from_utf8(self.0).ok()
    }
}

impl Write for BoundedText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_VALUE_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
