//! What the programs tell of themselves: the help of every command, and completions for a shell. In: both programs. Out: their
//! texts, read as a person or bash reads them. Never here: what a command does.

use isomer_tests::{Call, binaries, isomer, isomer_run, program};

/// The help of a program's command, and of all commands below it, each with its command line.
fn help_of(program: fn() -> Call, command: &str) -> Vec<(String, String)> {
    let text = program().line(command).arg("--help").ok().stdout();
    let listed = text.split_once("\nCommands:\n").and_then(|(_, rest)| rest.split("\n\n").next()).unwrap_or_default();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    // Another program's help is that of `isomer run`.
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| !["help", "run"].contains(name));
    let below: Vec<_> = names.flat_map(|name| help_of(program, format!("{command} {name}").trim())).collect();
    std::iter::once((command.to_owned(), text)).chain(below).collect()
}

#[test]
fn help_lists_options_under_their_headings_and_breaks_no_example() {
    let run = isomer_run().line("run --help").ok().stdout();
    let all = [help_of(isomer, ""), help_of(isomer_run, ""), vec![("run".to_owned(), run)]].concat();
    assert!(all.len() > 25, "{} commands", all.len());
    for (command, text) in &all {
        let examples = text.split("\nExamples:\n").skip(1).flat_map(|rest| rest.split("\n\n").next());
        for line in examples.flat_map(str::lines) {
            assert!(line.starts_with("  isomer"), "`{command}`: the terminal breaks an example before {line:?}");
        }
        // The heading of each option, in their order.
        let mut heading = "";
        let mut headings = Vec::new();
        for line in text.lines() {
            let option = line.trim_start().split([' ', '=']).find(|word| word.starts_with("--"));
            match option {
                _ if line.ends_with(':') && !line.starts_with(' ') => heading = line.trim_end_matches(':'),
                Some(option) if line.trim_start().starts_with('-') => headings.push((option, heading)),
                _ => {}
            }
        }
        let heading = |option: &str| headings.iter().find(|(found, _)| *found == option).map(|(_, heading)| *heading);
        for (option, expected) in [("--store", "Options"), ("--allow-unsigned", "Trust"), ("--max-memory", "Limits")] {
            assert!(heading(option).is_none_or(|found| found == expected), "`{command}`: {headings:?}");
        }
        if let Some(common) = headings.iter().position(|(option, _)| *option == "--verbose...") {
            let own = headings.iter().skip(common).filter(|(_, heading)| *heading == "Options");
            let own: Vec<_> = own.map(|(option, _)| *option).collect();
            assert!(own.starts_with(&["--verbose...", "--quiet", "--help"]), "`{command}`: {own:?}");
        }
    }
}

#[test]
fn bash_completes_commands_and_their_options() {
    for (name, typed, expected) in [
        ("isomer", "relea", "release"),
        ("isomer", "release --check-", "--check-reproducible"),
        ("isomer", "targets ove", "overlays"),
        ("isomer-run", "rollb", "rollback"),
        ("isomer-run", "serve --wat", "--watch"),
        ("isomer-run", "list --che", "--check"),
        ("isomer-run", "pull --activ", "--activate"),
    ] {
        let words: Vec<_> = std::iter::once(name).chain(typed.split(' ')).collect();
        let [.., before, last] = words[..] else { unreachable!("there are two words") };
        let script = format!(
            "source <({}/{name} completions bash)\nCOMP_WORDS=({}) COMP_CWORD={}\n_{} {name} {last} {before}\n\
             echo \"${{COMPREPLY[@]}}\"\n",
            binaries().display(),
            words.join(" "),
            words.len() - 1,
            name.replace('-', "__"),
        );
        let completed = program("bash").arg("-c").arg(&script).ok();
        assert_eq!(completed.stdout().trim(), expected, "{name} {typed}: {completed}");
    }
}
