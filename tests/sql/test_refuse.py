"""private.refuse: PostgREST sends its message as the reason of the status line, too."""

from __future__ import annotations

import psycopg
import pytest

from tests.sql.scene import Conn


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("a plain one – with “words”, 😀", "a plain one – with “words”, 😀"),
        ("a\r\nSet-Cookie: evil=1\r\n\r\n<script>", "a Set-Cookie: evil=1 <script>"),
        ("a\tb\x1b\x7f\x85\u2028c", "a b c"),
        ("x" * 100_000, "x" * 999 + "…"),
        ("😀" * 1000, "😀" * 499 + "…"),
    ],
)
def test_a_message_is_one_short_line(db: Conn, message: str, sent: str) -> None:
    with pytest.raises(psycopg.Error) as refused:
        db.execute("select private.refuse(422, 'a_code', %s, %s)", [message, message])
    assert refused.value.diag.message_primary == sent
    assert refused.value.diag.message_detail == "a_code"
    # The hint is in the body only.
    assert refused.value.diag.message_hint == message
