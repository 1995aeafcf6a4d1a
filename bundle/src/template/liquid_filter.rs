//! A filter of our own: a name, how many arguments it takes, and a function
//! that answers or fails, and never panics. Ours stand in the place of those
//! of Liquid's that cannot be trusted with every value.

use std::fmt;

use liquid_core::model::{KString, Value, ValueCow, ValueView};
use liquid_core::parser::{FilterArguments, ParameterReflection};
use liquid_core::{Error, Expression, Filter, FilterReflection, ParseFilter, Result, Runtime};

#[derive(Clone, Copy, Debug)]
pub(super) struct OwnFilter {
    pub(super) name: &'static str,
    /// How many arguments it takes at least, and at most.
    pub(super) arguments: (usize, usize),
    pub(super) compute: Compute,
}

pub(super) type Compute = fn(&dyn ValueView, &Arguments<'_>) -> Result<Value>;

/// What a filter is given beside its input.
pub(super) struct Arguments<'a>(Vec<ValueCow<'a>>);

impl Arguments<'_> {
    pub(super) fn value(&self, position: usize) -> Option<&dyn ValueView> {
        self.0.get(position).map(ValueCow::as_view)
    }

    pub(super) fn text(&self, position: usize) -> Option<KString> {
        Some(self.value(position)?.to_kstr().into_owned())
    }

    pub(super) fn whole(&self, position: usize, name: &'static str) -> Result<Option<i64>> {
        let Some(value) = self.value(position) else {
            return Ok(None);
        };
        value
            .as_scalar()
            .and_then(|scalar| scalar.to_integer())
            .map(Some)
            .ok_or_else(|| invalid_argument(name, "Whole number expected"))
    }
}

pub(super) fn invalid_input(cause: &'static str) -> Error {
    Error::with_msg("Invalid input").context("cause", cause)
}

pub(super) fn invalid_argument(name: &'static str, cause: &'static str) -> Error {
    Error::with_msg("Invalid argument")
        .context("argument", name)
        .context("cause", cause)
}

impl ParseFilter for OwnFilter {
    fn parse(&self, given: FilterArguments<'_>) -> Result<Box<dyn Filter>> {
        let arguments: Box<[_]> = given.positional.collect();
        let (least, most) = self.arguments;
        if !(least..=most).contains(&arguments.len()) || given.keyword.count() > 0 {
            return Err(Error::with_msg("unexpected arguments"));
        }
        Ok(Box::new(Applied {
            filter: *self,
            arguments,
        }))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self
    }
}

impl FilterReflection for OwnFilter {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &str {
        ""
    }

    fn positional_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }

    fn keyword_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }
}

/// A filter where a template uses it.
#[derive(Debug)]
struct Applied {
    filter: OwnFilter,
    arguments: Box<[Expression]>,
}

impl Filter for Applied {
    fn evaluate(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Value> {
        let arguments = self.arguments.iter();
        let values: Result<_> = arguments.map(|a| a.evaluate(runtime)).collect();
        (self.filter.compute)(input, &Arguments(values?))
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.filter.name)
    }
}
