//! Request records as the gateway wrote them: one JSON document a line.

use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Record(pub Value);

impl Record {
    /// Fails the test where a line is not exactly one JSON object.
    pub fn parse_lines(text: &str) -> Vec<Self> {
        // A line still being written has no end yet.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete
            .lines()
            .map(|line| match serde_json::from_str(line) {
                Ok(value @ Value::Object(_)) => Self(value),
                other => panic!("not a record ({other:?}): {line:?}"),
            })
            .collect()
    }

    pub fn text(&self, field: &str) -> Option<&str> {
        self.0[field].as_str()
    }

    pub fn number(&self, field: &str) -> Option<f64> {
        self.0[field].as_f64()
    }

    pub fn flag(&self, field: &str) -> Option<bool> {
        self.0[field].as_bool()
    }
}
