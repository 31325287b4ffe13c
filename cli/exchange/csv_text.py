"""CSV as RFC 4180 says, read strictly and in bounded memory.

The standard library's reader accepts quotes in the middle of a cell and reads on for ever behind a quote that is never
closed; here both are errors that name row and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from cli.errors import CliError

#: Columns of the view listing_csv, in its order.
COLUMNS = (
    "sku", "status", "title", "description", "price", "currency", "quantity", "brand", "category", "condition",
    "size", "color", "attributes", "images",
)  # fmt: skip
#: Bytes of one row; a description has 20,000 characters at most, attributes 65,536 bytes.
ROW_BYTES_MAX = 1 << 20
#: Problems that are told at once.
PROBLEMS_MAX = 50

_MUST_QUOTE = re.compile('[",\r\n]')
_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|$)')
# As private.csv_cell: what a spreadsheet would run, and PostgREST's word for null.
_RUNS = re.compile(r"'*(?:[-=+@\t\r\n＝＋－＠]|NULL\Z)")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a cell or a row. `line` counts rows as a spreadsheet does: the header is 1."""

    line: int
    column: str
    value: str
    rule: str
    message: str

    def as_json(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


class CsvError(CliError):
    """The file was refused; nothing was imported."""

    code = "csv_invalid"
    exit_code = 7

    def __init__(self, problems: list[Problem], *, more: bool = False) -> None:
        shown = "\n".join(
            f"  row {p.line}, column {p.column or '?'}, value {p.value!r}: {p.message} ({p.rule})"
            for p in problems
        )
        many = f"{len(problems)} problems" if len(problems) != 1 else "1 problem"
        super().__init__(
            f"nothing was imported; {'the first ' if more else ''}{many}:\n{shown}",
            remedy="correct the file and import all of it again; rows count as in a spreadsheet, the header is row 1",
        )
        self.data = {"problems": [p.as_json() for p in problems], "has_more_problems": more}


def line(cells: Iterable[str | None]) -> str:
    """A row of RFC 4180, ended by CR LF; quoted only where it must be. The same bytes as private.csv_line."""
    return (
        ",".join(
            ('"' + cell.replace('"', '""') + '"' if _MUST_QUOTE.search(cell) else cell) if cell else ""
            for cell in cells
        )
        + "\r\n"
    )


def harmless(cell: str) -> str:
    """A cell that no spreadsheet runs: with an apostrophe in front where it would."""
    return "'" + cell if _RUNS.match(cell) else cell


class CsvFile:
    """A CSV file: `header`, then `rows()`, once. Problems are gathered; `finish` raises them.

    Rows answer a cell for each column of the header, in its order: None for the word NULL, which leaves a column as
    it is. Raises CsvError at once for what makes the rest unreadable.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._line = 0
        self._skipped: list[int] = []
        self.problems: list[Problem] = []
        self.bytes_read = 0
        self.header = self._read_header()

    def rows(self) -> Iterator[list[str | None]]:
        width = len(self.header)
        while (record := self._next_record()) is not None:
            if not record:
                self._skipped.append(self._line)  # An empty line, as spreadsheets leave them at the end.
                continue
            cells = self._split(record)
            if cells is None:
                pass
            elif len(cells) != width:
                self._add(
                    "", record[:100], "row_has_all_cells", f"has {len(cells)} cells, the header {width}"
                )
            elif "\0" in record:
                at = next(i for i, cell in enumerate(cells) if "\0" in cell)
                self._add(self.header[at], cells[at][:100], "no_nul", "holds a NUL character")
            else:
                yield [None if cell == "NULL" else cell for cell in cells]
                continue
            self._skipped.append(self._line)
            if self.has_enough:
                return

    def line_of(self, nth: int) -> int:
        """The row of the file that `rows` answered as its nth (the first is 2, as the database counts)."""
        for skipped in self._skipped:
            if skipped > nth:
                break
            nth += 1
        return nth

    def finish(self, found: list[Problem] | None = None, *, more: bool = False) -> None:
        """Raise CsvError when reading, or the database, has found anything."""
        every = sorted([*self.problems, *(found or [])], key=lambda p: p.line)
        if every:
            raise CsvError(every[:PROBLEMS_MAX], more=more or len(every) > PROBLEMS_MAX)

    @property
    def has_enough(self) -> bool:
        """So many problems that reading on tells nobody more."""
        return len(self.problems) > PROBLEMS_MAX

    def _read_header(self) -> list[str]:
        record = self._next_record()
        if not record:
            self._stop("", "", "file_has_a_header", "the file is empty: its first row names the columns")
        cells = self._split(record)
        if cells is None:
            raise CsvError(self.problems)
        names = [cell.strip() for cell in cells]
        if len(names) == 1 and (other := next((c for c in ";\t|" if c in names[0]), None)):
            self._stop(names[0], names[0], "cells_end_with_a_comma", f"the file is separated by {other!r}")
        seen: dict[str, int] = {}
        for n, name in enumerate(names, 1):
            if name not in COLUMNS:
                self._add(name[:100], name[:100], "column_is_known", f"is none of {', '.join(COLUMNS)}")
            elif name in seen:
                self._add(name, name, "column_is_named_once", f"is column {seen[name]} and column {n}")
            seen.setdefault(name, n)
            if self.has_enough:
                break
        if not self.problems and "sku" not in names:
            self._add("sku", "", "sku_is_given", "is needed: it says which listing a row is about")
        self.finish()
        return names

    def _next_record(self) -> str | None:
        """Physical lines until all quotes are closed; None at the end."""
        data = b""
        quotes = 0
        self._line += 1
        while True:
            part = self._file.readline(ROW_BYTES_MAX + 1)
            if self._line == 1 and not data:
                if part.startswith(_UTF16):
                    self._stop("", "", "text_is_utf8", "the file is UTF-16: save it as CSV UTF-8")
                part = part.removeprefix(_BOM)
            data += part
            self.bytes_read += len(part)
            quotes += part.count(b'"')
            if len(data) > ROW_BYTES_MAX:
                self._stop(
                    "",
                    "",
                    "row_is_bounded",
                    f"is larger than {ROW_BYTES_MAX} bytes: is a quote never closed?",
                )
            if not part or (quotes % 2 == 0 and part.endswith(b"\n")):
                break
        if not data:
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            bad = data[error.start : error.start + 1].hex()
            self._stop(
                "",
                "",
                "text_is_utf8",
                f"byte {error.start} of the row is 0x{bad}: save the file as CSV UTF-8",
            )
        # A CR alone ends nothing, also not the file.
        return text.removesuffix("\r\n" if text.endswith("\r\n") else "\n")

    def _split(self, record: str) -> list[str] | None:
        if '"' not in record and "\r" not in record:
            return record.split(",")
        cells: list[str] = []
        at = 0
        while True:
            match = _CELL.match(record, at)
            if match is None:
                name = self.header[len(cells)] if self._line > 1 and len(cells) < len(self.header) else ""
                quoted = record[at : at + 1] == '"'
                self._add(
                    name or f"number {len(cells) + 1}",
                    record[at : at + 100],
                    "cell_is_quoted_whole",
                    "has text behind its closing quote, or the quote is never closed"
                    if quoted
                    else 'holds a " or a bare CR: quote the whole cell and double the quotes in it',
                )
                return None
            quoted_text, bare, end = match.groups()
            cells.append(bare if quoted_text is None else quoted_text.replace('""', '"'))
            at = match.end()
            if not end:
                return cells

    def _add(self, column: str, value: str, rule: str, message: str) -> None:
        self.problems.append(Problem(self._line, column, value, rule, message))

    def _stop(self, column: str, value: str, rule: str, message: str) -> NoReturn:
        """What comes behind this cannot be read."""
        self._add(column, value, rule, message)
        raise CsvError(self.problems[:PROBLEMS_MAX], more=self.has_enough)
