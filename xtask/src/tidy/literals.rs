//! Words in libraries that belong into programs. In: the string literals of a library. Out: those that name an option or
//! a command of a program: an embedder has neither. Never here: arguments for other programs, which stand alone.

use super::sources::Literal;

/// Why a literal does not belong into a library, if so.
pub(super) fn fault(literal: &Literal) -> Option<String> {
    let text = &literal.text;
    // One word is an argument that the library passes on or compares with.
    if !text.contains(' ') {
        return None;
    }
    let option = text.match_indices("--").find_map(|(at, _)| {
        let begins = text[..at].chars().next_back().is_none_or(|before| !before.is_alphanumeric() && before != '-');
        let name: String = text[at + 2..].chars().take_while(|it| it.is_ascii_lowercase() || *it == '-').collect();
        let is_option = begins && name.len() > 1 && !name.starts_with('-');
        (is_option && !is_of_another_program(&text[..at])).then(|| format!("the option `--{name}`"))
    });
    let command = ["`isomer ", "`isomer-run "].into_iter().find(|command| text.contains(command));
    option.or(command.map(|command| format!("the command {}`", command.trim_end())))
}

/// Whether what stands before an option is the beginning of a command of some other program: "`wasm-opt ".
fn is_of_another_program(before: &str) -> bool {
    let in_backticks = before.matches('`').count() % 2 == 1;
    let command = before.rsplit('`').next().unwrap_or_default();
    in_backticks && command.starts_with(|it: char| it.is_ascii_lowercase()) && !command.starts_with("isomer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_commands_are_found_and_arguments_are_not() {
        let fault = |text: &str| fault(&Literal { line: 1, text: text.to_owned() });
        assert_eq!(fault("pass `--allow-unsigned` to run it").as_deref(), Some("the option `--allow-unsigned`"));
        assert_eq!(fault("see `isomer targets check`").as_deref(), Some("the command `isomer`"));
        for text in [
            "--job",
            "a -- b",
            "-----BEGIN PRIVATE KEY-----",
            "3 --- 4",
            "well--known words",
            "isomer is here",
            "run `wasm-opt --all` first",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }
}
