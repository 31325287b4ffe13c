"""New JWT keys for the embedded stack: all parts with the new ones, or all with the old ones."""

from __future__ import annotations

from dataclasses import asdict, replace

from cli.errors import NotRunningError
from cli.stack import control
from cli.stack.control import Say
from cli.stack.home import Home, read_json, write_json
from cli.stack.keys import Keys


def rotate(home: Home, say: Say) -> None:
    """Replaces secret, anon and service_role key; a running stack is restarted with what it had.

    Raises NotRunningError when there is no stack, and what `up` raises, after the old keys were put back.
    """
    old = Keys.load(home.keys_file)
    config = control.load_config(home)
    if old is None or config is None:
        raise NotRunningError("there is no stack yet, and no keys", remedy="start it with `imageledger up`")
    fresh = Keys.generate()
    new = replace(
        old, jwt_secret=fresh.jwt_secret, anon_key=fresh.anon_key, service_role_key=fresh.service_role_key
    )
    if not control.supervisor_runs(home):
        write_json(home.keys_file, asdict(new))
        return
    options = control.UpOptions(
        worker=bool(read_json(home.wishes_file).get("worker")), db_url=config.foreign_db_url
    )
    control.down(home, say)
    write_json(home.keys_file, asdict(new))
    try:
        control.up(home, options, say)
    except BaseException:
        write_json(home.keys_file, asdict(old))
        say("the stack did not start with the new keys; the old ones are back")
        control.up(home, options, say)
        raise
