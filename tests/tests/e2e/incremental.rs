//! Modules that are compiled after an edit: what was not edited is taken over, and no byte comes out otherwise.

use isomer_tests::farm::{FOUR, Farm};
use isomer_tests::guests::guests;
use isomer_tests::{Ran, contents, guest};
use std::fs;

/// A module of many functions, the middle one of which has `number` in it.
fn module(number: usize) -> Vec<u8> {
    let function = |index: usize| {
        let number = if index == 100 { number } else { index };
        format!("(func (export \"f{index}\") (param i32) (result i32) local.get 0 i32.const {number} i32.mul)\n")
    };
    wat::parse_str(format!("(module {})", (0..200).map(function).collect::<String>())).unwrap()
}

/// How many functions there were, and how many of them had been compiled before.
fn functions(ran: &Ran) -> (usize, usize) {
    let stderr = ran.stderr();
    let line = stderr.lines().find(|line| line.ends_with(" functions were compiled before"));
    let words: Vec<_> = line.unwrap_or_else(|| panic!("{ran}")).split(' ').collect();
    (words[2].parse().unwrap(), words[0].parse().unwrap())
}

#[test]
fn an_edited_module_costs_what_was_edited() {
    let farm = Farm::with_modules();
    farm.manifest(FOUR, &["edited"]);
    let release = |output: &str| {
        let ran = farm.isomer(&format!("release --incremental -o {output}")).ok();
        farm.isomer("release --no-cache -o clean").ok();
        assert_eq!(contents(&farm.path().join(output)), contents(&farm.path().join("clean")));
        ran
    };
    farm.put("edited.wasm", module(100));
    let (all, found) = functions(&release("first"));
    assert!(all > 600 && found == 0, "{found} of {all}");

    farm.put("edited.wasm", module(7777));
    let ran = release("second");
    let (all, found) = functions(&ran);
    assert!(found < all && found * 10 > all * 9, "{found} of {all}");
    assert_eq!(ran.stderr().lines().count(), 1 + ran.stderr().matches("compiling ").count(), "{ran}");

    // Damaged functions are reported and compiled again.
    for path in farm.cached("functions") {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path, bytes).unwrap();
    }
    farm.put("edited.wasm", module(8888));
    let ran = release("third");
    assert_eq!(functions(&ran).1, 0, "{ran}");
    assert!(ran.stderr().contains("is damaged: its seal does not match\n  its functions are compiled again"), "{ran}");
    farm.put("edited.wasm", module(9999));
    let (all, found) = functions(&release("fourth"));
    assert!(found * 10 > all * 9, "{found} of {all}");

    // They are part of what the cache holds.
    farm.isomer("cache gc --max-size 0").ok();
    assert_eq!(farm.cached("functions"), Vec::<std::path::PathBuf>::new());
}

/// Every guest for every target, out of its functions alone.
#[test]
fn no_byte_depends_on_what_was_taken_over() {
    let farm = Farm::with_modules();
    let names: Vec<_> = guests().into_iter().map(|guest| guest.name).collect();
    for name in &names {
        farm.put(&format!("{name}.wasm"), fs::read(guest(name)).unwrap());
    }
    farm.manifest("['all']", &names.iter().map(String::as_str).collect::<Vec<_>>());
    farm.isomer("release --incremental -o first").ok();
    for path in farm.cached("actions") {
        fs::remove_file(path).unwrap();
    }
    let (all, found) = functions(&farm.isomer("release --incremental -o second").ok());
    assert!(found * 10 > all * 8, "{found} of {all}");
    farm.isomer("release --no-cache -o clean").ok();
    for output in ["first", "second"] {
        assert_eq!(contents(&farm.path().join(output)), contents(&farm.path().join("clean")), "{output}");
    }
}

#[test]
fn without_a_cache_there_is_nothing_to_take_over() {
    let farm = Farm::with_modules();
    farm.manifest(FOUR, &["numbers"]);
    for other in ["--no-cache", "--remote-exec grpc://127.0.0.1:1"] {
        let ran = farm.isomer("release --incremental").line(other).run();
        assert_eq!(ran.code(), 2, "{ran}");
        assert!(ran.stderr().contains("cannot be used with"), "{ran}");
    }
}
