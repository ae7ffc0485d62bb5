"""The layers: a file includes or imports only its own group and those below it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import fastconv

ROOT = Path(__file__).resolve().parents[1]
CPP = ROOT / "cpp"

# Bottom to top.
CPP_GROUPS = (
    "core",
    "simd",
    "kernels",
    "runtime",
    "pack",
    "algorithms",
    "plan",
    "bindings",
)

# Which modules of the package each module may import.  The faces know nothing of each other,
# but for those that stand on the layer API.
PYTHON_LAYERS = {
    "_core": set(),
    "_finder": set(),
    "_normalize": {"_core", "_finder"},
    "_explain": set(),
    "_threadpoolctl": {"_core"},
    "config": {"_core", "_normalize", "_threadpoolctl"},
    "conv": {"_core", "_normalize", "_explain", "config"},
    "_filters_sized": {"_normalize"},
    "filters": {"_normalize", "_filters_sized"},
    "signal": {"_core", "_finder", "_normalize"},
    "image": {"_core", "_finder", "_normalize"},
    "_viz_draw": set(),
    "viz": {"_normalize", "_viz_draw", "conv"},
    "_bench": {"_core", "_normalize", "config", "conv", "filters", "image", "signal"},
}
PYTHON_TOP = {"__init__", "__main__"}  # may import every module

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def includes(path):
    """``(own, system)`` names that a C++ file includes."""
    found = INCLUDE.findall(path.read_text(encoding="utf-8"))
    return [n for q, n in found if q == '"'], [n for q, n in found if q == "<"]


def cpp_files():
    """All C++ sources and headers, but for the benchmarks and tests beside them."""
    return sorted(p for p in CPP.rglob("*") if p.suffix in (".cpp", ".hpp", ".h", ".inc"))


needs_sources = pytest.mark.skipif(not CPP.is_dir(), reason="the C++ sources are not here")


@needs_sources
def test_every_cpp_file_is_in_a_known_group():
    assert cpp_files()
    assert {p.relative_to(CPP).parts[0] for p in cpp_files()} <= set(CPP_GROUPS)


@needs_sources
@pytest.mark.parametrize("path", cpp_files(), ids=lambda p: str(p.relative_to(CPP)))
def test_a_cpp_file_includes_only_its_group_and_those_below(path):
    own_level = CPP_GROUPS.index(path.relative_to(CPP).parts[0])
    for name in includes(path)[0]:
        group = name.split("/")[0]
        assert "/" in name, f'"{name}" must be written from cpp/: "group/file"'
        assert group in CPP_GROUPS, name
        assert CPP_GROUPS.index(group) <= own_level, f"{group} is above {path.parent.name}: {name}"
        assert (CPP / name).is_file(), name


def isa_files():
    """The ISA files and every header they reach."""
    todo, seen = [p for p in cpp_files() if re.fullmatch(r"isa_\w+\.cpp", p.name)], set()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += [CPP / name for name in includes(path)[0]]
    return sorted(seen)


@needs_sources
@pytest.mark.parametrize("path", isa_files(), ids=lambda p: str(p.relative_to(CPP)))
def test_isa_files_reach_no_header_whose_inline_functions_would_merge(path):
    """An inline function compiled with AVX-512 may be the one the linker keeps for everybody."""
    forbidden = {"algorithm", "vector", "string", "map", "memory", "functional", "numeric"}
    forbidden |= {"iostream", "sstream", "stdexcept", "optional", "span", "mutex", "thread"}
    assert not set(includes(path)[1]) & forbidden
    text = re.sub(r"//.*", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"std::(min|max|clamp|vector|string|swap|fill|copy)\b", text)


@needs_sources
def test_there_are_isa_files():
    assert {"isa_scalar.cpp", "isa_avx2.cpp", "isa_avx512.cpp", "isa_neon.cpp"} <= {
        p.name for p in isa_files()
    }


@needs_sources
def test_kernels_know_nothing_of_padding_modes_threads_or_python():
    for group in ("kernels", "simd"):
        for path in (CPP / group).rglob("*.[ch]pp"):
            own, system = includes(path)
            assert not {"thread", "mutex", "pybind11/pybind11.h", "Python.h"} & set(system), path
            assert not [n for n in own if n.startswith(("runtime/", "pack/"))], path


@needs_sources
def test_only_the_bindings_know_python():
    for path in cpp_files():
        python = [n for n in includes(path)[1] if n.startswith(("pybind11", "Python.h", "numpy/"))]
        assert not python or path.is_relative_to(CPP / "bindings"), f"{path}: {python}"


def python_imports(path):
    """The modules of the package that a Python file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level == 1 and node.module:
                found.add(node.module.split(".")[0])
            elif node.level == 1:
                found |= {alias.name for alias in node.names}
            elif node.module and node.module.split(".")[0] == "fastconv":
                found |= {node.module.split(".")[1]} if "." in node.module else {"__init__"}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("fastconv.")}
            found |= {"__init__" for a in node.names if a.name == "fastconv"}
    return found


