//! Liquid templates over the values of a bundle and a request. The scope that
//! a template sees takes note of what it reads: one that reads nothing of the
//! request is rendered once per bundle, and one that reads a secret without a
//! value fails, even where Liquid itself would take it for nothing.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use knoxcall_bundle::UnixSeconds;
use knoxcall_bundle::template::{BoundedText, LiquidTemplate};
use liquid_core::model::{DisplayCow, KStringCow, Object, ObjectView, State, Value, ValueView};
use uuid::fmt::Hyphenated;
use zeroize::Zeroizing;

use super::text::Text;
use super::values::{Dynamic, RequestValues, Resolved, Values};
use crate::refusal::Refusal;

pub(crate) struct LiquidText {
    template: Arc<LiquidTemplate>,
    /// What no request changes; secrets among it.
    known: Object,
    missing: Box<[String]>,
    of_request: Box<[(String, Dynamic)]>,
}

impl LiquidText {
    pub(crate) fn compile(template: &Arc<LiquidTemplate>, values: &Values<'_>) -> Text {
        let liquid = Self::bind(template, values);
        let request = RequestValues {
            client: None,
            now: UnixSeconds(0),
            request_id: "",
        };
        let scope = liquid.scope(&request);
        let rendered = liquid.render_in(&scope);
        if scope.read_request.get() {
            return Text::Liquid(Box::new(liquid));
        }
        match rendered {
            Ok(text) => Text::Fixed(Zeroizing::new(text)),
            Err(Refusal::SecretUnavailable) => Text::Unavailable,
            Err(_) => Text::Failing,
        }
    }

    pub(crate) fn render(&self, request: &RequestValues<'_>) -> Result<String, Refusal> {
        self.render_in(&self.scope(request))
    }

    fn bind(template: &Arc<LiquidTemplate>, values: &Values<'_>) -> Self {
        let mut known = Object::new();
        let mut missing = Vec::new();
        let mut of_request = Vec::new();
        for (name, segment) in &template.bindings {
            match values.resolve(segment) {
                Resolved::Known(text) => {
                    known.insert(name.clone().into(), Value::scalar(text.into_owned()));
                }
                Resolved::OfRequest(which) => of_request.push((name.clone(), which)),
                Resolved::Missing => missing.push(name.clone()),
            }
        }
        Self {
            template: template.clone(),
            known,
            missing: missing.into(),
            of_request: of_request.into(),
        }
    }

    fn scope<'a>(&'a self, request: &RequestValues<'_>) -> Scope<'a> {
        let bound = self.of_request.iter();
        Scope {
            known: &self.known,
            missing: &self.missing,
            of_request: bound
                .map(|(name, which)| (name.as_str(), value(*which, request)))
                .collect(),
            read_request: Cell::new(false),
            read_missing: Cell::new(false),
        }
    }

    /// Some of Liquid's filters panic on odd values. Those known are our own
    /// (`liquid_math.rs` in `bundle`); another would be this template's failure,
    /// not the reload's that compiles it nor the connection's that needs it.
    /// Nothing of the rendering is used afterwards but the flags of its scope.
    fn render_in(&self, scope: &Scope<'_>) -> Result<String, Refusal> {
        let rendered = catch_unwind(AssertUnwindSafe(|| {
            let mut out = BoundedText::default();
            let rendered = self.template.template.render_to(&mut out, scope);
            rendered.ok().and_then(|()| out.into_text())
        }));
        if scope.read_missing.get() {
            return Err(Refusal::SecretUnavailable);
        }
        rendered.ok().flatten().ok_or(Refusal::Internal)
    }
}

fn value(which: Dynamic, request: &RequestValues<'_>) -> Value {
    match which {
        Dynamic::Timestamp => Value::scalar(i64::try_from(request.now.0).unwrap_or(i64::MAX)),
        Dynamic::ClientId => {
            Value::scalar(request.client_id(&mut [0; Hyphenated::LENGTH]).to_owned())
        }
        Dynamic::ClientName => Value::scalar(request.client_name().to_owned()),
        Dynamic::RequestId => Value::scalar(request.request_id.to_owned()),
    }
}

/// The variables of one rendering, under their generated names.
struct Scope<'a> {
    known: &'a Object,
    missing: &'a [String],
    of_request: Vec<(&'a str, Value)>,
    read_request: Cell<bool>,
    read_missing: Cell<bool>,
}

static NIL: Value = Value::Nil;

impl Scope<'_> {
    fn is_missing(&self, name: &str) -> bool {
        self.missing.iter().any(|missing| missing == name)
    }

    fn dynamic(&self, name: &str) -> Option<&Value> {
        let mut all = self.of_request.iter();
        all.find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// For Liquid's error messages alone, which nobody reads.
    fn names(&self) -> impl Iterator<Item = &str> {
        let dynamic = self.of_request.iter().map(|(name, _)| *name);
        self.known.keys().map(|name| name.as_str()).chain(dynamic)
    }
}

impl ObjectView for Scope<'_> {
    fn as_value(&self) -> &dyn ValueView {
        self
    }

    fn size(&self) -> i64 {
        i64::try_from(self.names().count()).unwrap_or(i64::MAX)
    }

    fn keys<'k>(&'k self) -> Box<dyn Iterator<Item = KStringCow<'k>> + 'k> {
        Box::new(self.names().map(KStringCow::from_ref))
    }

    fn values<'k>(&'k self) -> Box<dyn Iterator<Item = &'k dyn ValueView> + 'k> {
        Box::new(self.iter().map(|(_, value)| value))
    }

    fn iter<'k>(&'k self) -> Box<dyn Iterator<Item = (KStringCow<'k>, &'k dyn ValueView)> + 'k> {
        let pair = |name| Some((KStringCow::from_ref(name), self.get(name)?));
        Box::new(self.names().filter_map(pair))
    }

    fn contains_key(&self, index: &str) -> bool {
        self.known.contains_key(index) || self.dynamic(index).is_some() || self.is_missing(index)
    }

    fn get<'s>(&'s self, index: &str) -> Option<&'s dyn ValueView> {
        if let Some(known) = self.known.get(index) {
            return Some(known);
        }
        if let Some(dynamic) = self.dynamic(index) {
            self.read_request.set(true);
            return Some(dynamic);
        }
        self.is_missing(index).then(|| {
            self.read_missing.set(true);
            &NIL as &dyn ValueView
        })
    }
}

impl ValueView for Scope<'_> {
    fn as_debug(&self) -> &dyn fmt::Debug {
        self
    }

    fn render(&self) -> DisplayCow<'_> {
        NIL.render()
    }

    fn source(&self) -> DisplayCow<'_> {
        NIL.source()
    }

    fn type_name(&self) -> &'static str {
        "object"
    }

    fn query_state(&self, state: State) -> bool {
        NIL.query_state(state)
    }

    fn to_kstr(&self) -> KStringCow<'_> {
        NIL.to_kstr()
    }

    fn to_value(&self) -> Value {
        Value::Nil
    }

    fn as_object(&self) -> Option<&dyn ObjectView> {
        Some(self)
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope([redacted])")
    }
}
