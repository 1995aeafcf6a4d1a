//! Arithmetic as in Liquid: with whole numbers where both are, with fractions
//! otherwise. What Liquid's own filters would panic on, wrap around or cut off
//! is refused here: a result that 64 bits do not hold, or that is not finite.

use liquid_core::model::{Value, ValueView};
use liquid_core::{Error, Result};

use super::liquid_filter::{Arguments, Compute, OwnFilter, invalid_argument, invalid_input};

pub(super) const FILTERS: [OwnFilter; 9] = [
    filter("plus", (1, 1), plus),
    filter("minus", (1, 1), minus),
    filter("times", (1, 1), times),
    filter("divided_by", (1, 1), divided_by),
    filter("modulo", (1, 1), modulo),
    filter("abs", (0, 0), abs),
    filter("ceil", (0, 0), ceil),
    filter("floor", (0, 0), floor),
    filter("round", (0, 1), round),
];

const NOT_A_NUMBER: &str = "Number expected";

/// 2^63: the first number above those that 64 bits hold.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

const fn filter(name: &'static str, arguments: (usize, usize), compute: Compute) -> OwnFilter {
    OwnFilter {
        name,
        arguments,
        compute,
    }
}

/// A text with digits is a number too.
struct Number {
    whole: Option<i64>,
    float: f64,
}

impl Number {
    fn of(value: &dyn ValueView) -> Option<Self> {
        let scalar = value.as_scalar()?;
        Some(Self {
            whole: scalar.to_integer(),
            float: scalar.to_float()?,
        })
    }

    fn input(value: &dyn ValueView) -> Result<Self> {
        Self::of(value).ok_or_else(|| invalid_input(NOT_A_NUMBER))
    }

    fn operand(arguments: &Arguments<'_>) -> Result<Self> {
        let operand = arguments.value(0).and_then(Self::of);
        operand.ok_or_else(|| invalid_argument("operand", NOT_A_NUMBER))
    }

    fn divisor(arguments: &Arguments<'_>) -> Result<Self> {
        let operand = Self::operand(arguments)?;
        if operand.float == 0.0 {
            return Err(invalid_argument("operand", "Can't divide by zero"));
        }
        Ok(operand)
    }

    fn with(
        &self,
        other: &Self,
        wholes: fn(i64, i64) -> Option<i64>,
        floats: fn(f64, f64) -> f64,
    ) -> Result<Value> {
        match self.whole.zip(other.whole) {
            Some((one, other)) => held(wholes(one, other)),
            None => finite(floats(self.float, other.float)),
        }
    }
}

fn plus(input: &dyn ValueView, arguments: &Arguments<'_>) -> Result<Value> {
    let operand = Number::operand(arguments)?;
    Number::input(input)?.with(&operand, i64::checked_add, |a, b| a + b)
}

fn minus(input: &dyn ValueView, arguments: &Arguments<'_>) -> Result<Value> {
    let operand = Number::operand(arguments)?;
    Number::input(input)?.with(&operand, i64::checked_sub, |a, b| a - b)
}

fn times(input: &dyn ValueView, arguments: &Arguments<'_>) -> Result<Value> {
    let operand = Number::operand(arguments)?;
    Number::input(input)?.with(&operand, i64::checked_mul, |a, b| a * b)
}

fn divided_by(input: &dyn ValueView, arguments: &Arguments<'_>) -> Result<Value> {
    let divisor = Number::divisor(arguments)?;
    Number::input(input)?.with(&divisor, i64::checked_div, |a, b| a / b)
}

fn modulo(input: &dyn ValueView, arguments: &Arguments<'_>) -> Result<Value> {
    let divisor = Number::divisor(arguments)?;
    Number::input(input)?.with(&divisor, i64::checked_rem, |a, b| a % b)
}

fn abs(input: &dyn ValueView, _: &Arguments<'_>) -> Result<Value> {
    let number = Number::input(input)?;
    match number.whole {
        Some(whole) => held(whole.checked_abs()),
        None => finite(number.float.abs()),
    }
}

fn ceil(input: &dyn ValueView, _: &Arguments<'_>) -> Result<Value> {
    made_whole(&Number::input(input)?, f64::ceil)
}

fn floor(input: &dyn ValueView, _: &Arguments<'_>) -> Result<Value> {
    made_whole(&Number::input(input)?, f64::floor)
}

fn round(input: &dyn ValueView, arguments: &Arguments<'_>) -> Result<Value> {
    let places = arguments.whole(0, "decimal_places")?.unwrap_or(0);
    let number = Number::input(input)?;
    if places <= 0 {
        return made_whole(&number, f64::round);
    }
    let places = i32::try_from(places).map_err(|_| too_large())?;
    let multiplier = 10_f64.powi(places);
    finite((number.float * multiplier).round() / multiplier)
}

/// A whole number stays as it is, where Liquid would lose its last digits.
fn made_whole(number: &Number, rounded: fn(f64) -> f64) -> Result<Value> {
    if let Some(whole) = number.whole {
        return Ok(Value::scalar(whole));
    }
    let float = rounded(number.float);
    held((-BEYOND..BEYOND).contains(&float).then_some(float as i64))
}

fn held(whole: Option<i64>) -> Result<Value> {
    whole.map(Value::scalar).ok_or_else(too_large)
}

fn finite(float: f64) -> Result<Value> {
    match float.is_finite() {
        true => Ok(Value::scalar(float)),
        false => Err(too_large()),
    }
}

fn too_large() -> Error {
    Error::with_msg("the number is too large")
}
