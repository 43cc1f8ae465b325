//! In: what a module is made of and two profiles. Out: whether both would get the same code, predicted before any is
//! generated, so that only the weaker one is compiled and serves both.
//!
//! The rows in `predict/measured.toml` say which operators each extension of an architecture can affect, as a sweep
//! over all operators found. A module without them gets the same code with and without the extension. The
//! prediction is never trusted with more than speed: what ships is code for the weaker profile, which is right on every
//! server of the stronger one. Nothing here generates code, and nothing but the arguments enters an answer.

mod ingredients;
#[cfg(test)]
mod measured;
mod operators;
mod table;

pub use operators::Operators;

use crate::passes;
use ingredients::{Ingredients, UNKNOWN};
use isomer_contract::{Arch, Profile, settings};
use std::fmt;

/// Whether two profiles get the same code for a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// They do: what is compiled for the weaker one serves both.
    Same,
    /// They may not: each is compiled.
    Differs(Difference),
}

/// Why two profiles are not predicted to get the same code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// They differ in more than extensions.
    Settings,
    /// Their modules go through different passes first.
    Passes,
    /// The one that should be weaker has this extension and the other lacks it.
    NotWeaker(&'static str),
    /// The effects of this extension were never measured.
    Unmeasured(&'static str),
    /// Real modules were found for which this extension does more than was measured.
    Unpredicted {
        /// The extension.
        extension: &'static str,
        /// What was found.
        reason: &'static str,
    },
    /// The module has an operator that was never measured, or bytes that do not parse.
    UnknownOperator,
    /// The extension can affect what the module has.
    Affects {
        /// The extension.
        extension: &'static str,
        /// wasmparser's name of the operator, or of those that it affects together: `I32Popcnt`, `I32And + I32Xor`.
        operators: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Settings => f.write_str("they differ in more than extensions"),
            Difference::Passes => f.write_str("the module goes through other passes first"),
            Difference::NotWeaker(extension) => write!(f, "only the one has {extension}"),
            Difference::Unmeasured(extension) => write!(f, "the effects of {extension} were never measured"),
            Difference::Unpredicted { extension, reason } => write!(f, "{extension} cannot be predicted: {reason}"),
            Difference::UnknownOperator => f.write_str("the module has an operator that was never measured"),
            Difference::Affects { extension, operators } => write!(f, "{extension} can affect {operators}"),
        }
    }
}

/// Whether code for `weaker` is, byte for byte, what `stronger` would get. Both must be able to express the module.
pub fn same_code(operators: &Operators, weaker: &Profile, stronger: &Profile) -> Prediction {
    difference(operators, weaker, stronger).map_or(Prediction::Same, Prediction::Differs)
}

fn difference(operators: &Operators, weaker: &Profile, stronger: &Profile) -> Option<Difference> {
    let but_extensions = |of: &Profile| (of.triple.clone(), of.settings.clone(), of.features);
    if but_extensions(weaker) != but_extensions(stronger) {
        return Some(Difference::Settings);
    }
    if let Some(extension) = weaker.isa.keys().find(|name| !stronger.isa.contains_key(*name)) {
        return Some(Difference::NotWeaker(extension));
    }
    let mut added = stronger.isa.keys().filter(|name| !weaker.isa.contains_key(*name)).peekable();
    added.peek()?;
    if passes::passes(weaker) != passes::passes(stronger) {
        return Some(Difference::Passes);
    }
    if operators.whole.contains(UNKNOWN) {
        return Some(Difference::UnknownOperator);
    }
    // Where functions are put into each other, any of a module's operators may meet in one.
    let together = weaker.settings.inlining != settings::Inlining::No;
    added.find_map(|extension| effect(operators, together, weaker.arch, extension))
}

/// What an extension can do to the module.
fn effect(operators: &Operators, together: bool, arch: Arch, extension: &'static str) -> Option<Difference> {
    let Some(row) = table::row(arch, extension) else {
        return Some(Difference::Unmeasured(extension));
    };
    if let Some(reason) = &row.unpredicted {
        return Some(Difference::Unpredicted { extension, reason });
    }
    let meet = |affected: &&Ingredients| {
        let in_one = || operators.functions.iter().any(|function| function.includes(affected));
        operators.whole.includes(affected) && (together || in_one())
    };
    let affected = row.affects.iter().find(meet)?;
    Some(Difference::Affects { extension, operators: affected.to_string() })
}

