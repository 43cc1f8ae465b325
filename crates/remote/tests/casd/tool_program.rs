//! What the tests have executed: compiled by the tests themselves, linked statically, so that it runs in a sandbox with
//! nothing else in it. Not a part of the test binary.

use std::time::{Duration, SystemTime};
use std::{env, fs, process, thread};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        // The input in upper case.
        ["upper", input, output] => fs::write(output, fs::read_to_string(input).unwrap().to_uppercase()).unwrap(),
        // The time: different bytes at each execution.
        ["time", output] => fs::write(output, format!("{:?}", SystemTime::now())).unwrap(),
        // A failure that says when it happened.
        ["fail", code] => {
            eprintln!("broken at {:?}", SystemTime::now());
            process::exit(code.parse().unwrap());
        }
        // A failure that is not in the exit code.
        ["forget"] => eprintln!("nothing was written"),
        ["sleep", milliseconds, output] => {
            thread::sleep(Duration::from_millis(milliseconds.parse().unwrap()));
            fs::write(output, "awake").unwrap();
        }
        ["environment", output] => {
            let variables: Vec<_> = env::vars().map(|(name, value)| format!("{name}={value}")).collect();
            fs::write(output, variables.join("\n")).unwrap();
        }
        // As many bytes as requested.
        ["zeros", size, output] => fs::write(output, vec![0; size.parse().unwrap()]).unwrap(),
        _ => panic!("{words:?}"),
    }
}
