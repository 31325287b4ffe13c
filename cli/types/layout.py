"""Lays out generated TypeScript: one member a line, so that a change of one column is a change of one line."""

from __future__ import annotations

import re

_PART = re.compile(r'"[^"]*"|[{}\[\]<>(),;]|\s+|[^"{}\[\]<>(),;\s]+')
_BEGIN = "export type Database = "


def lay_out(text: str) -> str:
    """The text with the body of `Database` laid out; the generic helpers below it are left as they are."""
    start = text.index(_BEGIN) + len(_BEGIN)
    # The helpers begin with the first declaration after it.
    end = text.index("\ntype DatabaseWithoutInternals", start)
    layout = _Layout()
    for part in _PART.findall(text[start:end]):
        layout.add(part)
    return f"{text[:start]}{layout.text()}\n{text[end:]}"


class _Layout:
    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line = ""
        # What is open: members of braces go on lines of their own, what is in brackets stays together.
        self._open: list[str] = []

    def text(self) -> str:
        self._end_line()
        return "\n".join(self._lines)

    def add(self, part: str) -> None:
        if part == "{":
            self._line += part
            self._end_line()
            self._open.append(part)
        elif part == "}":
            self._end_line()
            self._open.pop()
            self._line = self._lines.pop().strip() + part if self._lines[-1].endswith("{") else part
        elif part in "[<(":
            self._open.append(part)
            self._line += part
        elif part in "]>)":
            self._open.pop()
            self._line = self._line.rstrip() + part
        elif part in ",;":
            self._separate()
        elif part.isspace():
            self._space(part)
        else:
            self._line += part

    def _separate(self) -> None:
        if self._open[-1:] == ["{"]:
            self._end_line()
        else:
            self._line = self._line.rstrip() + ", "

    def _space(self, part: str) -> None:
        if self._open[-1:] == ["{"] and "\n" in part and not self._line.rstrip().endswith((":", "|")):
            self._end_line()
        elif self._line and not self._line.endswith((" ", "[", "(", "<")):
            self._line += " "

    def _end_line(self) -> None:
        if self._line.strip():
            self._lines.append("  " * self._open.count("{") + self._line.strip())
        self._line = ""
