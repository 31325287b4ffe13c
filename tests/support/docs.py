"""What the pages tell readers to type: fenced blocks of every Markdown file, and commands inside sentences."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.stack import ROOT

_SKIPPED = {"node_modules", ".venv", ".imageledger", ".pytest_cache"}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"<!-- not run: (.+?) -->\s*\Z", re.DOTALL)
_SPAN = re.compile(r"`(?:\.venv/bin/)?(imageledger [^`]+)`")
SHELL = {"sh", "bash", "console", "shell"}


@dataclass(frozen=True)
class Block:
    """A fenced block; `reason` is of the comment `<!-- not run: reason -->` right before it."""

    page: str
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def commands(self) -> list[str]:
        """One a line, without comments and the environment's folder; continued lines are one."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        bare = (shlex_line(line) for line in joined.splitlines())
        return [line for line in bare if line]


def shlex_line(line: str) -> str:
    """A line of a shell without its comment."""
    words = re.sub(r"(^|\s+)#.*$", "", line).strip()
    return words.replace(".venv/bin/", "")


def pages() -> list[Path]:
    """Every Markdown file of the checkout."""
    return sorted(p for p in ROOT.rglob("*.md") if not _SKIPPED & set(p.relative_to(ROOT).parts))


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, from top to bottom."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        mark = _MARK.search(text[: found.start()])
        indent = len(found[1])
        body = "\n".join(line[indent:] for line in found[3].splitlines())
        yield Block(
            page=str(page.relative_to(ROOT)),
            line=text.count("\n", 0, found.start()) + 1,
            language=found[2],
            text=body,
            reason=" ".join(mark[1].split()) if mark else None,
        )


def spans(page: Path) -> set[tuple[str, ...]]:
    """Words of each `imageledger …` inside a sentence; those that no shell could split are left out."""
    prose = _FENCE.sub("", page.read_text())
    found = set()
    for span in _SPAN.findall(prose):
        try:
            found.add(tuple(shlex.split(span)[1:]))
        except ValueError:
            continue
    return found
