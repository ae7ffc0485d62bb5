"""No hot loop of a kernel moves a vector to or from the stack: accumulators stay in registers.

What a register allocator makes of a tile changes with every compiler and with innocent edits, and a
spill costs a third of a kernel's speed without any test failing.  So the objects of the release
build are disassembled (``FASTCONV_ISA_OBJECTS`` names their folders).
"""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

# Without a 64-bit vector multiply a product is put together from three of 32 bits, in registers of
# its own: beside those eight instructions a load and a store are not what decides.
EXEMPT = {("avx2", "I64"), ("neon", "I64")}
# No sums over the terms of a reduction. The multiply-adds of `store_tile` and `plane_activate` are
# those of activations, whose constants may lie on the stack; Winograd's transforms hold blocks of
# up to 6 x 6 vectors, more than there are registers; those of `pack_rows` look at a square of
# weights, as many vectors as there are lanes.
NOT_HOT = {
    "store_tile",
    "pack_rows",
    "plane_activate",
    "winograd_input",
    "winograd_output",
    "winograd_weights",
}

FEWEST_PRODUCTS = 2
FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(\S+)\s*(.*)$")


class X86:
    """How objdump writes x86-64 instructions in AT&T syntax."""

    product = re.compile(
        r"\{vex\}|v(fn?m(add|sub)|mulp[sd]|pmull[dq]|pmuludq|pmaddwd|pdpwssd|pdpbusd|dpbf16ps)"
    )
    jump = re.compile(r"j\w+")
    target = re.compile(r"^([0-9a-f]+)\b")
    vector = re.compile(r"%[xyz]mm")
    stack = re.compile(r"\(%rsp\b")
    stack_or_frame = re.compile(r"\(%r[sb]p\b")
    frame = re.compile(r"^%rsp,\s*%rbp")


class Aarch64:
    """How objdump writes aarch64 instructions."""

    product = re.compile(r"f?ml[as]\b|fmul\b|mul\b|umlal")
    jump = re.compile(r"b(\.\w+)?$|cbn?z|tbn?z")
    target = re.compile(r"(?:^|, )([0-9a-f]+)\b(?= <|$)")
    # Not d8 to d15: a function gives these halves back to its caller before it returns, which may
    # lie between the two ends of a loop. Sums are whole registers, q.
    vector = re.compile(r"\b([vqs]\d+|d[0-7]|d1[6-9]|d[23]\d)\b")
    stack = re.compile(r"\[sp\b")
    stack_or_frame = re.compile(r"\[(sp|x29)\b")
    frame = re.compile(r"^x29, sp")


def functions(listing):
    """``(name, [(address, mnemonic, operands), ...])`` of each function of a disassembly."""
    found = []
    for line in listing.splitlines():
        if name := FUNCTION.match(line):
            found.append((name[1], []))
        elif (instruction := INSTRUCTION.match(line)) and found:
            address, mnemonic, operands = instruction.groups()
            found[-1][1].append((int(address, 16), mnemonic, operands))
    return found


def innermost_loops(code, machine):
    """The instructions of each backward jump's loop that holds no other loop."""
    place = {address: index for index, (address, _, _) in enumerate(code)}
    loops = {}
    for index, (_, mnemonic, operands) in enumerate(code):
        if not machine.jump.match(mnemonic):
            continue
        target = machine.target.search(operands)
        head = place.get(int(target[1], 16)) if target else None
        if head is not None and head <= index:
            loops[head] = index  # of several jumps to one head the last, which ends the loop
    for head, last in loops.items():
        if not any(head < other and end <= last for other, end in loops.items() if other != head):
            yield code[head : last + 1]


def spills(listing, isa):
    """What hot loops move between vector registers and the stack: ``(function, instruction)``."""
    machine = Aarch64 if isa == "neon" else X86
    found, hot = [], 0
    for name, code in functions(listing):
        kernel = re.search(r"::(\w+)<fastconv::\w+::(\w+)", name)
        if kernel is None or kernel[1] in NOT_HOT or (isa, kernel[2]) in EXEMPT:
            continue
        framed = any(machine.frame.match(operands) for _, _, operands in code)
        stack = machine.stack_or_frame if framed else machine.stack
        for loop in innermost_loops(code, machine):
            if sum(machine.product.match(m) is not None for _, m, _ in loop) < FEWEST_PRODUCTS:
                continue
            hot += 1
            found += [
                (name, f"{mnemonic} {operands}")
                for _, mnemonic, operands in loop
                if machine.vector.search(operands) and stack.search(operands)
            ]
    return found, hot


