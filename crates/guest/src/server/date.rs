//! The `Date` of responses. In: the wall clock, for each response. Out: the header, where a guest gave none. Never here: a
//! limit or a measured time. hyper adds the header, too, but keeps its value until the clock is later than it was before: after
//! an hour back, it would be an hour ahead for an hour.

use http::header::DATE;
use http::{HeaderValue, Response};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use std::cell::RefCell;

thread_local! {
    /// The value for a second, in seconds since 1970: most responses of a thread come within the same one.
    static LAST: RefCell<Option<(i64, HeaderValue)>> = const { RefCell::new(None) };
}

/// Adds the time of day, in the form of RFC 9110, section 5.6.7.
pub(super) fn add<B>(response: &mut Response<B>) {
    if !response.headers().contains_key(DATE)
        && let Some(value) = value_at(Timestamp::now())
    {
        response.headers_mut().insert(DATE, value);
    }
}

/// None for a year that has no such form.
fn value_at(now: Timestamp) -> Option<HeaderValue> {
    LAST.with_borrow_mut(|last| {
        let second = now.as_second();
        if last.as_ref().is_none_or(|(of, _)| *of != second) {
            let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok()?;
            *last = Some((second, HeaderValue::try_from(text).ok()?));
        }
        last.as_ref().map(|(_, value)| value.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_follows_the_clock_in_both_directions() {
        let value =
            |second: i64| value_at(Timestamp::from_second(second).expect("it is a time")).expect("it has a form");
        assert_eq!(value(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(value(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(value(784_108_177), "Sun, 06 Nov 1994 07:49:37 GMT");
    }

    #[test]
    fn the_value_of_a_guest_stays() {
        let mut response = Response::new(());
        response.headers_mut().insert(DATE, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
        add(&mut response);
        assert_eq!(response.headers()[DATE], "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
