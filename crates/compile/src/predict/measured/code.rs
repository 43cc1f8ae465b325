//! In: an artifact. Out: a digest of the code of each of its functions, without what the functions before it move: the
//! distance of a direct call to another function of the artifact.

use isomer_contract::{Arch, Digest};
use object::elf::{FileHeader64, STT_FUNC};
use object::endian::Endianness;
use object::read::elf::{FileHeader, SectionHeader, Sym};
use std::collections::{BTreeMap, BTreeSet};

/// A digest for each symbol.
pub(super) fn functions(arch: Arch, artifact: &[u8]) -> BTreeMap<String, Digest> {
    let header = FileHeader64::<Endianness>::parse(artifact).unwrap();
    let endian = header.endian().unwrap();
    let sections = header.sections(endian, artifact).unwrap();
    let (_, text) = sections.section_by_name(endian, b".text").unwrap();
    let text = text.data(endian, artifact).unwrap();
    let symbols = sections.symbols(endian, artifact, object::elf::SHT_SYMTAB).unwrap();
    let functions = || symbols.iter().filter(|symbol| symbol.st_type() == STT_FUNC);
    let starts: BTreeSet<u64> = functions().map(|symbol| symbol.st_value(endian)).collect();
    let digest = |symbol: &object::elf::Sym64<Endianness>| {
        let name = String::from_utf8(symbols.symbol_name(endian, symbol).unwrap().to_vec()).unwrap();
        let (address, size) = (symbol.st_value(endian), symbol.st_size(endian));
        let mut code = text[address as usize..(address + size) as usize].to_vec();
        mask_calls(arch, &mut code, address, &starts);
        (name, Digest::of(&code))
    };
    functions().map(digest).collect()
}

/// Zeroes each distance that leads to the start of a function.
fn mask_calls(arch: Arch, code: &mut [u8], address: u64, starts: &BTreeSet<u64>) {
    let width = match arch {
        Arch::X86_64 => 1,
        Arch::Riscv64 | Arch::S390x => 2,
        _ => 4,
    };
    for at in (0..code.len()).step_by(width) {
        let here = address.wrapping_add(at as u64);
        let leads = |distance: i64| starts.contains(&here.wrapping_add_signed(distance));
        let mask: &[u8] = match (arch, &code[at..]) {
            (Arch::X86_64, [0xe8 | 0xe9, a, b, c, d, ..]) => {
                let distance = i32::from_le_bytes([*a, *b, *c, *d]);
                if leads(i64::from(distance) + 5) { &[0xff, 0, 0, 0, 0] } else { continue }
            }
            (Arch::Aarch64, [a, b, c, d, ..]) => {
                let word = u32::from_le_bytes([*a, *b, *c, *d]);
                let is_branch = word & 0x7c00_0000 == 0x1400_0000;
                let distance = i64::from((word << 6) as i32 >> 4);
                if is_branch && leads(distance) { &[0, 0, 0, 0xfc] } else { continue }
            }
            (Arch::Riscv64, [a, b, c, d, e, f, g, h, ..]) => {
                let (upper, jump) = (u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h]));
                let is_call = upper & 0x7f == 0x17 && jump & 0x7f == 0x67;
                let distance = i64::from((upper & 0xffff_f000) as i32) + i64::from(jump as i32 >> 20);
                if is_call && leads(distance) { &[0xff, 0xf, 0, 0, 0xff, 0xff, 0xf, 0] } else { continue }
            }
            (Arch::S390x, [0xc0, low, a, b, c, d, ..]) if matches!(low & 0xf, 4 | 5) => {
                let distance = i64::from(i32::from_be_bytes([*a, *b, *c, *d])) * 2;
                if leads(distance) { &[0xff, 0xff, 0, 0, 0, 0] } else { continue }
            }
            _ => continue,
        };
        code[at..].iter_mut().zip(mask).for_each(|(byte, mask)| *byte &= mask);
    }
}
