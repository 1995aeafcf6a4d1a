//! A JSON template merged into a client's JSON object: objects member by
//! member, everything else replaced. What the template does not name stays as
//! the client wrote it, byte for byte, so that no number changes its value on
//! the way (RFC 8259, section 6). A name that two parsers could read in two
//! ways is refused.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use knoxcall_bundle::JsonTemplate;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::text::Text;
use super::values::{RequestValues, Values};
use crate::refusal::Refusal;

pub(crate) enum Json {
    /// JSON text.
    Fixed(Zeroizing<String>),
    /// A string, not yet escaped.
    Text(Text),
    Array(Box<[Json]>),
    Object(Box<[Member]>),
}

pub(crate) struct Member {
    name: String,
    value: Json,
}

impl Json {
    pub(crate) fn compile(
        template: &JsonTemplate,
        values: &Values<'_>,
        secrets: &mut Vec<Arc<str>>,
    ) -> Self {
        match template {
            JsonTemplate::Null => Self::fixed("null"),
            JsonTemplate::Bool(true) => Self::fixed("true"),
            JsonTemplate::Bool(false) => Self::fixed("false"),
            JsonTemplate::Number(number) => Self::fixed(&number.to_string()),
            JsonTemplate::String(text) => Self::string(Text::compile(text, values, secrets)),
            JsonTemplate::Array(items) => Self::Array(
                items
                    .iter()
                    .map(|item| Self::compile(item, values, secrets))
                    .collect(),
            ),
            JsonTemplate::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(name, value)| Member {
                        name: name.clone(),
                        value: Self::compile(value, values, secrets),
                    })
                    .collect(),
            ),
        }
    }

    /// The client's object with this one merged into it; this one alone where
    /// there is none.
    pub(crate) fn merge_into(
        &self,
        client: Option<&[u8]>,
        request: &RequestValues<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::with_capacity(client.map_or(0, <[u8]>::len) + 512);
        let Some(client) = client else {
            self.write(request, &mut out)?;
            return Ok(out);
        };
        let text = std::str::from_utf8(client).map_err(|_| Refusal::BodyNotJson)?;
        let object: Members<'_> = parse(text)?;
        match self {
            Self::Object(members) => write_merged(members, &object, request, &mut out)?,
            Self::Fixed(_) | Self::Text(_) | Self::Array(_) => self.write(request, &mut out)?,
        }
        Ok(out)
    }

    /// Is there a template in it that no request can render?
    pub(crate) fn fails(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Text(text) => matches!(text, Text::Failing),
            Self::Array(items) => items.iter().any(Self::fails),
            Self::Object(members) => members.iter().any(|member| member.value.fails()),
        }
    }

    fn fixed(text: &str) -> Self {
        Self::Fixed(Zeroizing::new(text.to_owned()))
    }

    fn string(text: Text) -> Self {
        let escaped = match &text {
            Text::Fixed(known) => serde_json::to_string(known.as_str()).ok(),
            Text::Pieces(_) | Text::Liquid(_) | Text::Unavailable | Text::Failing => None,
        };
        match escaped {
            Some(escaped) => Self::Fixed(Zeroizing::new(escaped)),
            None => Self::Text(text),
        }
    }

    /// `client` is what stands in this one's place.
    fn merge(
        &self,
        client: &RawValue,
        request: &RequestValues<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        match self {
            Self::Object(members) if client.get().starts_with('{') => {
                write_merged(members, &parse(client.get())?, request, out)
            }
            Self::Object(_) | Self::Fixed(_) | Self::Text(_) | Self::Array(_) => {
                self.write(request, out)
            }
        }
    }

    fn write(&self, request: &RequestValues<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            Self::Fixed(text) => out.extend_from_slice(text.as_bytes()),
            Self::Text(text) => write_string(&text.render(request)?, out)?,
            Self::Array(items) => {
                let mut list = List::open(b'[', out);
                for item in items {
                    item.write(request, list.item())?;
                }
                list.close(b']');
            }
            Self::Object(members) => {
                let mut list = List::open(b'{', out);
                for member in members {
                    member.write(request, list.item())?;
                }
                list.close(b'}');
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json([redacted])")
    }
}

impl Member {
    fn write(&self, request: &RequestValues<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        write_string(&self.name, out)?;
        out.push(b':');
        self.value.write(request, out)
    }
}

/// The client's members in their order, then those that only we have.
fn write_merged(
    ours: &[Member],
    client: &Members<'_>,
    request: &RequestValues<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    refuse_ambiguous_names(ours, client)?;
    let mut list = List::open(b'{', out);
    for (name, value) in &client.0 {
        let out = list.item();
        write_string(&name.0, out)?;
        out.push(b':');
        match ours.iter().find(|member| member.name == name.0) {
            Some(member) => member.value.merge(value, request, out)?,
            None => out.extend_from_slice(value.get().as_bytes()),
        }
    }
    for member in ours {
        if !client.0.iter().any(|(name, _)| name.0 == member.name) {
            member.write(request, list.item())?;
        }
    }
    list.close(b'}');
    Ok(())
}

/// A name that stands twice, or one that differs from ours in case alone:
/// parsers disagree about which of the two they take.
fn refuse_ambiguous_names(ours: &[Member], client: &Members<'_>) -> Result<(), Refusal> {
    let mut names: Vec<&str> = client.0.iter().map(|(name, _)| name.0.as_ref()).collect();
    names.sort_unstable();
    let twice = names
        .iter()
        .zip(names.iter().skip(1))
        .any(|(one, next)| one == next);
    let in_another_case = |name: &&str| {
        ours.iter()
            .any(|member| folds_to(&member.name, name) && member.name != **name)
    };
    if twice || names.iter().any(in_another_case) {
        return Err(Refusal::BodyNotJson);
    }
    Ok(())
}

/// Parsers that do not look at case fold beyond ASCII: the sign of the Kelvin
/// is a `k` to them, and the long s an `s`.
fn folds_to(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    let upper = |text: &str| {
        text.chars()
            .flat_map(char::to_uppercase)
            .collect::<String>()
    };
    let folded = |text| {
        upper(text)
            .chars()
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    folded(one) == folded(other)
}

fn write_string(text: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
    serde_json::to_writer(out, text).map_err(|_| Refusal::Internal)
}

/// Writes the brackets and commas of a list.
struct List<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> List<'o> {
    fn open(bracket: u8, out: &'o mut Vec<u8>) -> Self {
        out.push(bracket);
        Self { out, first: true }
    }

    /// Where the next item is to be written.
    fn item(&mut self) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out
    }

    fn close(self, bracket: u8) {
        self.out.push(bracket);
    }
}

/// An object of the client's, one level deep: values stay unread text, which
/// also keeps the nesting of a body from using up the stack.
struct Members<'a>(Vec<(Name<'a>, &'a RawValue)>);

struct Name<'a>(Cow<'a, str>);

fn parse(text: &str) -> Result<Members<'_>, Refusal> {
    serde_json::from_str(text).map_err(|_| Refusal::BodyNotJson)
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;

        impl<'de> Visitor<'de> for Key {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(Key)
    }
}
