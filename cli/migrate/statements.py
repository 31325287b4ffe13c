"""A SQL file as statements with their places, by PostgreSQL's own parser."""

from __future__ import annotations

from dataclasses import dataclass

from cli.errors import MigrationError
from cli.migrate.files import SqlFile


@dataclass(frozen=True)
class Statement:
    """`offset` counts characters from the start of the file to the statement's first one."""

    file: SqlFile
    offset: int
    text: str


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a character."""
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def split(file: SqlFile) -> list[Statement]:
    """The file's statements; raises MigrationError for a syntax error and for transaction control."""
    # Slow to load, and not needed when nothing changed.
    import pglast  # noqa: PLC0415
    from pglast import ast  # noqa: PLC0415
    from pglast.parser import ParseError  # noqa: PLC0415

    # In ASCII an offset in bytes is one in characters; a letter in place of any other character leaves the
    # statements' bounds as they are.
    content = "".join(character if character.isascii() else "x" for character in file.text)
    try:
        parsed = pglast.parse_sql(content)
    except ParseError as error:
        message, location = error.args
        offset = len(content.rstrip()) if location is None else int(location)
        raise failure(file, offset, message, sqlstate="42601") from error
    statements = []
    for raw in parsed:
        # To the parser a statement begins with the space and comments before it.
        begin = raw.stmt_location or 0
        end = begin + raw.stmt_len if raw.stmt_len else len(content)
        start = begin + _leading(content[begin:end])
        statement = Statement(file, start, file.text[start:end].rstrip())
        if isinstance(raw.stmt, ast.TransactionStmt):
            raise failure(
                file,
                start,
                "transaction control is not allowed here: all files are one transaction",
                statement=statement.text,
            )
        statements.append(statement)
    return statements


def _leading(text: str) -> int:
    """How many characters of white space and comments come before the statement itself."""
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
        elif text.startswith("--", position):
            newline = text.find("\n", position)
            position = len(text) if newline < 0 else newline + 1
        elif text.startswith("/*", position):
            position = _comment_end(text, position)
        else:
            break
    return position


def _comment_end(text: str, position: int) -> int:
    """Block comments nest in PostgreSQL."""
    depth = 0
    while position < len(text):
        if text.startswith("/*", position):
            depth, position = depth + 1, position + 2
        elif text.startswith("*/", position):
            depth, position = depth - 1, position + 2
            if depth == 0:
                return position
        else:
            position += 1
    return position


def failure(
    file: SqlFile,
    offset: int,
    message: str,
    *,
    sqlstate: str = "",
    statement: str = "",
    detail: str = "",
    hint: str = "",
    context: str = "",
) -> MigrationError:
    """The error of one statement: file:line:column, the line, the statement, what PostgreSQL said."""
    line, column = place(file.text, offset)
    lines = file.text.splitlines() or [""]
    shown = lines[min(line, len(lines)) - 1]
    parts = [
        f"{file.path}:{line}:{column}: {message}",
        f"  {line} | {shown}",
        " " * (len(str(line)) + 5 + column - 1) + "^",
    ]
    excerpt = statement.splitlines()
    if statement and (len(excerpt) > 1 or statement.rstrip(";") not in shown):
        parts += ["statement:", *(f"  {text}" for text in excerpt[:12])]
        if len(excerpt) > 12:
            parts.append(f"  … ({len(excerpt) - 12} more lines)")
    for label, value in (("detail", detail), ("hint", hint), ("context", context), ("sqlstate", sqlstate)):
        if value:
            parts.append(f"{label}: {value}")
    error = MigrationError("\n".join(parts), remedy="nothing was applied; mend the file and run it again")
    error.data = {
        "file": file.path,
        "line": line,
        "column": column,
        "sqlstate": sqlstate,
        "postgres_message": message,
        "detail": detail,
        "hint": hint,
        "statement": statement,
    }
    return error
