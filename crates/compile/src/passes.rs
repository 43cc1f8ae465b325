//! In: valid WebAssembly and a profile. Out: WebAssembly that means the same and that the profile's code generator can
//! take. What a release offers to other runtimes is always the original module.
//!
//! There is one pass, `opaque-copy-lengths`. wasmtime 48 expands a copy of 16 to 128 bytes, where the length is a
//! constant, into vector loads and stores, and Cranelift panics on those for riscv64 without `v` (wasmtime issue
//! 13959). Nearly every module that clang or rustc compiles has such a copy. wasmtime looks for an operand that is itself a
//! constant, so the pass adds zero to it: the copy becomes a call, and the addition is folded away later. Functions
//! keep their numbers and names; code offsets, in backtraces for example, are those of the rewritten module.

use isomer_contract::{Arch, Profile};
use std::borrow::Cow;
use std::ops::Range;
use wasmparser::{BinaryReader, BinaryReaderError, FunctionBody, Operator};

/// The pass's name, as jobs and releases record it.
pub const OPAQUE_COPY_LENGTHS: &str = "opaque-copy-lengths";

/// The passes that a module goes through before code is generated for `profile`.
pub fn passes(profile: &Profile) -> &'static [&'static str] {
    if profile.arch == Arch::Riscv64 && !profile.isa.contains_key("v") { &[OPAQUE_COPY_LENGTHS] } else { &[] }
}

/// `wasm` after the passes for `profile`.
///
/// # Errors
/// When `wasm` does not parse.
pub fn apply<'a>(wasm: &'a [u8], profile: &Profile) -> Result<Cow<'a, [u8]>, BinaryReaderError> {
    if passes(profile).is_empty() { Ok(Cow::Borrowed(wasm)) } else { opaque_copy_lengths(wasm) }
}

/// Bytes of a binary's preamble: magic number, version, layer.
const PREAMBLE: usize = 8;

/// Sections that hold code or whole binaries; the others are copied as they are.
const CODE_SECTION: u8 = 10;
const COMPONENT_CORE_MODULE_SECTION: u8 = 1;
const COMPONENT_COMPONENT_SECTION: u8 = 4;

/// `i32.const 0, i32.add` and `i64.const 0, i64.add`.
const ADD_ZERO_32: [u8; 3] = [0x41, 0, 0x6a];
const ADD_ZERO_64: [u8; 3] = [0x42, 0, 0x7c];

/// A binary, a section or a body without such a copy stays borrowed: components nest by the thousand, and only what
/// changes is worth its memory.
fn opaque_copy_lengths(wasm: &[u8]) -> Result<Cow<'_, [u8]>, BinaryReaderError> {
    let component = wasm.get(6) == Some(&1);
    let memories = if component { Vec::new() } else { memories_are_64_bit(wasm)? };
    let mut out = Rewritten::of(wasm);
    let mut reader = BinaryReader::new(&wasm[PREAMBLE..], PREAMBLE);
    while !reader.eof() {
        let id = reader.read_u8()?;
        let begin = reader.original_position();
        let size = reader.read_var_u32()?;
        let payload = reader.read_bytes(size as usize)?;
        let rewritten = match (component, id) {
            (false, CODE_SECTION) => code_section(payload, &memories)?,
            (true, COMPONENT_CORE_MODULE_SECTION | COMPONENT_COMPONENT_SECTION) => opaque_copy_lengths(payload)?,
            _ => Cow::Borrowed(payload),
        };
        out.replace_sized(begin..reader.original_position(), rewritten);
    }
    Ok(out.finish())
}

fn code_section<'a>(payload: &'a [u8], memories: &[bool]) -> Result<Cow<'a, [u8]>, BinaryReaderError> {
    let mut out = Rewritten::of(payload);
    let mut reader = BinaryReader::new(payload, 0);
    let count = reader.read_var_u32()?;
    for _ in 0..count {
        let begin = reader.original_position();
        let size = reader.read_var_u32()?;
        let body = reader.read_bytes(size as usize)?;
        out.replace_sized(begin..reader.original_position(), function_body(body, memories)?);
    }
    Ok(out.finish())
}

/// Bytes of which some are replaced, from front to back.
struct Rewritten<'a> {
    original: &'a [u8],
    copied: usize,
    out: Vec<u8>,
}

impl<'a> Rewritten<'a> {
    fn of(original: &'a [u8]) -> Rewritten<'a> {
        Rewritten { original, copied: 0, out: Vec::new() }
    }

    fn insert(&mut self, at: usize, bytes: &[u8]) {
        self.out.extend_from_slice(&self.original[self.copied..at]);
        self.out.extend_from_slice(bytes);
        self.copied = at;
    }

    /// Replaces `range`, which holds a size and the original of `bytes`, by the size of `bytes` and them.
    fn replace_sized(&mut self, range: Range<usize>, bytes: Cow<'_, [u8]>) {
        if let Cow::Owned(bytes) = bytes {
            self.insert(range.start, &[]);
            push_sized(&mut self.out, &bytes);
            self.copied = range.end;
        }
    }

    fn finish(mut self) -> Cow<'a, [u8]> {
        if self.copied == 0 {
            return Cow::Borrowed(self.original);
        }
        self.insert(self.original.len(), &[]);
        Cow::Owned(self.out)
    }
}

