"""CPU seconds per photo for five variants: this project, sharp (npm) and a plain Pillow loop, in one run.

    python -m tests.bench.bench_pixels [--folder PHOTOS] [--rounds 3] [--json]

Every side renders the same photos. User and system time are added up, process start and a warm-up are left
out; the best of the rounds counts. That the results are worth the same is shown beside it: total bytes, and
PSNR and SSIM (8 x 8 blocks) of the luma of all variants, see `quality`. Needs `npm ci` in this folder.
"""

import argparse
import array
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageMath, ImageOps, ImageStat
from pillow_heif.as_plugin import register_heif_opener

from worker.imaging import Limits, VariantSpec
from worker.imaging.process import ChildProcess
from worker.imaging.protocol import encode_request
from worker.imaging.samples import as_stored, exif_block, scene

_SIDES = {"thumb": 160, "card": 480, "preview": 960, "detail": 1600, "detail_max": 2560}
SPECS = tuple(VariantSpec(role, side, 80) for role, side in _SIDES.items())
# Our scaling filter keeps more detail than Lanczos: this is the setting that gives files of the same size.
OUR_SPECS = tuple(VariantSpec(role, side, 78) for role, side in _SIDES.items())
SIZE = (4000, 3000)
LIMITS = Limits(max_bytes=200_000_000, max_pixels=100_000_000)
_HERE = Path(__file__).parent

# Renders the photos below a folder, answers with CPU seconds; None when it cannot read them.
Peer = Callable[[Sequence[Path], Path], float | None]


@dataclass(frozen=True, slots=True)
class Result:
    """One peer on the photos of one type. Sizes and quality are of all variants of all photos."""

    kind: str
    peer: str
    photos: int
    cpu_seconds_per_photo: float
    ratio_to_sharp: float | None
    variant_bytes: int
    psnr: float
    ssim: float


def with_imageledger(photos: Sequence[Path], out_dir: Path) -> float | None:
    """CPU of a child of the renderer's pool, as the kernel counts it, and of this side of the pipe."""
    child = ChildProcess(os.getpid(), memory_bytes=1536 * 1024 * 1024)

    def render(photo: Path) -> float:
        folder = out_dir / photo.name
        folder.mkdir(parents=True, exist_ok=True)
        reply = child.ask(encode_request(photo, OUR_SPECS, LIMITS, folder, 120), time.monotonic() + 120)
        if "image" not in reply:
            sys.exit(f"{photo}: {reply}")
        return float(reply["cpu"])

    try:
        start = render(photos[0]) + _cpu_seconds()
        return max(render(photo) for photo in photos) + _cpu_seconds() - start
    finally:
        child.kill()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def with_pillow(photos: Sequence[Path], out_dir: Path) -> float | None:
    """What most code does: open, turn, and for every size copy, shrink, save."""

    def render(photo: Path) -> None:
        folder = out_dir / photo.name
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as opened:
            image = ImageOps.exif_transpose(opened)
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        for spec in SPECS:
            variant = image.copy()
            variant.thumbnail((spec.max_side, spec.max_side), Image.Resampling.LANCZOS, reducing_gap=None)
            variant.save(folder / f"{spec.role}.webp", "WEBP", quality=spec.quality)

    render(photos[0])
    before = _cpu_seconds()
    for photo in photos:
        render(photo)
    return _cpu_seconds() - before


def with_sharp(photos: Sequence[Path], out_dir: Path, *, pyramid: bool = False) -> float | None:
    """sharp's CPU, as it measures itself."""
    request = {
        "photos": [str(photo) for photo in photos],
        "specs": [asdict(spec) for spec in SPECS],
        "out_dir": str(out_dir),
        "pyramid": pyramid,
    }
    command = ["node", str(_HERE / "pixels_sharp.mjs")]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"sharp did not run; is `npm ci` done in {_HERE}?\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer.get("cpu_seconds")


PEERS: dict[str, Peer] = {
    "imageledger": with_imageledger,
    "sharp": with_sharp,
    "sharp, one decode by hand": lambda photos, out_dir: with_sharp(photos, out_dir, pyramid=True),
    "pillow loop": with_pillow,
}


def quality(photo: Path, folder: Path) -> list[tuple[float, float]]:
    """(PSNR in dB, SSIM 0..1) of every variant: how much of the photo is there when it is enlarged again.

    Enlarged to twice its size (at most the photo's) and compared with the photo averaged down to that size. A
    reference made with any one scaling filter would only tell who uses the same filter.
    """
    with Image.open(photo) as opened:
        original = ImageOps.exif_transpose(opened)
    luma = _luma(original.convert("RGBA" if original.has_transparency_data else "RGB"))
    found = []
    for spec in SPECS:
        with Image.open(folder / f"{spec.role}.webp") as opened:
            variant = _luma(opened)
        size = (min(luma.width, 2 * variant.width), min(luma.height, 2 * variant.height))
        reference = luma if luma.size == size else luma.resize(size, Image.Resampling.BOX)
        found.append(compare(variant.resize(size, Image.Resampling.BICUBIC), reference))
    return found