/// For each profile the index of the one to compile instead, which may be itself: the weakest of those that get the same
/// code. All of them must be able to express the module.
pub fn representatives(operators: &Operators, profiles: &[&Profile]) -> Vec<usize> {
    let representative = |of: &&Profile| {
        let same = |other: &Profile| same_code(operators, other, of) == Prediction::Same;
        let candidates = profiles.iter().enumerate().filter(|(_, other)| same(other));
        // A representative represents itself: a weaker one would be a candidate here too.
        let weakest = candidates.min_by_key(|(index, other)| (other.isa.len(), &other.name, *index));
        weakest.expect("a profile can represent itself").0
    };
    profiles.iter().map(representative).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::isa;
    use isomer_contract::profile::{ProfileText, find_shipped, shipped_names};

    fn operators(text: &str) -> Operators {
        Operators::of(&wat::parse_str(text).unwrap())
    }

    /// A module with one function of these instructions.
    fn body(text: &str) -> Operators {
        operators(&format!("(module (memory 1 1 shared) (func {text}))"))
    }

    fn shipped(name: &str) -> Profile {
        Profile::shipped(name).unwrap()
    }

    fn profile(text: &str) -> Profile {
        let text = ProfileText { name: "p".to_owned(), path: "p.toml".to_owned(), text: text.to_owned() };
        Profile::resolve(&text, &find_shipped).unwrap()
    }

    fn shipped_same(operators: &Operators, weaker: &str, stronger: &str) -> bool {
        same_code(operators, &shipped(weaker), &shipped(stronger)) == Prediction::Same
    }

    #[track_caller]
    fn affects(operators: &Operators, weaker: &str, added: &str) -> String {
        let stronger = profile(&format!("inherits = '{weaker}'\nisa = ['{added}']"));
        match same_code(operators, &shipped(weaker), &stronger) {
            Prediction::Differs(Difference::Affects { extension, operators }) if extension == added => operators,
            other => panic!("{added} on {weaker}: {other:?}"),
        }
    }

    const SCALAR: &str = "(drop (i32.mul (i32.load (i32.const 8)) (i32.shl (i32.const 5) (i32.load (i32.const 4)))))";

    #[test]
    fn scalar_code_ignores_what_is_for_vectors_and_atomics() {
        let scalar = body(SCALAR);
        for stronger in ["x86-64-v4", "icelake-server", "sapphire-rapids", "znver4"] {
            assert!(shipped_same(&scalar, "x86-64-v3", stronger), "{stronger}");
        }
        for stronger in ["neoverse-n1", "neoverse-v1", "neoverse-v2", "apple-m1"] {
            assert!(shipped_same(&scalar, "aarch64", stronger), "{stronger}");
        }
        assert!(!shipped_same(&scalar, "x86-64-v2", "x86-64-v3"), "BMI2 has shifts of its own");
        assert!(!shipped_same(&scalar, "riscv64gc", "rva22u64"));
    }

    #[test]
    fn x86_counting_and_bits() {
        let popcnt = body("(drop (i32.popcnt (i32.load (i32.const 0))))");
        assert_eq!(affects(&popcnt, "x86-64-v1", "popcnt"), "I32Popcnt");
        assert_eq!(affects(&body("(drop (i64.ctz (i64.load (i32.const 0))))"), "x86-64-v2", "bmi1"), "I64Ctz");
        assert_eq!(affects(&body("(drop (i64.clz (i64.load (i32.const 0))))"), "x86-64-v2", "lzcnt"), "I64Clz");
        let load = "(i32.load (i32.const 0))";
        let and_not = body(&format!("(drop (i32.and {load} (i32.xor {load} (i32.const -1))))"));
        assert!(affects(&and_not, "x86-64-v2", "bmi1").contains("I32And"), "and-not is one instruction");
        let and = body(&format!("(drop (i32.and {load} {load}))"));
        let bmi1 = profile("inherits = 'x86-64-v2'\nisa = ['bmi1']");
        assert_eq!(same_code(&and, &shipped("x86-64-v2"), &bmi1), Prediction::Same);
    }

    #[test]
    fn x86_vectors() {
        let vector = "(v128.load (i32.const 0))";
        let mul = body(&format!("(drop (i64x2.mul {vector} {vector}))"));
        assert!(!shipped_same(&mul, "x86-64-v3", "x86-64-v4"), "AVX-512 multiplies 64 bits");
        assert!(shipped_same(&mul, "x86-64-v4", "sapphire-rapids"));
        let add = body(&format!("(drop (i32x4.add {vector} {vector}))"));
        assert!(!shipped_same(&add, "x86-64-v2", "x86-64-v3"), "AVX encodes it differently");
        assert!(shipped_same(&add, "x86-64-v3", "sapphire-rapids"));
        let popcnt = body(&format!("(drop (i8x16.popcnt {vector}))"));
        assert!(!shipped_same(&popcnt, "x86-64-v4", "icelake-server"));
        let float = body("(drop (f64.floor (f64.load (i32.const 0))))");
        assert!(!shipped_same(&float, "x86-64-v1", "x86-64-v2"), "SSE4.1 rounds");
    }

    #[test]
    fn arm_atomics_and_dot_products() {
        let add = body("(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))");
        assert!(!shipped_same(&add, "aarch64", "neoverse-n1"));
        assert!(shipped_same(&add, "neoverse-n1", "neoverse-v2"));
        let narrow = body("(drop (f64.const 0x1p-1074))");
        assert!(!shipped_same(&narrow, "aarch64", "neoverse-n1"), "half precision has a form for the constant");
        assert!(shipped_same(&body("(drop (f32.const 1.5))"), "aarch64", "neoverse-n1"));
    }

    #[test]
    fn anything_but_extensions_keeps_profiles_apart() {
        let module = body(SCALAR);
        let differs = |weaker: &Profile, stronger: &Profile| match same_code(&module, weaker, stronger) {
            Prediction::Differs(difference) => difference,
            Prediction::Same => panic!("{} = {}", weaker.name, stronger.name),
        };
        let v3 = shipped("x86-64-v3");
        for text in [
            "inherits = 'x86-64-v4'\n[wasm]\nepoch-interruption = true",
            "inherits = 'x86-64-v4'\n[codegen]\nnan-canonicalization = true",
            "inherits = 'x86-64-v4'\n[wasm]\nwide-arithmetic = true",
            "inherits = 'aarch64'",
        ] {
            assert_eq!(differs(&v3, &profile(text)), Difference::Settings, "{text}");
        }
        assert_eq!(differs(&shipped("x86-64-v4"), &v3), Difference::NotWeaker("avx512dq"));
        assert_eq!(differs(&shipped("rva22u64"), &shipped("rva23u64")), Difference::Passes);
        let both = |text: &str| {
            [profile(&format!("inherits = 'x86-64-v3'\n{text}")), profile(&format!("inherits = 'x86-64-v4'\n{text}"))]
        };
        let [weaker, stronger] = both("[wasm]\nepoch-interruption = true");
        assert_eq!(same_code(&module, &weaker, &stronger), Prediction::Same, "the same settings on both sides");
    }

    /// Functions are looked at one by one, unless settings let them flow into each other.
    #[test]
    fn operators_of_different_functions_are_not_fused() {
        let apart = operators(
            "(module (func (param i32 i32) (result i32) (i32.and (local.get 0) (local.get 1)))
                     (func (param i32) (result i32) (i32.xor (local.get 0) (i32.const -1))))",
        );
        let with = |inlining: &str, isa: &str| {
            profile(&format!("inherits = 'x86-64-v2'\nisa = [{isa}]\n[optimize]\ninlining = '{inlining}'"))
        };
        let same = |inlining| same_code(&apart, &with(inlining, ""), &with(inlining, "'bmi1'"));
        assert_eq!(same("no"), Prediction::Same);
        assert!(matches!(same("yes"), Prediction::Differs(Difference::Affects { extension: "bmi1", .. })));
    }

    #[test]
    fn unknown_operators_differ() {
        let wasm = wat::parse_str("(module (func i32.const 1 drop))").unwrap();
        let cut = Operators::of(&wasm[..wasm.len() - 1]);
        let prediction = same_code(&cut, &shipped("aarch64"), &shipped("neoverse-n1"));
        assert_eq!(prediction, Prediction::Differs(Difference::UnknownOperator));
    }

    /// Adapters may have any scalar operator, and no vectors.
    #[test]
    fn components_count_their_adapters() {
        let component = operators("(component (core module (func)))");
        assert!(shipped_same(&component, "x86-64-v3", "sapphire-rapids"));
        assert!(!shipped_same(&component, "x86-64-v1", "x86-64-v2"));
        assert!(shipped_same(&operators("(module (func))"), "x86-64-v1", "x86-64-v2"));
    }

    #[test]
    fn representatives_are_the_weakest_and_represent_themselves() {
        let profiles: Vec<_> = shipped_names().map(shipped).collect();
        let profiles: Vec<_> = profiles.iter().collect();
        let indices = representatives(&body(SCALAR), &profiles);
        let by = |name: &str| profiles[indices[profiles.iter().position(|of| of.name == name).unwrap()]].name.as_str();
        assert_eq!(by("sapphire-rapids"), "x86-64-v3");
        assert_eq!(by("apple-m1"), "aarch64");
        assert_eq!(by("pulley64be"), "pulley64be");
        for index in &indices {
            assert_eq!(indices[*index], *index);
        }
    }

    /// A prediction is reflexive and transitive; more extensions, or more operators, only take sameness away.
    #[test]
    fn predictions_are_an_order() {
        let bodies = [
            SCALAR,
            "(drop (i32.popcnt (i32.load (i32.const 0))))",
            "(drop (i64x2.mul (v128.load (i32.const 0)) (v128.load (i32.const 0))))",
            "(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))",
            "(drop (f64.floor (f64.load (i32.const 0))))",
            "",
        ];
        let profiles: &[Profile] = &shipped_names().map(shipped).collect::<Vec<_>>();
        let same = |of: &Operators, a: &Profile, b: &Profile| same_code(of, a, b) == Prediction::Same;
        for one in bodies {
            let single = body(one);
            for (a, b, c) in
                profiles.iter().flat_map(|a| profiles.iter().flat_map(move |b| profiles.iter().map(move |c| (a, b, c))))
            {
                assert!(same(&single, a, a));
                let (ab, bc, ac) = (same(&single, a, b), same(&single, b, c), same(&single, a, c));
                assert!(!(ab && bc) || ac, "{} {} {} {one}", a.name, b.name, c.name);
                let between = |b: &Profile| {
                    a.isa.keys().all(|of| b.isa.contains_key(of)) && b.isa.keys().all(|of| c.isa.contains_key(of))
                };
                assert!(!(ac && between(b) && a.triple == b.triple) || ab, "{} {} {} {one}", a.name, b.name, c.name);
            }
            for other in bodies {
                let both = body(&format!("{one}{other}"));
                for (a, b) in profiles.iter().flat_map(|a| profiles.iter().map(move |b| (a, b))) {
                    assert!(!same(&both, a, b) || same(&single, a, b), "{} {} {one} {other}", a.name, b.name);
                }
            }
        }
    }

    #[test]
    fn every_extension_with_a_flag_has_a_row() {
        for arch in Arch::ALL {
            let long = |name: &str| name.starts_with("zvl") && !["zvl32b", "zvl64b", "zvl128b"].contains(&name);
            let switched = isa::all(arch).filter(|row| row.flag.is_some() && !row.baseline && !long(row.name));
            let missing: Vec<_> =
                switched.filter(|row| table::row(arch, row.name).is_none()).map(|row| row.name).collect();
            assert_eq!(missing, [""; 0], "{arch}");
        }
        for row in table::rows() {
            assert!(isa::by_name(row.arch, &row.name).is_some(), "{} {}", row.arch, row.name);
        }
    }
}