def python_files():
    """The modules of the installed package, which is the source tree's own or a copy."""
    return sorted(Path(fastconv.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", python_files(), ids=lambda p: p.stem)
def test_a_python_module_imports_only_what_is_below(path):
    if path.stem in PYTHON_TOP:
        return
    assert path.stem in PYTHON_LAYERS, "a new module needs its place in the table"
    assert python_imports(path) <= PYTHON_LAYERS[path.stem]


def test_the_python_layers_have_no_circle():
    """Every module of the table is reached only after what it imports."""
    done, left = set(), dict(PYTHON_LAYERS)
    while left:
        ready = {name for name, needs in left.items() if needs <= done}
        assert ready, f"a circle among {sorted(left)}"
        done |= ready
        left = {name: needs for name, needs in left.items() if name not in ready}


def public_objects():
    """Every public function, class and method, with its full name."""
    for info in pkgutil.iter_modules(fastconv.__path__, "fastconv."):
        name = info.name.rsplit(".", 1)[1]
        if name.startswith("_"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:
            continue  # an optional dependency is missing
        yield info.name, module
        public = getattr(module, "__all__", vars(module))
        for attribute, value in vars(module).items():
            if attribute.startswith("_") or getattr(value, "__module__", None) != info.name:
                continue
            if attribute not in public:
                continue
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{info.name}.{attribute}", value
            if inspect.isclass(value):
                for method, member in vars(value).items():
                    if not method.startswith("_") and callable(member):
                        yield f"{info.name}.{attribute}.{method}", member


def test_every_public_thing_has_a_docstring():
    objects = dict(public_objects())
    assert len(objects) > 30
    bare = [name for name, value in objects.items() if not (value.__doc__ or "").strip()]
    assert not bare


def test_every_public_function_shows_an_example():
    functions = {n: f for n, f in public_objects() if inspect.isfunction(f)}
    faces = [n for n in functions if n.count(".") == 2]
    assert not [n for n in faces if ">>>" not in (functions[n].__doc__ or "")]


@needs_sources
def test_no_fast_math_no_openmp_and_no_lto_over_kernels():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    code = re.sub(r"#.*", "", text)
    assert "fast-math" not in code
    assert "Ofast" not in code
    assert "OpenMP" not in code
    assert re.search(r"INTERPROCEDURAL_OPTIMIZATION\s+(OFF|FALSE)", code)


# ---- the nm check

SYMBOL = re.compile(r"^[0-9a-fA-F ]*\s([A-Za-z])\s(.*)$")


def qualified(name):
    """The name of a demangled symbol without its result, its template arguments, its parameters."""
    depth, kept = 0, ""
    for letter in name:
        depth -= letter in ">)"
        kept += letter if depth == 0 and letter not in ">)<(" else ""
        depth += letter in "<("
    return kept.removesuffix(" const").split(" ")[-1]


def foreign_symbols(listing, isa):
    """Lines of ``nm -C`` that must not be in the object of an ISA.

    Weak symbols are inline functions: the linker keeps one of all copies, perhaps the one that
    was compiled for AVX-512.  So each must lie in the namespace of its ISA; nothing of the C++
    standard library may be called, since its inline functions would be such symbols; and the
    one strong symbol is the table.
    """
    bad = []
    for line in listing.splitlines():
        symbol = SYMBOL.match(line)
        if symbol is None:
            continue
        kind, name = symbol.groups()
        if kind in "WVu":
            good = qualified(name).startswith(f"fastconv::{isa}::")
        elif kind in "Uwv":
            good = "std::" not in name
        else:
            good = kind.islower() or name in (f"fastconv::table_{isa}", f"fastconv::tiles_{isa}")
        if not good:
            bad.append(line)
    return bad


def test_isa_objects_hold_no_weak_symbol_outside_their_namespace(isa_objects):
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("needs nm")
    for path in isa_objects:
        isa = re.match(r"isa_(\w+?)\.", path.name)[1]
        listing = subprocess.run(
            [nm, "-C", path], capture_output=True, text=True, check=True
        ).stdout
        exported = re.search(rf"\b(table|tiles)_{isa}\b", listing)
        assert exported, "the one symbol that an ISA exports"
        assert not foreign_symbols(listing, isa)


def test_products_of_float16_tiles_are_encoded_as_they_should(isa_objects):
    """Bytes where compilers lack the instruction: VEX.128.F2.0F38.W0 5C, as TDPBF16PS with F2."""
    objects = [path for path in isa_objects if path.name.startswith("isa_amx.")]
    if not objects:
        pytest.skip("no AMX here")
    for path in objects:
        code = path.read_bytes()
        for to, rows, columns in ((0, 4, 6), (1, 4, 7), (2, 5, 6), (3, 5, 7)):
            last = (0x5C, 0xC0 | to << 3 | rows)
            half, brain = (0x03 | (~columns & 15) << 3, 0x02 | (~columns & 15) << 3)
            assert bytes((0xC4, 0xE2, brain, *last)) in code
            assert bytes((0xC4, 0xE2, half, *last)) in code


def test_the_nm_check_sees_what_it_should():
    long_name = "void fastconv::avx2::f<fastconv::avx2::F32, (int)3>(int, long) const"
    assert qualified(long_name) == "fastconv::avx2::f"
    good = (
        "0000000000000000 W void fastconv::avx2::outer_product<fastconv::avx2::F32, 6, 2>(int)\n"
        "0000000000000000 V fastconv::avx2::mask_table\n"
        "0000000000000000 W fastconv::avx2::F32::load(float const*) const\n"
        "0000000000000000 R fastconv::table_avx2\n"
        "0000000000000000 t fastconv::avx2::helper(int)\n"
        "                 U memcpy\n"
    )
    assert not foreign_symbols(good, "avx2")
    bad = (
        "0000000000000000 W std::max(int const&, int const&)\n"
        "0000000000000000 W void std::swap<fastconv::avx2::F32>(fastconv::avx2::F32&, int)\n"
        "0000000000000000 W fastconv::ceil_div(long, long)\n"
        "0000000000000000 T fastconv::run(int)\n"
        "0000000000000000 W fastconv::avx512::f()\n"
        "0000000000000000 u fastconv::counter\n"
        "                 U std::__throw_length_error(char const*)\n"
    )
    assert len(foreign_symbols(bad, "avx2")) == 7
