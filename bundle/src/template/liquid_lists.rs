//! `slice` and `sort` as in Liquid, for every value: Liquid's own `slice`
//! overflows on large arguments, and its `sort` has no order for a list of
//! numbers and texts, which makes the standard library panic.

use std::cmp::Ordering;

use liquid_core::Result;
use liquid_core::model::{KString, Value, ValueView};

use super::liquid_filter::{Arguments, OwnFilter, invalid_argument, invalid_input};

pub(super) const FILTERS: [OwnFilter; 2] = [
    OwnFilter {
        name: "slice",
        arguments: (1, 2),
        compute: slice,
    },
    OwnFilter {
        name: "sort",
        arguments: (0, 1),
        compute: sort,
    },
];

/// Characters of a text, or items of a list.
fn slice(input: &dyn ValueView, arguments: &Arguments<'_>) -> Result<Value> {
    let offset = arguments.whole(0, "offset")?.unwrap_or(0);
    let length = usize::try_from(arguments.whole(1, "length")?.unwrap_or(1)).unwrap_or(0);
    if length == 0 {
        return Err(invalid_argument("length", "Positive number expected"));
    }
    if let Some(list) = input.as_array() {
        let start = start(offset, list.values().count());
        let taken = list.values().skip(start).take(length);
        return Ok(Value::array(taken.map(|item| item.to_value())));
    }
    let text = input.to_kstr();
    let start = start(offset, text.chars().count());
    let taken: String = text.chars().skip(start).take(length).collect();
    Ok(Value::scalar(taken))
}

/// A negative offset counts from the end; one before the beginning takes
/// nothing.
fn start(offset: i64, count: usize) -> usize {
    let distance = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
    match offset {
        0.. => distance,
        _ => count.checked_sub(distance).unwrap_or(usize::MAX),
    }
}

/// Templates have no objects, so there is no property to sort by.
fn sort(input: &dyn ValueView, arguments: &Arguments<'_>) -> Result<Value> {
    let mut items = items(input);
    if arguments.value(0).is_some() && !items.is_empty() {
        return Err(invalid_input("Array of objects expected"));
    }
    items.sort_by(|(one, _), (other, _)| one.compare(other));
    Ok(Value::array(items.into_iter().map(|(_, item)| item)))
}

fn items(input: &dyn ValueView) -> Vec<(Place, Value)> {
    let placed = |item: &dyn ValueView| (Place::of(item), item.to_value());
    match input.as_array() {
        Some(list) => list.values().map(placed).collect(),
        None if input.is_nil() => Vec::new(),
        None => vec![placed(input)],
    }
}

/// Where an item stands among others: numbers first, then everything that has
/// a text, at last what has no value.
struct Place {
    kind: Kind,
    float: f64,
    whole: Option<i64>,
    text: KString,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Number,
    Text,
    Nil,
}

impl Place {
    /// A text stays one, also if it has nothing but digits.
    fn of(item: &dyn ValueView) -> Self {
        let number = item
            .as_scalar()
            .filter(|_| NUMBERS.contains(&item.type_name()));
        let float = number.as_ref().and_then(|number| number.to_float());
        Self {
            kind: match float {
                Some(_) => Kind::Number,
                None if item.is_nil() => Kind::Nil,
                None => Kind::Text,
            },
            float: float.unwrap_or_default(),
            whole: number.and_then(|number| number.to_integer()),
            text: match float {
                Some(_) => KString::new(),
                None => item.to_kstr().into_owned(),
            },
        }
    }

    /// Two large whole numbers may be the same as fractions.
    fn compare(&self, other: &Self) -> Ordering {
        self.kind
            .cmp(&other.kind)
            .then(self.float.total_cmp(&other.float))
            .then(self.whole.cmp(&other.whole))
            .then_with(|| self.text.cmp(&other.text))
    }
}

/// The names of Liquid's types of numbers.
const NUMBERS: [&str; 2] = ["whole number", "fractional number"];
