//! `isomer-loader SCRIPT`: in a file with a script, or `-` for standard input; out, on standard output, one line of
//! JSON a step.

use std::error::Error;
use std::io::Read;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: isomer-loader SCRIPT")?;
    let mut text = String::new();
    if path == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(path)?;
    }
    let script = serde_json::from_str(&text)?;
    for outcome in isomer_loader::run(&script)? {
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(())
}
