//! What Liquid's parser and filters do not stand is refused before they see
//! it: numbers and date formats that make them panic or fill the memory, and
//! blocks and indexes within each other that exhaust the stack.

use super::TemplateError;
use super::liquid_syntax::quoted;

/// Blocks or indexes within each other.
pub(super) const MAX_NESTING: usize = 64;

/// `assign` and `capture` in one template. Each may keep as much as a value may
/// have.
pub(super) const MAX_LOCALS: usize = 64;

/// Characters of a number that an error shows.
const SHOWN_DIGITS: usize = 32;

/// The blocks that are open, each with the levels it takes.
#[derive(Default)]
pub(super) struct Blocks {
    open: Vec<usize>,
}

impl Blocks {
    /// An `elsif` counts as a block inside its `if`, as it is parsed.
    pub(super) fn take(&mut self, tag: &str) -> Result<(), TemplateError> {
        match tag {
            "if" | "unless" | "case" | "capture" => self.open.push(1),
            "elsif" => {
                if let Some(levels) = self.open.last_mut() {
                    *levels += 1;
                }
            }
            "endif" | "endunless" | "endcase" | "endcapture" => {
                self.open.pop();
            }
            _ => {}
        }
        check_nesting(self.open.iter().sum())
    }
}

/// Brackets within each other: `a[b[c]]`.
#[derive(Default)]
pub(super) struct Indexes {
    open: usize,
}

impl Indexes {
    pub(super) fn take(&mut self, character: char) -> Result<(), TemplateError> {
        match character {
            '[' => self.open += 1,
            ']' => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        check_nesting(self.open)
    }
}

fn check_nesting(levels: usize) -> Result<(), TemplateError> {
    match levels {
        0..=MAX_NESTING => Ok(()),
        _ => Err(TemplateError::TooDeep),
    }
}

/// Digits and dots: whole numbers must fit 64 bits, others be finite.
pub(super) fn check_number(text: &str, negative: bool) -> Result<(), TemplateError> {
    let held = match text.split_once('.') {
        Some((whole, fraction)) if is_digits(whole) && is_digits(fraction) => {
            text.parse().is_ok_and(f64::is_finite)
        }
        _ => are_whole(text, negative),
    };
    if held {
        return Ok(());
    }
    let sign = if negative { "-" } else { "" };
    let digits: String = text.chars().take(SHOWN_DIGITS).collect();
    let cut = if digits.len() < text.len() { "..." } else { "" };
    Err(TemplateError::Number(format!("{sign}{digits}{cut}")))
}

/// A sign belongs to the first of the numbers that dots divide.
fn are_whole(text: &str, negative: bool) -> bool {
    text.split('.').enumerate().all(|(position, digits)| {
        let sign = if negative && position == 0 { "-" } else { "" };
        digits.is_empty() || format!("{sign}{digits}").parse::<i64>().is_ok()
    })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What follows the name of the filter `date`: a format in quotes, so that it
/// can be judged here.
pub(super) fn check_date_format(after: &str) -> Result<(), TemplateError> {
    let argument = after
        .trim_start()
        .strip_prefix(':')
        .map(str::trim_start)
        .filter(|argument| argument.starts_with(['\'', '"']));
    let format = argument.and_then(|argument| {
        let length = quoted(argument);
        argument.get(1..length.checked_sub(1)?)
    });
    match format {
        Some(format) if is_sound(format) => Ok(()),
        Some(_) | None => Err(TemplateError::DateFormat),
    }
}

/// Conversions as strftime has them, with ASCII letters and short widths.
fn is_sound(format: &str) -> bool {
    let mut rest = format;
    while let Some((_, conversion)) = rest.split_once('%') {
        let conversion = conversion.trim_start_matches(['-', '_', '0', '^', '#']);
        let letter = conversion.trim_start_matches(|c: char| c.is_ascii_digit());
        if conversion.len() - letter.len() > 2 {
            return false;
        }
        let letter = letter.strip_prefix(['E', 'O']).unwrap_or(letter);
        let colon = |text| str::strip_prefix(text, ':').unwrap_or(text);
        let letter = colon(colon(letter));
        match letter.strip_prefix(|c: char| c.is_ascii_alphabetic() || c == '%') {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}

/// Whether the filter `date` takes a text for the time of its rendering.
pub(super) fn is_clock(quoted: &str) -> bool {
    let text = quoted.trim_matches(['\'', '"']).trim();
    text.eq_ignore_ascii_case("now") || text.eq_ignore_ascii_case("today")
}
