//! Text that others wrote, made harmless to a terminal. In: a name, a description, a message. Out: the same text, in
//! which every character that a terminal obeys or hides is spelled out, as `\u{1b}`. Never here: a style.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` for one line: line breaks and tabs become spaces, and every character that a terminal would obey or hide is
/// spelled out as Rust spells it, `\u{1b}`.
///
/// Two texts that differ in what is hidden look different afterwards, unless only line breaks, tabs and spaces differ. What was escaped
/// before is not changed again.
///
/// ```
/// assert_eq!(isomer_terminal::escaped("sort\x1b[2J\u{202e}"), "sort\\u{1b}[2J\\u{202e}");
/// ```
pub fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, |c| match c {
        '\n' | '\t' => Some(' '),
        _ => None,
    })
}

/// `text` for several lines: the same, but line breaks and tabs stay.
pub(crate) fn escaped_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t').then_some(c))
}

/// `text` with control and invisible characters escaped, except for those that `replace` maps to another.
fn escape(text: &str, replace: impl Fn(char) -> Option<char>) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed_or_hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match replace(c) {
            Some(allowed) => escaped.push(allowed),
            None if is_obeyed_or_hidden(c) => escaped.extend(c.escape_unicode()),
            None => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// JSON whose strings hold no such character: what `serde_json` leaves as it is (DEL, C1 controls, bidirectional
/// controls) is written as `\u202e`, which means the same to every reader of JSON.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(|c| c != '\n' && is_obeyed_or_hidden(c)) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        // `serde_json` has escaped the other controls, and only its own line breaks are left.
        if c != '\n' && is_obeyed_or_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("writing to memory succeeds");
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a terminal does something else with the character than to show it where it is: control characters (C0, DEL
/// and C1, which begin escape sequences), Unicode's bidirectional controls ([UAX #9]) and line separators, which change
/// the order of what is around them, and characters that are never shown: Unicode's `Default_Ignorable_Code_Point`, which
/// can hide a text in another one, and the blank U+2800. The joiners U+200C and U+200D are part of words in some scripts
/// and stay. Letters of different scripts that look alike are not distinguished.
///
/// [UAX #9]: https://www.unicode.org/reports/tr9/
fn is_obeyed_or_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelled_out() {
        for (text, shown) in [
            ("plain, naïve, 名前", "plain, naïve, 名前"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("over\rwritten", "over\\u{d}written"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("a\u{2028}b\u{feff}\u{200b}", "a\\u{2028}b\\u{feff}\\u{200b}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
            ("s\u{e0173}o\u{ad}r\u{34f}t\u{fe0f}", "s\\u{e0173}o\\u{ad}r\\u{34f}t\\u{fe0f}"),
            ("\u{3164}\u{2800}\u{180e}", "\\u{3164}\\u{2800}\\u{180e}"),
            ("two\nlines\tand a tab", "two lines and a tab"),
            ("क्\u{200d}ष", "क्\u{200d}ष"),
        ] {
            assert_eq!(escaped(text), shown);
            assert_eq!(escaped(&escaped(text)), shown, "once is enough");
        }
        assert_eq!(escaped_lines("two\nlines\t\x1b"), "two\nlines\t\\u{1b}");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"name": "\x1b[2J\u{9b}\u{7f}\u{202e}\u{e0041}\nend"});
        let shown = escaped_json(&serde_json::to_string_pretty(&value).expect("a value")).into_owned();
        assert!(shown.chars().all(|c| c == '\n' || !is_obeyed_or_hidden(c)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("it is JSON"), value);
    }
}