fn function_body<'a>(body: &'a [u8], memories: &[bool]) -> Result<Cow<'a, [u8]>, BinaryReaderError> {
    let mut out = Rewritten::of(body);
    let mut operators = FunctionBody::new(BinaryReader::new(body, 0)).get_operators_reader()?;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        let wide = |memory: u32| memories.get(memory as usize).copied().unwrap_or(false);
        // The length is the topmost operand of each of these.
        match operator {
            Operator::MemoryCopy { dst_mem, src_mem } if wide(dst_mem) && wide(src_mem) => {
                out.insert(offset, &ADD_ZERO_64);
            }
            Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::ArrayCopy { .. }
            | Operator::ArrayNewData { .. }
            | Operator::ArrayInitData { .. } => out.insert(offset, &ADD_ZERO_32),
            _ => {}
        }
    }
    Ok(out.finish())
}

/// For each memory of a module, whether its addresses have 64 bits.
fn memories_are_64_bit(wasm: &[u8]) -> Result<Vec<bool>, BinaryReaderError> {
    use wasmparser::{Parser, Payload, TypeRef};
    let mut memories = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Memory(memory) = import?.ty {
                        memories.push(memory.memory64);
                    }
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    memories.push(memory?.memory64);
                }
            }
            Payload::CodeSectionStart { .. } => break,
            _ => {}
        }
    }
    Ok(memories)
}

fn push_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    push_u32(out, u32::try_from(bytes.len()).expect("a binary that grows by a few bytes a copy stays below 4 GiB"));
    out.extend_from_slice(bytes);
}

fn push_u32(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::{Validator, WasmFeatures};

    fn rewrite(text: &str) -> Vec<u8> {
        let wasm = wat::parse_str(text).unwrap();
        let out = opaque_copy_lengths(&wasm).unwrap().into_owned();
        Validator::new_with_features(WasmFeatures::all()).validate_all(&out).unwrap();
        out
    }

    fn zeros_added(wasm: &[u8]) -> usize {
        let count = |add: &[u8]| wasm.windows(3).filter(|bytes| *bytes == add).count();
        count(&ADD_ZERO_32) + count(&ADD_ZERO_64)
    }

    #[test]
    fn every_copy_is_changed_and_stays_valid() {
        let copy = "(memory.copy (i32.const 0) (i32.const 64) (i32.const 32))";
        assert_eq!(zeros_added(&rewrite(&format!("(module (memory 1) (func {copy}) (func) (func {copy} {copy}))"))), 3);
        let mixed = "(module (memory 1) (memory i64 1) (data $d \"0123456789abcdef\")
            (func (memory.copy 1 1 (i64.const 0) (i64.const 64) (i64.const 32))
                  (memory.copy 0 1 (i32.const 0) (i64.const 64) (i32.const 32))
                  (memory.init 1 $d (i64.const 0) (i32.const 0) (i32.const 16))))";
        assert_eq!(zeros_added(&rewrite(mixed)), 3);
        let unreachable = "(module (memory 1) (func unreachable memory.copy))";
        assert_eq!(zeros_added(&rewrite(unreachable)), 1);
        let gc = "(module (type $a (array (mut i8))) (data $d \"0123456789abcdef\")
            (func (param (ref $a)) (result (ref $a))
              (array.copy $a $a (local.get 0) (i32.const 0) (local.get 0) (i32.const 16) (i32.const 16))
              (array.init_data $a $d (local.get 0) (i32.const 0) (i32.const 0) (i32.const 16))
              (array.new_data $a $d (i32.const 0) (i32.const 16))))";
        assert_eq!(zeros_added(&rewrite(gc)), 3);
    }

    #[test]
    fn components_are_searched_to_their_depth() {
        let module = "(core module (memory 1) (func (memory.copy (i32.const 0) (i32.const 64) (i32.const 32))))";
        let nested = format!("(component {module} (component {module}) {module})");
        assert_eq!(zeros_added(&rewrite(&nested)), 3);
    }

    #[test]
    fn nothing_else_changes() {
        let wasm =
            wat::parse_str("(module (memory 1) (func $f (result i32) (i32.const 5)) (data (i32.const 1) \"x\"))");
        let wasm = wasm.unwrap();
        assert!(matches!(opaque_copy_lengths(&wasm), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn what_nests_deeply_costs_what_it_is_worth() {
        let module =
            wat::parse_str("(module (memory 1) (func (memory.copy (i32.const 0) (i32.const 64) (i32.const 32))))");
        let mut nested = module.unwrap();
        let depth = 1000;
        for level in 0..depth {
            let id = if level == 0 { COMPONENT_CORE_MODULE_SECTION } else { COMPONENT_COMPONENT_SECTION };
            let mut outer = b"\0asm\x0d\0\x01\0".to_vec();
            outer.push(id);
            push_sized(&mut outer, &nested);
            nested = outer;
        }
        let rewritten = opaque_copy_lengths(&nested).unwrap();
        assert_eq!(zeros_added(&rewritten), 1);
        Validator::new_with_features(WasmFeatures::all()).validate_all(&rewritten).unwrap();
    }
}
