//! `response_body`: each item is one change of a JSON body, at a path.

use crate::document::BodyRuleDocument;
use crate::json_path::JsonPath;
use crate::model::{BodyEdit, BodyRule};
use crate::problem::{At, Problems};

/// Each costs a little at every member of every body.
const MAX_RULES: usize = 64;

pub(super) fn rules(
    documents: &[BodyRuleDocument],
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<BodyRule> {
    if documents.len() > MAX_RULES {
        let message = format!("has more than {MAX_RULES} rules");
        problems.add(at, message, "use [*] or .. to name several places at once");
    }
    let documents = documents.iter().enumerate();
    documents
        .filter_map(|(index, document)| rule(document, &at.index(index), problems))
        .collect()
}

fn rule(document: &BodyRuleDocument, at: &At<'_>, problems: &mut Problems) -> Option<BodyRule> {
    let kinds = [
        (Kind::Remove, &document.remove),
        (Kind::Replace, &document.replace),
        (Kind::Mask, &document.mask),
    ];
    let mut given = kinds
        .into_iter()
        .filter_map(|(kind, path)| Some((kind, path.as_deref()?)));
    let (Some((kind, path)), None) = (given.next(), given.next()) else {
        let remedy = "write remove, replace or mask in each item";
        problems.add(at, "is not one rule", remedy);
        return None;
    };
    let path = json_path(path, &at.key(kind.field()), problems);
    let edit = edit(kind, document, at, problems);
    Some(BodyRule {
        path: path?,
        edit: edit?,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Remove,
    Replace,
    Mask,
}

impl Kind {
    fn field(self) -> &'static str {
        match self {
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Mask => "mask",
        }
    }
}

fn json_path(text: &str, at: &At<'_>, problems: &mut Problems) -> Option<JsonPath> {
    match JsonPath::parse(text) {
        Ok(path) => Some(path),
        Err(error) => {
            let remedy = "write $.user.ssn, $.items[*].card, $['a b'] or $..pin";
            problems.add(at, format!("is not a JSON path: it {error}"), remedy);
            None
        }
    }
}

fn edit(
    kind: Kind,
    document: &BodyRuleDocument,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<BodyEdit> {
    if document.with.is_some() && kind != Kind::Replace {
        let remedy = "it goes with replace";
        problems.add(&at.key("with"), "has no effect", remedy);
    }
    if document.keep_last.is_some() && kind != Kind::Mask {
        let remedy = "it goes with mask";
        problems.add(&at.key("keep_last"), "has no effect", remedy);
    }
    match (kind, &document.with) {
        (Kind::Remove, _) => Some(BodyEdit::Remove),
        (Kind::Replace, Some(with)) => Some(BodyEdit::Replace(with.to_string().into())),
        (Kind::Replace, None) => {
            let remedy = "add with: any JSON, null too";
            problems.add_missing(at, "does not say what to replace by", remedy);
            None
        }
        (Kind::Mask, _) => Some(BodyEdit::Mask {
            keep_last: document.keep_last.unwrap_or(0),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(rules: Value) -> (Vec<BodyRule>, Vec<String>) {
        let documents: Vec<BodyRuleDocument> = serde_json::from_value(rules).unwrap();
        let mut problems = Problems::default();
        let compiled = super::rules(&documents, &At::ROOT.key("response_body"), &mut problems);
        let told = problems.into_vec().into_iter();
        let told = told.map(|problem| format!("{}: {}", problem.path, problem.message));
        (compiled, told.collect())
    }

    fn told(rules: Value) -> Vec<String> {
        judged(rules).1
    }

    #[test]
    fn takes_each_kind_of_rule() {
        let (rules, told) = judged(json!([
            {"remove": "$.a"},
            {"replace": "$..b", "with": {"n": [1, null]}},
            {"replace": "$.c", "with": null},
            {"mask": "$.d[*]", "keep_last": 4},
            {"mask": "$.e"},
        ]));
        assert_eq!(told, [""; 0]);
        let edits: Vec<_> = rules.into_iter().map(|rule| rule.edit).collect();
        assert_eq!(
            edits,
            [
                BodyEdit::Remove,
                BodyEdit::Replace(r#"{"n":[1,null]}"#.into()),
                BodyEdit::Replace("null".into()),
                BodyEdit::Mask { keep_last: 4 },
                BodyEdit::Mask { keep_last: 0 },
            ]
        );
    }

    #[test]
    fn refuses_items_that_are_not_one_rule() {
        assert_eq!(
            told(json!([{}, {"remove": "$.a", "mask": "$.b"}])),
            [
                "response_body[0]: is not one rule",
                "response_body[1]: is not one rule",
            ]
        );
    }

    #[test]
    fn refuses_what_does_not_go_with_the_rule() {
        assert_eq!(
            told(json!([
                {"remove": "$.a", "with": 1, "keep_last": 1},
                {"replace": "$.a"},
                {"mask": "$.a", "with": null},
            ])),
            [
                "response_body[0].with: has no effect",
                "response_body[0].keep_last: has no effect",
                "response_body[1]: does not say what to replace by",
                "response_body[2].with: has no effect",
            ]
        );
    }

    #[test]
    fn refuses_what_is_no_path_where_it_stands() {
        assert_eq!(
            told(json!([{"remove": "user.ssn"}, {"mask": "$..*"}])),
            [
                "response_body[0].remove: is not a JSON path: it must begin with $",
                "response_body[1].mask: is not a JSON path: it takes a name after `..`, not `*`",
            ]
        );
    }

    #[test]
    fn refuses_more_rules_than_are_followed_cheaply() {
        let rules = |count| Value::from(vec![json!({"remove": "$.a"}); count]);
        assert_eq!(told(rules(64)), [""; 0]);
        assert_eq!(told(rules(65)), ["response_body: has more than 64 rules"]);
    }
}
