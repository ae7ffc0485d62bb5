"""The sixty-four rows of :mod:`bad_input_rows`, each in a child process.

The child is used again for the next row as long as it lives; a row that kills it or hangs fails
and costs only a new child.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path

import pytest

from bad_input_rows import ROWS
from conftest import child_environment

SECONDS = 90  # far beyond what any row takes; a hang is what it is for

ALLOWED = {
    "VE": {"ValueError"},
    "TE": {"TypeError"},
    "VE/ME": {"ValueError", "MemoryError"},
    "E0": {"result"},
    "OK": {"result"},
}


class Server:
    """A child process that runs rows, and is replaced when it dies."""

    def __init__(self):
        self.child = None

    def start(self):
        """Start a child unless one is alive."""
        if self.child is None or self.child.poll() is not None:
            self.child = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("bad_input_rows.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=child_environment(PYTHONFAULTHANDLER="1"),
            )

    def run(self, number):
        """What the child says of this row; fails if it says nothing."""
        self.start()
        self.child.stdin.write(f"{number}\n")
        self.child.stdin.flush()
        ready, _, _ = select.select([self.child.stdout], [], [], SECONDS)
        line = self.child.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self.child.kill()
        _, stderr = self.child.communicate()
        why = f"died: {self.child.returncode}\n{stderr[-3000:]}" if ready else "did not come back"
        pytest.fail(f"row {number}: the process {why}")

    def stop(self):
        """Close the child."""
        if self.child is not None:
            self.child.kill()
            self.child.communicate()


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.stop()


@pytest.mark.parametrize("number", sorted(ROWS), ids=lambda n: f"{n}-{ROWS[n][1]}")
def test_row(server, number, needs_memory):
    _, _, outcome, gigabytes = ROWS[number]
    if gigabytes:
        needs_memory(gigabytes * 2**30)
    answer = server.run(number)
    assert answer["outcome"] in ALLOWED[outcome], answer
    assert len(answer["message"]) < 1000, "messages are bounded, however hostile the numbers"
    if outcome == "E0":
        assert answer["empty"], answer


def test_the_table_is_complete():
    assert sorted(ROWS) == list(range(1, 65))


def test_a_dead_or_silent_child_fails_its_row(monkeypatch):
    """The self test: rows that crash or hang are seen as such."""
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 1)
    for body, word in (
        ("import os; os.abort()", "died: -6"),
        ("import time; time.sleep(60)", "back"),
    ):
        server = Server()
        server.child = subprocess.Popen(
            [sys.executable, "-c", f"input(); {body}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with pytest.raises(pytest.fail.Exception, match=word):
            server.run(1)
        server.stop()
