"""The pool of child processes.

Whatever happens to a child costs one image, and no child outlives its parent.
"""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import images
from worker.imaging import ImageRejected, Limits, RenderAborted, RenderedImage, Renderer, VariantSpec, pool

SPECS = (VariantSpec("thumb", 64, 80), VariantSpec("detail", 300, 80))
MIB = 1024 * 1024

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "photo"
    path.write_bytes(images.make_jpeg())
    return path


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several seconds of decoding, within the limits that the header shows."""
    path = tmp_path_factory.mktemp("slow") / "photo"
    path.write_bytes(images.scan_bomb_jpeg(180, (6000, 6000)))
    return path


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    with Renderer(processes=1) as renderer:
        yield renderer


def children() -> set[int]:
    """Decoding processes whose parent is this one, alive or not yet collected."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has ended since it was listed
            found.update(map(int, (task / "children").read_text().split()))
    return {pid for pid in found if is_decoding(pid)}


def is_decoding(pid: int) -> bool:
    """A dead one that nobody has collected yet has no command line any more; other tests collect theirs."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return not command or b"worker.imaging" in command


def render(
    renderer: Renderer, source: Path, out_dir: Path, on_started: Callable[[], None] | None = None
) -> RenderedImage:
    return renderer.render(source, SPECS, Limits(), out_dir, on_started)


def signalling(sig: signal.Signals, times: int = 99) -> Callable[[], None]:
    """Sends a signal to every child while it works, the first `times` times."""
    left = [times]

    def send() -> None:
        if left[0]:
            left[0] -= 1
            for pid in children():
                os.kill(pid, sig)

    return send


def test_a_decoder_that_hangs_is_killed(good: Path, slow: Path, tmp_path: Path) -> None:
    with Renderer(processes=1, timeout_seconds=1) as renderer:
        render(renderer, good, tmp_path)
        start = time.monotonic()
        with pytest.raises(ImageRejected) as caught:
            render(renderer, slow, tmp_path)
        assert time.monotonic() - start < 5
        assert caught.value.code == "decode_timeout"
        assert render(renderer, good, tmp_path).width == 600


def test_a_decoder_without_enough_memory_fails_one_image(good: Path, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(images.raw_png((6000, 6000), 8, 6, (b"\0" + b"\x80" * 24_000) * 6000))
    with Renderer(processes=1, memory_bytes=250 * MIB) as renderer:
        render(renderer, good, tmp_path)
        with pytest.raises(ImageRejected) as caught:
            render(renderer, large, tmp_path)
        assert caught.value.code == "decode_memory"
        assert render(renderer, good, tmp_path).width == 600


@linux_only
def test_a_child_killed_from_outside_is_worth_a_retry(
    renderer: Renderer, good: Path, slow: Path, tmp_path: Path
) -> None:
    with pytest.raises(RenderAborted, match="signal 9"):
        render(renderer, slow, tmp_path, signalling(signal.SIGKILL))
    assert render(renderer, good, tmp_path).width == 600


@linux_only
def test_a_crash_is_tried_once_more_and_then_blamed_on_the_file(
    renderer: Renderer, good: Path, slow: Path, tmp_path: Path
) -> None:
    with pytest.raises(ImageRejected) as caught:
        render(renderer, slow, tmp_path, signalling(signal.SIGSEGV))
    assert caught.value.code == "decode_crashed"
    assert render(renderer, good, tmp_path, signalling(signal.SIGSEGV, times=1)).width == 600


@linux_only
def test_a_stopped_child_is_not_the_fault_of_the_file(good: Path, slow: Path, tmp_path: Path) -> None:
    with Renderer(processes=1, timeout_seconds=0.6) as renderer:
        with pytest.raises(RenderAborted, match="in time"):
            render(renderer, slow, tmp_path, signalling(signal.SIGSTOP))
        assert render(renderer, good, tmp_path).width == 600


@linux_only
def test_a_child_that_died_while_idle_is_replaced_unnoticed(
    renderer: Renderer, good: Path, tmp_path: Path
) -> None:
    render(renderer, good, tmp_path)
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    assert render(renderer, good, tmp_path).width == 600
    assert pid not in children()


@linux_only
def test_children_are_used_again_and_outlive_the_thread_that_asked(
    renderer: Renderer, good: Path, tmp_path: Path
) -> None:
    thread = threading.Thread(target=render, args=(renderer, good, tmp_path))
    thread.start()
    thread.join()
    (pid,) = children()
    time.sleep(0.2)
    assert render(renderer, good, tmp_path).width == 600
    assert children() == {pid}


@linux_only
def test_children_are_recycled(
    renderer: Renderer, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_RECYCLE_AFTER_IMAGES", 2)
    seen = set()
    for _ in range(4):
        render(renderer, good, tmp_path, lambda: seen.update(children()))
    assert len(seen) >= 2
    monkeypatch.setattr(pool, "_RECYCLE_AFTER_IMAGES", 1000)
    monkeypatch.setattr(pool, "_RECYCLE_ABOVE_BYTES", 1 * MIB)
    before: set[int] = set()
    render(renderer, good, tmp_path, lambda: before.update(children()))
    render(renderer, good, tmp_path)
    assert not before & children()


@linux_only
def test_nothing_of_our_environment_reaches_a_child(
    renderer: Renderer, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "top-secret")
    render(renderer, good, tmp_path)
    (pid,) = children()
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"top-secret" not in environment
    names = {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry}
    assert all(name in {b"LC_ALL", b"GLIBC_TUNABLES"} or name.startswith(b"MALLOC_") for name in names), names


@linux_only
def test_a_child_is_limited(good: Path, tmp_path: Path) -> None:
    with Renderer(processes=1, timeout_seconds=20, memory_bytes=700 * MIB) as renderer:
        render(renderer, good, tmp_path)
        (pid,) = children()
        limits = Path(f"/proc/{pid}/limits").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
    soft = {line[:25].strip(): line[25:].split()[0] for line in limits.splitlines()}
    assert soft["Max address space"] == str(700 * MIB)
    assert soft["Max core file size"] == "0"
    assert int(soft["Max file size"]) <= 1024 * MIB
    assert 20 <= int(soft["Max cpu time"]) <= 24
    assert "NoNewPrivs:\t1" in status


@linux_only
def test_closing_ends_the_children(good: Path, tmp_path: Path) -> None:
    with Renderer(processes=2) as renderer:
        render(renderer, good, tmp_path)
        (pid,) = children()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(RenderAborted):
        render(renderer, good, tmp_path)


@linux_only
def test_children_die_with_a_parent_that_is_killed(slow: Path, tmp_path: Path) -> None:
    """In the middle of C code that never looks at a pipe."""
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from worker.imaging import Limits, Renderer, VariantSpec

        def started():
            for task in Path("/proc/self/task").iterdir():
                print((task / "children").read_text(), end="")
            print(flush=True)

        slow, out = map(Path, sys.argv[1:])
        Renderer(1).render(slow, [VariantSpec("thumb", 64, 80)], Limits(), out, started)
        """
    )
    command = [sys.executable, "-c", script, str(slow), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 2
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            if state == "Z":  # dead; whoever adopted it has not collected it yet
                break
            time.sleep(0.02)
        else:
            assert not Path(f"/proc/{pid}").exists()


def test_an_exception_raised_into_the_caller_leaves_a_working_pool(
    renderer: Renderer, good: Path, slow: Path, tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(renderer, slow, tmp_path, interrupt)
    start = time.monotonic()
    assert render(renderer, good, tmp_path).width == 600
    assert time.monotonic() - start < 3


def test_many_threads_share_few_children(tmp_path: Path) -> None:
    sizes = [(100 + 10 * i, 80) for i in range(24)]

    def one(size: tuple[int, int]) -> tuple[int, int]:
        folder = tmp_path / str(size[0])
        folder.mkdir()
        (folder / "source").write_bytes(images.make_png(size))
        image = render(pool_of_two, folder / "source", folder)
        assert all(variant.path.stat().st_size == variant.byte_size for variant in image.variants)
        return image.width, image.height

    with Renderer(processes=2) as pool_of_two, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(one, sizes)) == sizes


def test_reading_and_writing_troubles_are_worth_a_retry(
    renderer: Renderer, good: Path, tmp_path: Path
) -> None:
    with pytest.raises(RenderAborted, match="FileNotFoundError"):
        render(renderer, tmp_path / "gone", tmp_path)
    with pytest.raises(RenderAborted, match="FileNotFoundError"):
        render(renderer, good, tmp_path / "no-such-folder")
    assert render(renderer, good, tmp_path).width == 600


@pytest.mark.parametrize(
    "specs",
    [
        (),
        (VariantSpec("../thumb", 64, 80),),
        (VariantSpec("thumb", 0, 80),),
        (VariantSpec("thumb", 64, 101),),
        (VariantSpec("thumb", 64, 80), VariantSpec("thumb", 65, 80)),
    ],
)
def test_senseless_calls_are_refused(
    renderer: Renderer, good: Path, tmp_path: Path, specs: tuple[VariantSpec, ...]
) -> None:
    with pytest.raises(ValueError, match="variant"):
        renderer.render(good, specs, Limits(), tmp_path)
