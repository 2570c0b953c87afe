"""README and the pages of docs/ as a reader follows them: files to write, commands to run, and what these must say."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
SET_UP = "python3 -m venv"  # .ci/run does what these lines do
FENCE = re.compile(r"^(?:<!-- status (?P<status>\d+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.S | re.M)
NAMED = re.compile(r"# (\S+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """A block of commands, with the files that the page names before it and the lines that it shows after it."""

    page: Path
    line: int
    commands: str
    status: int
    files: Mapping[str, str]
    shown: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of commands of a page, in order; those that set up an environment are left out."""
    text, files = page.read_text(), {}
    fences = list(FENCE.finditer(text))
    for fence, following in pairwise([*fences, None]):
        content = fence["text"]
        if named := NAMED.match(content):
            files[named[1]] = content
        if fence["language"] == "console" and not content.startswith(SET_UP):
            shown = following["text"].splitlines() if following and following["language"] == "text" else ()
            line = text[: fence.start()].count("\n") + 1
            yield Block(page, line, content, int(fence["status"] or 0), files, tuple(shown))
            files = {}


def run(block: Block, folder: Path) -> str:
    """What the commands print in a folder where those before were run; skips what needs real data that aren't there."""
    commands, environment = block.commands, dict(os.environ, COLUMNS="200")
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    if "BENCHMARK_DATA" in commands:
        if "BENCHMARK_DATA" not in os.environ:
            pytest.skip("BENCHMARK_DATA does not name a folder with real data")
        environment["BENCHMARK_DATA"] = str(Path(os.environ["BENCHMARK_DATA"]).resolve())
        commands = "\n".join(line for line in commands.splitlines() if not line.startswith("export"))
    for name, content in block.files.items():
        (folder / name).write_text(content)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == block.status, done.stdout
    for line in block.shown:
        assert line in done.stdout, f"{line!r} is not in\n{done.stdout}"
    return done.stdout
