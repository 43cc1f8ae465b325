//! In: `--invoke` and its arguments as text. Out: the export's name, and values of core WebAssembly; and back.

use super::error::GuestError;
use wasmtime::{FuncType, HeapType, Val, ValType};

/// A call of an export: `add` and the words `1 2`, or `add(1, 2)` and no words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    text: String,
    words: Vec<String>,
}

impl Call {
    /// What `--invoke TEXT WORDS…` says.
    pub fn new(text: String, words: Vec<String>) -> Call {
        Call { text, words }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    /// The whole call, if it is written as one.
    pub(super) fn wave(&self) -> Result<Option<&str>, GuestError> {
        if !self.text.contains('(') {
            return Ok(None);
        }
        if self.words.is_empty() {
            return Ok(Some(&self.text));
        }
        let reason = format!("it has its arguments in brackets; what is `{}` for?", self.words.join(" "));
        Err(GuestError::Arguments { name: self.text.clone(), reason })
    }

    /// Name and arguments for a core module, where any text is a possible name.
    pub(super) fn of_module(&self, exists: impl Fn(&str) -> bool) -> Result<(String, Vec<String>), GuestError> {
        let written_as_call = self.text.strip_suffix(')').and_then(|text| text.split_once('('));
        match written_as_call {
            Some((name, arguments)) if !exists(&self.text) => {
                self.wave()?;
                let words = arguments.split(',').map(|word| word.trim().to_owned());
                let words = if arguments.trim().is_empty() { Vec::new() } else { words.collect() };
                Ok((name.trim().to_owned(), words))
            }
            _ => Ok((self.text.clone(), self.words.clone())),
        }
    }
}

/// `words` as what a function of type `ty` takes.
pub(super) fn values(ty: &FuncType, words: &[String]) -> Result<Vec<Val>, String> {
    if ty.params().len() != words.len() {
        let types: Vec<_> = ty.params().map(|ty| ty.to_string()).collect();
        return Err(format!("it takes ({}), {} arguments; not {}", types.join(", "), types.len(), words.len()));
    }
    ty.params().zip(words).map(|(ty, word)| value(&ty, word)).collect()
}

fn value(ty: &ValType, word: &str) -> Result<Val, String> {
    let value = match ty {
        ValType::I32 => integer(word, 32).map(|bits| Val::I32(bits as u32 as i32)),
        ValType::I64 => integer(word, 64).map(|bits| Val::I64(bits as u64 as i64)),
        ValType::V128 => integer(word, 128).map(|bits| Val::V128(bits.into())),
        ValType::F32 => word.parse::<f32>().ok().map(|float| Val::F32(float.to_bits())),
        ValType::F64 => word.parse::<f64>().ok().map(|float| Val::F64(float.to_bits())),
        ValType::Ref(reference) if reference.is_nullable() && word == "null" => Some(null(reference.heap_type())),
        ValType::Ref(_) => return Err(format!("`{word}`: a command line cannot express a value of type {ty}")),
    };
    value.ok_or_else(|| format!("`{word}` is not a value of type {ty}"))
}

fn null(heap: &HeapType) -> Val {
    match heap.top() {
        HeapType::Extern => Val::null_extern_ref(),
        HeapType::Func => Val::null_func_ref(),
        HeapType::Exn => Val::ExnRef(None),
        HeapType::Cont => Val::ContRef(None),
        _ => Val::null_any_ref(),
    }
}

/// The two's complement of a decimal or `0x…` number that fits into `bits`, signed or unsigned.
fn integer(word: &str, bits: u32) -> Option<u128> {
    let (negative, digits) = word.strip_prefix('-').map_or((false, word), |digits| (true, digits));
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((digits, 10), |hex| (hex, 16));
    // `from_str_radix` would take another sign.
    if !digits.starts_with(|digit: char| digit.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = u128::from_str_radix(digits, radix).ok()?;
    let max = if negative { 1 << (bits - 1) } else { u128::MAX >> (128 - bits) };
    let value = if negative { magnitude.wrapping_neg() } else { magnitude };
    (magnitude <= max).then_some(value & (u128::MAX >> (128 - bits)))
}

/// A result as a line of text, as `wasmtime run --invoke` prints it; vectors in hexadecimal.
pub(super) fn show(value: &Val) -> String {
    let reference = |what: &str, present: bool| if present { format!("<{what}>") } else { format!("<null {what}>") };
    match value {
        Val::I32(bits) => bits.to_string(),
        Val::I64(bits) => bits.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(bits) => format!("{:#034x}", bits.as_u128()),
        Val::FuncRef(value) => reference("funcref", value.is_some()),
        Val::ExternRef(value) => reference("externref", value.is_some()),
        Val::AnyRef(value) => reference("anyref", value.is_some()),
        Val::ExnRef(value) => reference("exnref", value.is_some()),
        Val::ContRef(value) => reference("contref", value.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_signed_or_unsigned_and_fit() {
        for (word, bits, expected) in [
            ("0", 32, Some(0)),
            ("-1", 32, Some(0xffff_ffff)),
            ("4294967295", 32, Some(0xffff_ffff)),
            ("4294967296", 32, None),
            ("-2147483648", 32, Some(0x8000_0000)),
            ("-2147483649", 32, None),
            ("0xfF", 32, Some(255)),
            ("-0x1", 64, Some(u128::from(u64::MAX))),
            ("0x", 32, None),
            ("--1", 32, None),
            ("+1", 32, None),
            ("-+1", 32, None),
            ("", 32, None),
            ("1.5", 32, None),
            ("0x000102030405060708090a0b0c0d0e0f", 128, Some(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f)),
            ("-1", 128, Some(u128::MAX)),
            ("-0x80000000000000000000000000000000", 128, Some(1 << 127)),
            ("-0x80000000000000000000000000000001", 128, None),
        ] {
            assert_eq!(integer(word, bits), expected, "{word}");
        }
    }

    #[test]
    fn a_call_is_words_or_brackets() {
        let call = |text: &str, words: &[&str]| {
            let call = Call::new(text.to_owned(), words.iter().map(|word| (*word).to_owned()).collect());
            call.of_module(|name| name == "odd(name)").map(|(name, words)| format!("{name}: {}", words.join("|")))
        };
        assert_eq!(call("add", &["1", "2"]).unwrap(), "add: 1|2");
        assert_eq!(call("add(1, -2)", &[]).unwrap(), "add: 1|-2");
        assert_eq!(call("now()", &[]).unwrap(), "now: ");
        assert_eq!(call("odd(name)", &["1"]).unwrap(), "odd(name): 1");
        assert!(call("add(1, 2)", &["3"]).is_err());
    }
}
