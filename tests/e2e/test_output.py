"""What commands print where it is narrow."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from cli.commands import output

ROWS = [
    (16, "default", "process_image", "succeeded", "1/10", "3m", "8feffe13-f54e-4177-94d2-98694df02bc8", None),
    (
        123456789,
        "default",
        "generate",
        "dead",
        "5/5",
        "21d",
        "8feffe13-f54e-4177-94d2-98694df02bc8",
        "x" * 90,
    ),
]
COLUMNS = ("id", "queue", "actor", "state", "attempts", "age", "owner", "error")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_narrow_terminal_loses_no_cell(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    screen = Console(force_terminal=True, width=width, file=StringIO(), soft_wrap=True, color_system=None)
    monkeypatch.setattr(output, "out", screen)
    output.table(COLUMNS, ROWS)
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    # Short ones in one piece, the key first; a long one below itself.
    for row in ROWS:
        (line,) = [line for line in lines if line.startswith(f"{row[0]} ")]
        assert all(str(cell) in line for cell in row[1:6]), line
    start = lines[0].index("error")
    assert sum(line[start:].count("x") for line in lines) == 90
    owner = lines[0].index("owner")
    assert "".join(line[owner:start].strip() for line in lines[1:]) == 2 * str(ROWS[0][6])


def test_a_pipe_gets_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(ROWS)
    assert all(str(cell or "") in line for row, line in zip(ROWS, lines[1:], strict=True) for cell in row)
