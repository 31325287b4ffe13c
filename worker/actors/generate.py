"""generate {"generation_id", "render_id"}: from a recipe to a render with its pictures.

The provider is asked once: its id for the work is stored as soon as it is known, and a later attempt asks for
that. While the provider works, the job waits in the queue and no thread with it: a webhook brings it forward, or
the time comes to ask. Every key is deterministic and every upload overwrites, so an attempt may repeat all other
steps. Render, debit and status come in the transaction that ends the job.
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

from worker import faults, metrics
from worker.errors import LeaseLostError, ObjectMissingError, StorageError, WorkerError
from worker.generation.errors import (
    NotSetUpError,
    OutcomeUnknownError,
    ProviderBusyError,
    ProviderDeniedError,
    ProviderError,
    ProviderFailedError,
)
from worker.generation.ledger import GenerationInput, GenerationLedger, GenerationTask, render_folder
from worker.generation.provider import GenerationRequest, Outputs, Prediction, Provider
from worker.generation.providers import find_provider
from worker.imaging import ImageRejected, Limits, RenderAborted, RenderedImage, VariantSpec
from worker.jobs import Job, current_job
from worker.tools import Tools

log = logging.getLogger(__name__)

BUCKET = "public"
PICTURE_QUALITY = 90
THUMB = VariantSpec("thumb", 480, 78)
#: How long a call whose answer was lost is looked for, and how often.
LOST_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 5.0
#: Pauses before the looks that have to find nothing until a provider is believed that it made nothing.
DENIED_LOOKS = (0.0, 1.0, 3.0)
#: The pause when a provider is busy and does not say for how long.
BUSY_SECONDS = 10.0
#: A missing input is believed at this attempt: until then it may be Storage that is out of order.
MISSING_IS_FINAL_AT = 3


class _StoppedError(Exception):
    """Nobody wants the result any more; the provider may work on it."""

    def __init__(self, prediction_id: str | None) -> None:
        super().__init__("nobody wants the result any more")
        self.prediction_id = prediction_id


class _ParkedError(Exception):
    """Nothing to do for `pause` seconds."""

    def __init__(self, pause: float, *, is_withdrawn: bool = False) -> None:
        super().__init__(f"again in {pause:g} s")
        self.pause, self.is_withdrawn = pause, is_withdrawn


def poll_pause(task: GenerationTask) -> float:
    """Seconds until the provider is asked again, in case that no webhook comes: longer and longer."""
    if task.is_late:
        return min(max(task.seconds_since / 10, 30.0), 600.0)
    return min(max(task.seconds_since / 4, 0.5), 15.0)


def bare(task: GenerationTask) -> GenerationRequest:
    """The recipe without its pictures."""
    recipe = task.recipe
    return GenerationRequest(
        generation_id=task.generation_id,
        mode=recipe["mode"],
        params=recipe["params"],
        model=recipe.get("model"),
        **{name: recipe.get(name, "") for name in ("prompt", "negative_prompt", "room_type", "style")},
        max_side=task.max_side,
    )


def declare(broker: dramatiq.Broker, tools: Tools) -> None:
    """Declares the actor."""
    ledger = GenerationLedger(tools.broker.pool)

    def generate(generation_id: str, render_id: str) -> None:
        started = time.monotonic()
        job = current_job()
        faults.reach("claimed")
        with tempfile.TemporaryDirectory(prefix="imageledger-") as folder:
            state = _Generation(tools, ledger, job, generation_id, Path(folder)).run()
        if state == "nothing":
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
        """`succeeded`, `failed`, `canceled`, `gone`, `parked`, or `nothing` when there was nothing to do."""
        task = self._ledger.begin_generation(self._id, self._job)
        if task is None:
            return "nothing"
        try:
            return self._attempt(task, find_provider(task.provider))
        except ProviderFailedError as failure:
            if isinstance(failure, NotSetUpError):
                log.error(  # noqa: TRY400
                    "%s", failure.detail, extra={"action": "provider_not_set_up", **self._job.log_fields()}
                )
            return self._fail(failure.code, failure.message, is_retryable=failure.is_retryable)
        except ImageRejected as failure:
            return self._fail(failure.code, failure.message)
        except ObjectMissingError:
            if self._job.attempt < MISSING_IS_FINAL_AT:
                raise
            return self._fail("input_missing", "An input is not in storage any more. Please upload it again.")

    def _attempt(self, task: GenerationTask, provider: Provider) -> str:
        if task.is_canceled:
            return self._cancel(provider, task.prediction_id or self._look_for(task, provider))
        measured: list[dict[str, Any]] = []
        try:
            prediction, request = self._ask(task, provider)
            if not prediction.is_done:
                return self._park(poll_pause(task), progress=prediction.progress, prediction_id=prediction.id)
            if request is None and provider.collects_from_inputs:
                request, measured = self._fetch(task)
            with metrics.provider_call(provider.name, "collect"):
                outputs = provider.collect(request or bare(task), prediction.id, self._new_folder("outputs"))
            faults.reach("collected")
            result = self._store(task, outputs)
        except _ParkedError as parked:
            return self._park(parked.pause, is_withdrawn=parked.is_withdrawn)
        except _StoppedError as stopped:
            return self._cancel(provider, stopped.prediction_id)
        state = self._ledger.finish_generation(self._id, self._job, {**result, "inputs": measured})
        # Now, not at collect: an attempt that is lost in between is repeated, and its work paid once.
        metrics.PROVIDER_DOLLARS.labels(provider.name, outputs.model).inc(outputs.cost or 0)
        return state

    def _ask(self, task: GenerationTask, provider: Provider) -> tuple[Prediction, GenerationRequest | None]:
        """What the provider says: of what it has accepted, of a call whose answer was lost, or of a new one."""
        if task.prediction_id is not None:
            faults.reach("polling")
            return self._poll(task, provider, task.prediction_id), None
        request = None
        if task.was_submitted and not provider.repeats_safely:
            try:
                found = self._find(task, provider)
            except ProviderFailedError:
                raise
            except ProviderError as error:
                log.warning("%s", error, extra={"action": "find_failed", **self._job.log_fields()})
                found = None
            if found is None:
                if task.seconds_since > LOST_SECONDS:
                    raise OutcomeUnknownError
                raise _ParkedError(LOOK_AGAIN_SECONDS)
            prediction = found
        else:
            request, measured = self._fetch(task)
            provider.check(request)
            answer, seconds = self._ledger.begin_call(self._id, self._job, measured)
            if answer == "wait":
                raise _ParkedError(seconds)
            if answer != "go":
                raise _StoppedError(None)
            faults.reach("submitting")
            prediction = self._submit(task, provider, request)
            faults.reach("submitted")
        self._report(prediction.id, prediction_id=prediction.id)
        faults.reach("accepted")
        return prediction if prediction.is_done else self._poll(task, provider, prediction.id), request

    def _find(self, task: GenerationTask, provider: Provider) -> Prediction | None:
        """The one that it must be. Raises ProviderError while one is there that may be somebody else's.

        A prompt may be repeated with its seed, by anybody: what others were told is theirs, and as long as another
        one's answer is not known either, nobody gets a picture that may be the other's.
        """
        found = {one.id: one for one in provider.find(bare(task), task.seconds_since)}
        answer, prediction_id = self._ledger.tell_prediction(self._id, [*found]) if found else ("none", None)
        if answer == "unclear":
            raise ProviderError(f"{provider.name}: a lost call cannot be told from another")
        return found[prediction_id] if prediction_id is not None else None

    def _look_for(self, task: GenerationTask, provider: Provider) -> str | None:
        """The id of a call that is to be stopped and whose answer was lost, if it can be told."""
        if not task.was_submitted or provider.repeats_safely:
            return None
        try:
            found = self._find(task, provider)
        except ProviderError:
            return None
        return found.id if found else None

    def _submit(self, task: GenerationTask, provider: Provider, request: GenerationRequest) -> Prediction:
        try:
            with metrics.provider_call(provider.name, "submit"):
                return provider.submit(request)
        except ProviderDeniedError as denied:
            # An error is no proof that nothing was made; that nothing is to be found as well is, unless at once.
            for pause in DENIED_LOOKS:
                time.sleep(pause)
                found = self._find(task, provider)
                if found is not None:
                    return found
            busy: ProviderError = denied
        except ProviderBusyError as error:
            busy = error
        log.warning("%s", busy, extra={"action": "provider_busy", **self._job.log_fields()})
        raise _ParkedError(busy.retry_after or BUSY_SECONDS, is_withdrawn=True) from busy

    def _poll(self, task: GenerationTask, provider: Provider, prediction_id: str) -> Prediction:
        try:
            with metrics.provider_call(provider.name, "poll"):
                return provider.poll(bare(task), prediction_id)
        except ProviderFailedError:
            raise
        except ProviderError as error:
            # It was accepted: that nobody answers now does not end it.
            log.warning("%s", error, extra={"action": "poll_failed", **self._job.log_fields()})
            raise _ParkedError(max(error.retry_after or 0, poll_pause(task))) from error

    def _park(self, pause: float, **facts: Any) -> str:
        state = self._ledger.park(self._id, self._job, pause, **facts)
        self._job.outcome = "parked"
        return state

    def _cancel(self, provider: Provider, prediction_id: str | None) -> str:
        """Tells the provider, which may be too late: then its result is not wanted, nor counted."""
        if prediction_id is not None:
            try:
                with metrics.provider_call(provider.name, "cancel"):
                    provider.cancel(prediction_id)
            except ProviderError as error:
                log.warning("not canceled: %s", error, extra={"action": "cancel", **self._job.log_fields()})
        return self._fail("canceled", "It was canceled.")

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
        request = dataclasses.replace(
            bare(task),
            source=files.get("source"),
            mask=files.get("mask"),
            inputs=tuple(files[role] for role in ("input1", "input2") if role in files),
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
        limits = Limits.of(task.limits)
        specs = [VariantSpec("picture", task.max_side, quality), *([THUMB] if thumb else [])]
        return self._tools.renderer.render(source, specs, limits, folder)

    def _upload(self, path: str, file: Path) -> None:
        try:
            self._tools.objects.upload(BUCKET, path, file, "image/webp")
        except StorageError:
            # Refused because nobody waits for it any more? Then there is nothing to try again.
            self._report()
            raise

    def _report(self, known: str | None = None, **facts: Any) -> None:
        if self._ledger.report(self._id, self._job, **facts) != "go":
            raise _StoppedError(known)

    def _fail(self, code: str, message: str, *, is_retryable: bool = False) -> str:
        return self._ledger.fail_generation(self._id, self._job, code, message, is_retryable=is_retryable)

    def _new_folder(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _check_lease(self) -> None:
        if self._job.lost:
            raise LeaseLostError(f"job {self._job.id} was given to another worker")


def _order_clean_up(tools: Tools, job: Job, folder: str) -> None:
    """Has the pictures removed that an earlier attempt stored; the removal keeps what a row refers to.

    Not even a row may be left that knows them; where there is one, its end orders this itself.
    """
    paths = tools.objects.names_below(BUCKET, folder)
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
