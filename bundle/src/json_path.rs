//! Paths into JSON documents, a part of RFC 9535: `$.user.ssn`,
//! `$.items[*].card`, `$['a b'][0]`, `$..password`. No filters, no slices. What
//! rules on answers go by; request records are masked by the same syntax.

/// Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JsonPath(Box<[JsonStep]>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JsonStep {
    Member(String),
    Element(usize),
    /// Every member or element.
    Every,
    /// Members of this name at this depth or any below.
    Below(String),
}

/// A few words that follow "the path".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidJsonPath(&'static str);

impl JsonPath {
    /// Whoever follows a path keeps its places in one word of 64 bits.
    pub const MAX_STEPS: usize = 63;

    pub fn parse(text: &str) -> Result<Self, InvalidJsonPath> {
        let rest = text.strip_prefix('$');
        let mut rest = rest.ok_or(InvalidJsonPath("must begin with $"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest).map_err(InvalidJsonPath)?;
            steps.push(step);
            rest = after;
        }
        match steps.len() {
            0 => Err(InvalidJsonPath("must name a member")),
            1..=Self::MAX_STEPS => Ok(Self(steps.into())),
            _ => Err(InvalidJsonPath("has more than 63 steps")),
        }
    }

    pub fn steps(&self) -> &[JsonStep] {
        &self.0
    }
}

type Parsed<'t, T> = Result<(T, &'t str), &'static str>;

fn step(rest: &str) -> Parsed<'_, JsonStep> {
    if rest.starts_with("..*") {
        return Err("takes a name after `..`, not `*`");
    }
    if let Some(rest) = rest.strip_prefix("..") {
        let (name, after) = name(rest)?;
        return Ok((JsonStep::Below(name.to_owned()), after));
    }
    if let Some(rest) = rest.strip_prefix(".*") {
        return Ok((JsonStep::Every, rest));
    }
    if let Some(rest) = rest.strip_prefix('.') {
        let (name, after) = name(rest)?;
        return Ok((JsonStep::Member(name.to_owned()), after));
    }
    let inner = rest.strip_prefix('[');
    bracket(inner.ok_or("expects . or [ after a name")?)
}

fn name(rest: &str) -> Parsed<'_, &str> {
    match rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())) {
        ("", _) => Err("has an empty name"),
        named => Ok(named),
    }
}

fn bracket(inner: &str) -> Parsed<'_, JsonStep> {
    for quote in ['\'', '"'] {
        if let Some(quoted) = inner.strip_prefix(quote) {
            let (name, after) = quoted.split_once(quote).ok_or("has an open quote")?;
            let after = after.strip_prefix(']').ok_or("has an open [")?;
            return Ok((JsonStep::Member(name.to_owned()), after));
        }
    }
    let (index, after) = inner.split_once(']').ok_or("has an open [")?;
    let is_number = index.bytes().all(|byte| byte.is_ascii_digit());
    match (index, index.parse()) {
        ("*", _) => Ok((JsonStep::Every, after)),
        (_, Ok(number)) if is_number => Ok((JsonStep::Element(number), after)),
        (_, Ok(_) | Err(_)) => Err("takes an index, * or a quoted name between [ and ]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<JsonStep> {
        JsonPath::parse(text).unwrap().steps().to_vec()
    }

    #[test]
    fn knows_members_elements_and_names_at_any_depth() {
        let member = |name: &str| JsonStep::Member(name.to_owned());
        assert_eq!(steps("$.user.ssn"), [member("user"), member("ssn")]);
        assert_eq!(
            steps("$.items[*].card"),
            [member("items"), JsonStep::Every, member("card")]
        );
        assert_eq!(steps("$['a b'][0]"), [member("a b"), JsonStep::Element(0)]);
        assert_eq!(steps("$[\"a.b\"]"), [member("a.b")]);
        assert_eq!(steps("$.*"), [JsonStep::Every]);
        assert_eq!(
            steps("$.a..pin"),
            [member("a"), JsonStep::Below("pin".to_owned())]
        );
    }

    #[test]
    fn refuses_what_is_no_path() {
        for text in [
            "",
            "$",
            "a.b",
            "$.",
            "$..",
            "$..*",
            "$..['a']",
            "$.a...b",
            "$.a[",
            "$.a[x]",
            "$.a[]",
            "$.a[+1]",
            "$a",
            "$['a",
            "$['a'",
            "$[99999999999999999999]",
            "$[?(@.a)]",
            "$[1:2]",
        ] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_more_steps_than_can_be_followed() {
        let path = |steps| format!("${}", ".a".repeat(steps));
        assert!(JsonPath::parse(&path(63)).is_ok());
        assert!(JsonPath::parse(&path(64)).is_err());
    }
}
