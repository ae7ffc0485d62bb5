"""The README and the guide say what really happens: their code is run, their links followed."""

import contextlib
import doctest
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = sorted((ROOT / "docs").glob("*.rst"))


def readme_examples():
    """Return pairs of a ``python`` block and the ``text`` block that follows it, or None."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    following = [*blocks[1:], ("", "")]
    return [
        (code, output if kind == "text" else None)
        for (language, code), (kind, output) in zip(blocks, following, strict=True)
        if language == "python"
    ]


def test_readme_examples_print_what_they_say():
    namespace = {}
    examples = readme_examples()
    assert len(examples) >= 3
    for code, expected in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), namespace)
        assert printed.getvalue() == (expected or "")


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.name)
def test_guide_examples_print_what_they_say(page):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert results.failed == 0


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", "cpp/README.md", ".github/CONTRIBUTING.md"]
)
def test_relative_links_lead_to_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing


def test_readme_commands_name_files_that_exist():
    scripts = re.findall(r"^(?:bash|python) ([\w./-]+\.(?:sh|py))", README, flags=re.MULTILINE)
    assert "examples/quickstart.sh" in scripts
    assert "tests/run.sh" in scripts
    assert all((ROOT / script).is_file() for script in scripts)
