//! Paths into captured JSON bodies, a part of RFC 9535: `$.user.ssn`,
//! `$.items[*].card`, `$['a b'][0]`, `$..password`. No filters, no slices.

use serde_json::Value;

use super::MASK;

/// A parsed path; never empty.
pub(super) struct JsonPath(Vec<Segment>);

enum Segment {
    Member(String),
    Element(usize),
    /// Every member or element.
    Every,
    /// Members of this name at this depth or any below.
    Below(String),
}

impl JsonPath {
    /// The reason is a few words that follow the path in an error's text.
    pub(super) fn parse(path: &str) -> Result<Self, &'static str> {
        let mut rest = path.strip_prefix('$').ok_or("must begin with $")?;
        let mut segments = Vec::new();
        while !rest.is_empty() {
            let (segment, after) = parse_segment(rest)?;
            segments.push(segment);
            rest = after;
        }
        if segments.is_empty() {
            return Err("must name a member: $.name, $.list[*].name or $..name");
        }
        Ok(Self(segments))
    }

    /// Replaces what the path leads to.
    pub(super) fn mask(&self, value: &mut Value) {
        mask(value, &self.0);
    }
}

fn parse_segment(rest: &str) -> Result<(Segment, &str), &'static str> {
    if let Some(rest) = rest.strip_prefix("..") {
        let (name, after) = parse_name(rest)?;
        return Ok((Segment::Below(name.to_owned()), after));
    }
    if let Some(rest) = rest.strip_prefix(".*") {
        return Ok((Segment::Every, rest));
    }
    if let Some(rest) = rest.strip_prefix('.') {
        let (name, after) = parse_name(rest)?;
        return Ok((Segment::Member(name.to_owned()), after));
    }
    let inner = rest
        .strip_prefix('[')
        .ok_or("expects . or [ after a name")?;
    parse_bracket(inner)
}

fn parse_name(rest: &str) -> Result<(&str, &str), &'static str> {
    match rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())) {
        ("", _) => Err("has an empty name"),
        named => Ok(named),
    }
}

fn parse_bracket(inner: &str) -> Result<(Segment, &str), &'static str> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = inner.strip_prefix(quote) {
            let (name, after) = quoted.split_once(quote).ok_or("has an open quote")?;
            let after = after.strip_prefix(']').ok_or("has an open [")?;
            return Ok((Segment::Member(name.to_owned()), after));
        }
    }
    let (index, after) = inner.split_once(']').ok_or("has an open [")?;
    match index {
        "*" => Ok((Segment::Every, after)),
        number => number
            .parse()
            .map(|index| (Segment::Element(index), after))
            .map_err(|_| "takes an index, * or a quoted name between [ and ]"),
    }
}

fn mask(value: &mut Value, path: &[Segment]) {
    let Some((segment, rest)) = path.split_first() else {
        *value = Value::from(MASK);
        return;
    };
    match segment {
        Segment::Member(name) => {
            if let Some(member) = value
                .as_object_mut()
                .and_then(|object| object.get_mut(name))
            {
                mask(member, rest);
            }
        }
        Segment::Element(index) => {
            if let Some(element) = value.as_array_mut().and_then(|array| array.get_mut(*index)) {
                mask(element, rest);
            }
        }
        Segment::Every => for_each_child(value, |_, child| mask(child, rest)),
        Segment::Below(name) => for_each_child(value, |key, child| {
            if key == Some(name) {
                mask(child, rest);
            }
            mask(child, path);
        }),
    }
}

fn for_each_child(value: &mut Value, mut visit: impl FnMut(Option<&String>, &mut Value)) {
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(|child| visit(None, child)),
        Value::Object(members) => {
            members
                .iter_mut()
                .for_each(|(key, child)| visit(Some(key), child));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn masked(path: &str, mut value: Value) -> Value {
        JsonPath::parse(path).unwrap().mask(&mut value);
        value
    }

    #[test]
    fn masks_what_the_path_leads_to_and_nothing_else() {
        assert_eq!(
            masked("$.user.ssn", json!({"user": {"ssn": 1, "n": 2}, "ssn": 3})),
            json!({"user": {"ssn": MASK, "n": 2}, "ssn": 3})
        );
        assert_eq!(
            masked(
                "$.items[*].card",
                json!({"items": [{"card": 1}, {"x": 2}, 3]})
            ),
            json!({"items": [{"card": MASK}, {"x": 2}, 3]})
        );
        assert_eq!(masked("$[1]", json!([1, {"a": 2}])), json!([1, MASK]));
        assert_eq!(
            masked("$['a.b']", json!({"a.b": [1]})),
            json!({"a.b": MASK})
        );
        assert_eq!(
            masked("$.*", json!({"a": 1, "b": [2]})),
            json!({"a": MASK, "b": MASK})
        );
    }

    #[test]
    fn masks_a_name_at_every_depth() {
        assert_eq!(
            masked(
                "$..pin",
                json!({"pin": 1, "a": [{"pin": {"pin": 2}}, {"b": {"pin": 3}}]})
            ),
            json!({"pin": MASK, "a": [{"pin": MASK}, {"b": {"pin": MASK}}]})
        );
    }

    #[test]
    fn refuses_what_is_no_path() {
        for path in [
            "",
            "user.ssn",
            "$",
            "$.",
            "$user",
            "$..",
            "$[",
            "$[x]",
            "$['a",
            "$['a'",
            "$[?(@.a)]",
            "$[1:2]",
        ] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
