//! Why something failed, in the words for people.

use std::io;

pub fn of_io(error: &io::Error) -> String {
    without_number(&error.to_string())
}

/// Without the number that the standard library puts behind its reasons.
pub fn without_number(text: &str) -> String {
    let Some((before, number)) = text.split_once(" (os error ") else {
        return text.to_owned();
    };
    let after = number.split_once(')').map_or("", |(_, after)| after);
    format!("{before}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_error_is_not_told() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(of_io(&error), "No such file or directory");
        assert_eq!(of_io(&io::Error::other("its own words")), "its own words");
        assert_eq!(without_number("a (os error 13): b"), "a: b");
    }
}