def compiler(path):
    """What the object says of its compiler."""
    command = ["readelf", "-p", ".comment", path]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def disassembler(path):
    """The objdump that knows the object's machine."""
    header = path.read_bytes()[:20]
    if header[:4] != b"\x7fELF":
        return None
    native = {0x3E: "x86_64", 0xB7: "aarch64"}.get(header[18], "no machine")
    for tool in (f"{native}-linux-gnu-objdump", "objdump"):
        about = shutil.which(tool) and subprocess.run(
            [tool, "-i"], capture_output=True, text=True, check=False
        )
        if about and native.replace("_", "-") in about.stdout.replace("_", "-"):
            return tool
    return None


def test_hot_loops_of_the_kernels_do_not_spill(isa_objects):
    if shutil.which("readelf") is None:
        pytest.skip("needs readelf")
    looked_at = []
    for path in isa_objects:
        isa = re.match(r"isa_(\w+?)\.", path.name)[1]
        # The scalar kernels are what the compiler makes of them: their vectors are no registers on
        # every machine.
        # And what AMX sums lies in tiles, which no compiler moves.
        if (
            isa in ("scalar", "amx")
            or "GCC" not in compiler(path)
            or b"__asan_" in path.read_bytes()
        ):
            continue
        tool = disassembler(path)
        if tool is None:
            continue
        command = [tool, "-d", "-C", "--no-show-raw-insn", path]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found, hot = spills(listing, isa)
        fewest = {"avx512_dots": 12, "avx_vnni": 8, "avx2_pairs": 4, "avx512_pairs": 4}.get(isa, 41)
        assert hot >= fewest, (
            f"{path}: {hot} hot loops: these are not the kernels, or not understood"
        )
        assert not found
        looked_at.append(isa)
    if not looked_at:
        pytest.skip("no object of GCC's with a vector instruction set, or no objdump for it")


KERNEL = (
    "void fastconv::avx2::outer_product<fastconv::avx2::{}, 2>(fastconv::OuterArgs<int> const&)"
)
LOOP = """
0000000000000000 <{name}>:
       0:\tpush   %rbp
{frame}
       8:\tvmovaps %ymm9,0x20(%rsp)
      10:\tvbroadcastss (%rdi,%rax,4),%ymm0
      18:\tvfmadd231ps %ymm0,%ymm1,%ymm2
{body}
      28:\tvfmadd231ps (%rsi),%ymm0,%ymm3
      30:\tcmp    %rdx,%rax
      38:\tjne    10 <{name}+0x10>
      40:\tvmovaps 0x20(%rsp),%ymm9
      48:\tret
"""


def listing(body, element="F32", frame="       4:\tnop", kernel=KERNEL):
    return LOOP.format(name=kernel.format(element), body=f"      20:\t{body}", frame=frame)


def test_the_spill_check_sees_what_it_should():
    framed = "       4:\tmov    %rsp,%rbp"
    assert spills(listing("nop"), "avx2") == ([], 1)  # outside the loop the stack may be used
    for body in ("vmovaps %ymm4,-0x20(%rsp)", "vpaddd 0x8(%rsp),%ymm1,%ymm1"):
        for element in ("F32", "F64", "I32"):
            assert len(spills(listing(body, element), "avx2")[0]) == 1
        assert spills(
            listing(body, kernel=KERNEL.replace("outer_product", "store_tile")), "avx2"
        ) == (
            [],
            0,
        )
    assert not spills(listing("mov %rcx,-0x20(%rsp)"), "avx2")[0]  # a pointer is no accumulator
    through_rbp = "vmovaps -0x30(%rbp),%ymm4"
    assert not spills(listing(through_rbp), "avx2")[0]  # a register like any other
    assert len(spills(listing(through_rbp, frame=framed), "avx2")[0]) == 1


def test_the_spill_check_looks_at_innermost_loops():
    """The loop over tiles sums into memory; the one over terms inside it must not."""
    outer = listing("nop").replace("48:\tret", "48:\tjmp    8 <kernel+0x8>")
    assert spills(outer, "avx2") == ([], 1)
    # Two ways back to one head are one loop.
    twice = listing("je     10 <kernel+0x10>").replace("cmp    %rdx,%rax", "vmovaps %ymm3,(%rsp)")
    assert len(spills(twice, "avx2")[0]) == 1


def test_the_spill_check_reads_aarch64():
    name = "void fastconv::neon::row_stencil<fastconv::neon::F32, 4>(int)"
    lines = """
0000000000000000 <{name}>:
       0:\tldr\tq0, [x1, x2]
       4:\tfmla\tv1.4s, v0.4s, v2.s[0]
       8:\t{body}
       c:\tfmla\tv3.4s, v0.4s, v2.s[1]
      10:\tcmp\tx2, x3
      14:\tb.ne\t0 <{name}>  // b.any
      18:\tret
"""
    assert spills(lines.format(name=name, body="nop"), "neon") == ([], 1)
    spill = lines.format(name=name, body="str\tq1, [sp, #32]")
    assert len(spills(spill, "neon")[0]) == 1
