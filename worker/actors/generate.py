"""generate {"generation_id", "render_id"}: from a recipe to a render with its pictures.

The provider is asked once: its id for the work is stored as soon as it is known, and a later attempt asks for
that. Every key is deterministic and every upload overwrites, so an attempt may repeat all other steps. Render,
debit and status come in the transaction that ends the job.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import dramatiq
import httpx

from worker import faults
from worker.errors import LeaseLostError, ObjectMissingError, StorageError, WorkerError
from worker.generation.errors import OutcomeUnknownError, ProviderFailedError
from worker.generation.ledger import GenerationInput, GenerationLedger, GenerationTask, render_folder
from worker.generation.provider import GenerationRequest, Outputs, Provider
from worker.generation.providers import find_provider
from worker.imaging import ImageRejected, Limits, RenderAborted, RenderedImage, VariantSpec
from worker.jobs import Job, current_job
from worker.tools import Tools

log = logging.getLogger(__name__)

BUCKET = "public"
PICTURE_QUALITY = 90
THUMB = VariantSpec("thumb", 480, 78)
#: Pauses between looks at the provider, in seconds.
POLL_SECONDS = 0.5
#: A missing input is believed at this attempt: until then it may be Storage that is out of order.
MISSING_IS_FINAL_AT = 3


class _StoppedError(Exception):
    """Nobody wants the result any more: `canceled` or `gone`."""


def declare(broker: dramatiq.Broker, tools: Tools) -> None:
    """Declares the actor."""
    ledger = GenerationLedger(tools.broker.pool)

    def generate(generation_id: str, render_id: str) -> None:
        started = time.monotonic()
        job = current_job()
        faults.reach("claimed")
        with tempfile.TemporaryDirectory(prefix="imageledger-") as folder:
            state = _Generation(tools, ledger, job, generation_id, Path(folder)).run()
        if state != "succeeded":
            _order_clean_up(tools, job, render_folder(render_id))
        log.info(
            "generation: %s",
            state,
            extra={
                "action": "generate",
                "generation_id": generation_id,
                "state": state,
                "ms": round((time.monotonic() - started) * 1000),
                **job.log_fields(),
            },
        )

    dramatiq.actor(broker=broker, actor_name="generate", throws=(WorkerError, RenderAborted))(generate)


class _Generation:
    """One attempt at one generation."""

    def __init__(
        self, tools: Tools, ledger: GenerationLedger, job: Job, generation_id: str, folder: Path
    ) -> None:
        self._tools, self._ledger, self._job = tools, ledger, job
        self._id, self._folder = generation_id, folder

    def run(self) -> str:
        """`succeeded`, `failed`, `canceled`, `gone`, or `nothing` when there was nothing to do."""
        task = self._ledger.begin_generation(self._id, self._job)
        if task is None:
            return "nothing"
        if task.is_canceled:
            return self._fail("canceled", "It was canceled.")
        try:
            provider = find_provider(task.provider)
            request, measured = self._fetch(task)
            outputs = self._generate(task, provider, request)
            result = self._store(task, outputs)
        except _StoppedError:
            return self._fail("canceled", "It was canceled.")
        except (ProviderFailedError, ImageRejected) as failure:
            return self._fail(failure.code, failure.message)
        except ObjectMissingError:
            if self._job.attempt < MISSING_IS_FINAL_AT:
                raise
            return self._fail("input_missing", "An input is not in storage any more. Please upload it again.")
        return self._ledger.finish_generation(self._id, self._job, {**result, "inputs": measured})

    def _fetch(self, task: GenerationTask) -> tuple[GenerationRequest, list[dict[str, Any]]]:
        """The recipe with its pictures in files, decoded by the same code as uploads; and what they are."""
        files: dict[str, Path] = {}
        measured = []
        for entry in task.inputs:
            file, facts = self._fetch_one(task, entry)
            files[entry.role] = file
            measured.append(facts)
        wanted = {"imagine": 0, "compose": 2}.get(task.recipe["mode"], 1)
        if task.prediction_id is None and len(files.keys() - {"mask"}) < wanted:
            raise ProviderFailedError("input_missing", "A picture that it starts from is gone.")
        faults.reach("downloaded")
        recipe = task.recipe
        request = GenerationRequest(
            generation_id=task.generation_id,
            mode=recipe["mode"],
            params=recipe["params"],
            model=recipe.get("model"),
            **{name: recipe.get(name, "") for name in ("prompt", "negative_prompt", "room_type", "style")},
            source=files.get("source"),
            mask=files.get("mask"),
            inputs=tuple(files[role] for role in ("input1", "input2") if role in files),
            max_side=task.max_side,
        )
        return request, measured

    def _fetch_one(self, task: GenerationTask, entry: GenerationInput) -> tuple[Path, dict[str, Any]]:
        if entry.byte_size is None:
            raise ObjectMissingError(f"there is no object {entry.bucket}/{entry.path}")
        self._check_lease()
        folder = self._new_folder(entry.role)
        original = folder / "original"
        self._tools.objects.download(entry.bucket, entry.path, original, byte_size=entry.byte_size)
        image = self._render(task, original, folder, quality=95, thumb=False)
        facts = {
            "asset_id": entry.asset_id,
            "mime_type": image.mime_type,
            "byte_size": image.byte_size,
            "width": image.width,
            "height": image.height,
            "sha256": image.sha256,
        }
        return image.variants[0].path, facts

    def _generate(self, task: GenerationTask, provider: Provider, request: GenerationRequest) -> Outputs:
        prediction_id = task.prediction_id
        if prediction_id is None:
            if task.was_submitted and not provider.repeats_safely:
                raise OutcomeUnknownError
            self._report(is_submitting=True)
            faults.reach("submitting")
            prediction_id = provider.submit(request).id
            faults.reach("submitted")
        try:
            self._report(prediction_id=prediction_id)
            faults.reach("accepted")
            self._wait(task, provider, request, prediction_id)
        except _StoppedError:
            provider.cancel(prediction_id)
            raise
        outputs = provider.collect(request, prediction_id, self._new_folder("outputs"))
        faults.reach("collected")
        return outputs

    def _wait(
        self, task: GenerationTask, provider: Provider, request: GenerationRequest, prediction_id: str
    ) -> None:
        deadline = time.monotonic() + max(task.seconds_left, 0)
        while not (prediction := provider.poll(request, prediction_id)).is_done:
            if time.monotonic() > deadline:
                raise ProviderFailedError("timed_out", "This picture took too long. Try again later.")
            self._report(progress=prediction.progress)
            time.sleep(POLL_SECONDS)

    def _store(self, task: GenerationTask, outputs: Outputs) -> dict[str, Any]:
        """Verifies what came, strips it, and stores it; a file that is no picture fails the generation."""
        if not outputs.files:
            raise ProviderFailedError("no_output", "The provider made no picture.")
        rows = []
        for idx, file in enumerate(outputs.files):
            self._check_lease()
            image = self._render(
                task, file, self._new_folder(f"render_{idx}"), quality=PICTURE_QUALITY, thumb=True
            )
            by_role = {variant.role: variant for variant in image.variants}
            picture, thumb = by_role["picture"], by_role["thumb"]
            self._upload(task.picture_path(idx), picture.path)
            faults.reach(f"uploaded:{idx}")
            self._upload(task.thumb_path(idx), thumb.path)
            faults.reach(f"uploaded:{idx}_thumb")
            rows.append(
                {
                    "idx": idx,
                    "image_path": task.picture_path(idx),
                    "thumb_path": task.thumb_path(idx),
                    "width": picture.width,
                    "height": picture.height,
                    "byte_size": picture.byte_size,
                    "sha256": hashlib.sha256(picture.path.read_bytes()).hexdigest(),
                }
            )
        return {"outputs": rows, "model": outputs.model, "cost": outputs.cost}

    def _render(
        self, task: GenerationTask, source: Path, folder: Path, *, quality: int, thumb: bool
    ) -> RenderedImage:
        known = {field.name for field in dataclasses.fields(Limits)}
        limits = Limits(**{name: value for name, value in task.limits.items() if name in known})
        specs = [VariantSpec("picture", task.max_side, quality), *([THUMB] if thumb else [])]
        return self._tools.renderer.render(source, specs, limits, folder)

    def _upload(self, path: str, file: Path) -> None:
        try:
            self._tools.objects.upload(BUCKET, path, file, "image/webp")
        except StorageError:
            # Refused because nobody waits for it any more? Then there is nothing to try again.
            self._report()
            raise

    def _report(self, **facts: Any) -> None:
        answer = self._ledger.report(self._id, self._job, **facts)
        if answer != "go":
            raise _StoppedError(answer)

    def _fail(self, code: str, message: str) -> str:
        return self._ledger.fail_generation(self._id, self._job, code, message)

    def _new_folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _check_lease(self) -> None:
        if self._job.lost:
            raise LeaseLostError(f"job {self._job.id} was given to another worker")


def _order_clean_up(tools: Tools, job: Job, folder: str) -> None:
    """Has the pictures removed that this or an earlier attempt stored; the removal keeps what a row refers to."""
    try:
        paths = tools.objects.names_below(BUCKET, folder)
    except (StorageError, httpx.HTTPError) as error:
        if not job.settled:
            raise
        log.warning("left to the sweep: %s", error, extra={"action": "clean_up", **job.log_fields()})
        return
    if paths:
        tools.broker.enqueue(
            dramatiq.Message(
                queue_name="default",
                actor_name="remove_objects",
                args=(),
                kwargs={"bucket": BUCKET, "paths": paths},
                options={"owner_id": str(job.owner_id) if job.owner_id else None},
            )
        )