def compare(image: Image.Image, reference: Image.Image) -> tuple[float, float]:
    """(PSNR in dB, SSIM) of two L images of one size."""
    stat = ImageStat.Stat(ImageChops.difference(image, reference))
    error = stat.sum2[0] / stat.count[0]
    psnr = 99.0 if error == 0 else 10 * math.log10(255**2 / error)
    x, y = image.convert("F"), reference.convert("F")
    means = {"x": x.reduce(8), "y": y.reduce(8)}
    for name, (a, b) in {"xx": (x, x), "yy": (y, y), "xy": (x, y)}.items():
        means[name] = ImageMath.lambda_eval(lambda v: v["a"] * v["b"], a=a, b=b).reduce(8)

    def formula(v: dict[str, Any]) -> Any:
        mean_xy, squares = v["x"] * v["y"], v["x"] * v["x"] + v["y"] * v["y"]
        structure = ((v["xy"] - mean_xy) * 2 + 58.5225) / (v["xx"] + v["yy"] - squares + 58.5225)
        return structure * (mean_xy * 2 + 6.5025) / (squares + 6.5025)

    blocks = array.array("f", ImageMath.lambda_eval(formula, **means).tobytes())
    return psnr, sum(blocks) / len(blocks)


def _luma(image: Image.Image) -> Image.Image:
    """Luma as seen on gray, so that hidden pixels do not count."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (128, 128, 128, 255)), image)
    return image.convert("L")


def run(kinds: dict[str, list[Path]], rounds: int, work: Path) -> list[Result]:
    """All peers on all photos, in turns, so that what else the machine does hits everyone."""
    results = []
    for kind, photos in kinds.items():
        best: dict[str, float] = {}
        for _ in range(rounds):
            for name, peer in PEERS.items():
                seconds = peer(photos, work / name)
                if seconds is not None:
                    best[name] = min(seconds, best.get(name, math.inf))
        for name, seconds in best.items():
            scores = [score for photo in photos for score in quality(photo, work / name / photo.name)]
            files = [work / name / photo.name / f"{spec.role}.webp" for photo in photos for spec in SPECS]
            results.append(
                Result(
                    kind=kind,
                    peer=name,
                    photos=len(photos),
                    cpu_seconds_per_photo=seconds / len(photos),
                    ratio_to_sharp=seconds / best["sharp"] if "sharp" in best else None,
                    variant_bytes=sum(file.stat().st_size for file in files),
                    psnr=sum(psnr for psnr, _ in scores) / len(scores),
                    ssim=sum(ssim for _, ssim in scores) / len(scores),
                )
            )
    return results


def generated(folder: Path) -> dict[str, list[Path]]:
    """12-megapixel photos of each type."""
    register_heif_opener()
    jpegs: list[tuple[str, bytes]] = []
    for seed, orientation in ((11, 1), (12, 6), (13, 1)):
        stored = as_stored(scene(SIZE, seed), orientation)
        jpegs.append((f"{seed}.jpg", _saved(stored, "JPEG", quality=92, exif=exif_block(orientation))))
    one = scene(SIZE, 14)
    kinds = {
        "JPEG": jpegs,
        "PNG": [("14.png", _saved(one, "PNG", compress_level=1))],
        "WebP": [("14.webp", _saved(one, "WEBP", quality=90, method=0))],
        "HEIC": [("14.heic", _saved(one, "HEIF", quality=60, enc_params={"preset": "ultrafast"}))],
    }
    return {kind: [_written(folder / name, data) for name, data in files] for kind, files in kinds.items()}


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def in_folder(folder: Path) -> dict[str, list[Path]]:
    """One's own photos, by suffix."""
    register_heif_opener()
    kinds: dict[str, list[Path]] = {}
    names = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WebP", ".heic": "HEIC"}
    for path in sorted(folder.iterdir()):
        kind = names.get(path.suffix.lower())
        if kind is not None:
            kinds.setdefault(kind, []).append(path)
    return kinds


def table(results: Sequence[Result]) -> str:
    """The results for reading."""
    head = f"{'type':5} {'peer':26} {'CPU s/photo':>11} {'of sharp':>9}"
    lines = [f"{head} {'bytes':>10} {'PSNR':>6} {'SSIM':>7}"]
    for row in results:
        ratio = "-" if row.ratio_to_sharp is None else f"{row.ratio_to_sharp:.2f}"
        lines.append(
            f"{row.kind:5} {row.peer:26} {row.cpu_seconds_per_photo:11.3f} {ratio:>9} "
            f"{row.variant_bytes:10} {row.psnr:6.2f} {row.ssim:7.4f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="CPU seconds per photo, against peers")
    parser.add_argument("--folder", type=Path, help="your own photos instead of generated ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        kinds = in_folder(options.folder) if options.folder else generated(work)
        results = run(kinds, options.rounds, work)
    print(json.dumps([asdict(row) for row in results], indent=2) if options.json else table(results))


if __name__ == "__main__":
    main()
