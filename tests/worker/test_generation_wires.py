"""Every provider through its real SDK against a local server: what is sent, what comes, what goes wrong."""

from __future__ import annotations

import base64
import io
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.provider_servers import (
    BROKEN,
    BUSY,
    DROP_AFTER,
    HANG_AFTER,
    PROXY_BROKEN,
    ProviderServer,
)
from worker.generation import download as downloads
from worker.generation import providers, service
from worker.generation.download import download
from worker.generation.errors import (
    ContentRefusedError,
    NotSetUpError,
    OutcomeUnknownError,
    ProviderBusyError,
    ProviderDeniedError,
    ProviderError,
    ProviderFailedError,
    UnsupportedError,
)
from worker.generation.provider import GenerationRequest, Provider
from worker.generation.providers import find_provider

ALL = ("replicate", "openai", "google", "stability")
AT_ONCE = ALL[1:]
BARE = GenerationRequest(
    generation_id="g-1",
    mode="imagine",
    prompt="A lamp",
    negative_prompt="",
    room_type="kitchen",
    style="",
    model=None,
    params={"seed": 7},
)


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as server:
        yield server


@pytest.fixture
def wires(server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    server.reset()
    server.hang_seconds = 0.6
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("REPLICATE", "OPENAI", "GOOGLE", "STABILITY"):
        monkeypatch.setenv(f"{name}_SECONDS", "0.3" if name != "GOOGLE" else "0.4")
    providers.forget_providers()
    yield server
    providers.forget_providers()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "room.webp"
    Image.linear_gradient("L").convert("RGB").resize((80, 60)).save(path)
    return path


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "mask.webp"
    white = Image.new("L", (40, 30))
    white.paste(255, (0, 0, 20, 30))
    white.convert("RGB").save(path, lossless=True)
    return path


def made(provider: Provider, request: GenerationRequest, folder: Path) -> Any:
    """The whole way, as the actor goes it."""
    provider.check(request)
    prediction = provider.submit(request)
    while not prediction.is_done:
        prediction = provider.poll(request, prediction.id)
    outputs = provider.collect(request, prediction.id, folder)
    for file in outputs.files:
        with Image.open(file) as image:
            image.load()
    return outputs


@pytest.mark.parametrize("name", ALL)
class TestEvery:
    def test_prompt_in_picture_out(self, wires: ProviderServer, name: str, tmp_path: Path) -> None:
        outputs = made(find_provider(name), BARE, tmp_path)
        assert len(outputs.files) == 1
        assert outputs.files[0].read_bytes() == wires.picture
        assert outputs.model
        assert outputs.cost is None, "a price that nobody has set is not guessed"
        assert wires.calls == {name: 1}
        sent = json.dumps([str(request) for request in wires.requests])
        assert "Room: kitchen. A lamp" in sent

    def test_picture_in_picture_out(
        self, wires: ProviderServer, name: str, tmp_path: Path, room: Path
    ) -> None:
        made(find_provider(name), replace(BARE, mode="redesign", prompt="", inputs=(room,)), tmp_path)
        assert wires.calls == {name: 1}
        if name == "replicate":
            assert wires.body_of("flux-dev")["input"]["image"].startswith(f"{wires.url}/v1/files/")
        elif name == "google":
            part = wires.body_of("v1beta")["contents"][0]["parts"][0]
            data = (part.get("inlineData") or part["inline_data"])["data"]
            assert base64.urlsafe_b64decode(data) == room.read_bytes()
        else:
            body = wires.body_of("images" if name == "openai" else "v2beta")
            assert (body.get("image") or body["image[]"]) == [room.read_bytes()]

    def test_mask(self, wires: ProviderServer, name: str, tmp_path: Path, room: Path, mask: Path) -> None:
        request = replace(BARE, mode="edit", source=room, mask=mask)
        provider = find_provider(name)
        if name == "google":
            with pytest.raises(UnsupportedError, match="mask_asset_id"):
                provider.check(request)
            return
        made(provider, request, tmp_path)
        if name == "openai":
            with Image.open(io.BytesIO(wires.body_of("edits")["mask"][0])) as sent:
                assert (sent.size, sent.format) == ((80, 60), "PNG")
                assert sent.getpixel((10, 10))[3] == 0  # type: ignore[index]
                assert sent.getpixel((70, 10))[3] == 255  # type: ignore[index]
        elif name == "stability":
            assert wires.body_of("inpaint")["mask"] == [mask.read_bytes()]
        else:
            assert wires.body_of("flux-fill-dev")["input"]["mask"]

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"params": {"seed": 1, "scheduler": "slow", "steps": 3}}, "params.scheduler"),
            ({"params": {"seed": 1, "width": 123, "height": 77}}, "params.width"),
            ({"params": {"seed": 1, "width": 1024}}, "params.width"),
            ({"model": "dream-9"}, "dream-9"),
        ],
    )
    def test_what_it_does_not_have_is_refused_by_name_and_unpaid(
        self, wires: ProviderServer, name: str, change: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(UnsupportedError, match=named) as info:
            find_provider(name).check(replace(BARE, **change))
        assert not info.value.retryable
        assert wires.requests == []

    def test_throttled(self, wires: ProviderServer, name: str) -> None:
        body = BUSY[2]
        if name == "google":
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x",
                              "details": [{"@type": kind, "retryDelay": "2s"}]}}  # fmt: skip
        wires.script = [(429, BUSY[1], body)]
        with pytest.raises(ProviderBusyError) as info:
            find_provider(name).submit(BARE)
        assert info.value.retry_after == 2
        assert len([r for r in wires.requests if "files" not in r[0]]) == 1, "retries are the queue's"
        assert wires.calls == {}

    def test_out_of_order_before_acceptance(self, wires: ProviderServer, name: str) -> None:
        status, headers, body = BROKEN
        if name == "google":
            body = {"error": {"code": 500, "status": "INTERNAL", "message": "x"}}
        wires.script = [(status, headers, body)]
        # Who can be asked is asked whether that is so.
        with pytest.raises(ProviderDeniedError if name == "replicate" else ProviderBusyError):
            find_provider(name).submit(BARE)
        assert wires.calls == {}

    def test_nobody_listens(self, wires: ProviderServer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("REPLICATE_BASE_URL", "OPENAI_BASE_URL", "GEMINI_BASE_URL", "STABILITY_BASE_URL"):
            monkeypatch.setenv(variable, "http://127.0.0.1:9")
        with pytest.raises(ProviderBusyError):
            find_provider(name).submit(BARE)

    @pytest.mark.parametrize(
        "step", [DROP_AFTER, HANG_AFTER, {"answer": PROXY_BROKEN}, PROXY_BROKEN], ids=str
    )
    def test_lost_after_acceptance_is_never_sent_again(
        self, wires: ProviderServer, name: str, step: Any, tmp_path: Path
    ) -> None:
        wires.script = [step]
        provider = find_provider(name)
        if name == "replicate":
            # It can be asked: nothing was lost but the answer.
            with pytest.raises(ProviderError) as info:
                provider.submit(BARE)
            doubt = ProviderBusyError | ProviderDeniedError | ProviderFailedError
            assert not isinstance(info.value, doubt), "it would be paid again"
            assert {one.id for one in provider.find(BARE, 1)} == set(wires.predictions)
        else:
            with pytest.raises(OutcomeUnknownError):
                provider.submit(BARE)
            with pytest.raises(OutcomeUnknownError):
                provider.find(BARE, 1)
        assert wires.calls == ({} if step is PROXY_BROKEN else {name: 1})

    def test_content_refused(self, wires: ProviderServer, name: str) -> None:
        provider = find_provider(name)
        answers: dict[str, Any] = {
            "openai": (
                400,
                {},
                {"error": {"code": "moderation_blocked", "message": "x", "type": "user_error"}},
            ),
            "google": {"answer": (200, {}, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})},
            "stability": (403, {}, {"id": "1", "name": "content_moderation", "errors": ["flagged"]}),
        }
        if name == "replicate":
            wires.held = True
            prediction = provider.submit(BARE)
            wires.finish(wires.predictions[prediction.id], "failed", "NSFW content detected. Try again.")
            with pytest.raises(ContentRefusedError):
                provider.poll(BARE, prediction.id)
        else:
            wires.script = [answers[name]]
            with pytest.raises(ContentRefusedError):
                provider.submit(BARE)

    def test_key_refused(self, wires: ProviderServer, name: str) -> None:
        wires.script = [(401, {}, {"detail": "Unauthenticated", "error": {"code": 401, "status": "UNAUTHENTICATED",
                                                                          "message": "bad key"}})]  # fmt: skip
        with pytest.raises(NotSetUpError) as info:
            find_provider(name).submit(BARE)
        assert "secret" not in str(info.value) + info.value.detail + repr(find_provider(name))

    def test_recipe_refused(self, wires: ProviderServer, name: str) -> None:
        wires.script = [(400, {}, {"detail": "no", "error": {"code": 400, "status": "INVALID_ARGUMENT"}})]
        with pytest.raises(ProviderFailedError) as info:
            find_provider(name).submit(BARE)
        assert info.value.code == "provider_refused"

    def test_no_key(self, wires: ProviderServer, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in wires.environment:
            if variable.endswith(("_KEY", "_TOKEN")):
                monkeypatch.delenv(variable)
        with pytest.raises(NotSetUpError) as info:
            find_provider(name)
        assert "is not set" in info.value.detail

    def test_price(
        self, wires: ProviderServer, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        prices = {
            "replicate/black-forest-labs/flux-schnell": {"image": 0.003, "second": 0.001},
            "openai/gpt-image-2": {"text_tokens": 5, "image_tokens": 8, "output_tokens": 30},
            "google/gemini-3.1-flash-image": {"input_tokens": 0.5, "output_tokens": 60},
            "stability/core": {"image": 0.03},
        }
        monkeypatch.setenv("GENERATION_PRICES", json.dumps(prices))
        expected = {"replicate": 0.0045, "openai": 0.03034, "google": 0.07745, "stability": 0.03}
        assert made(find_provider(name), BARE, tmp_path).cost == pytest.approx(expected[name])


@pytest.mark.parametrize("name", AT_ONCE)
@pytest.mark.parametrize("answer", [b"", b"{}"], ids=["empty", "other"])
def test_an_answer_without_a_picture(wires: ProviderServer, name: str, answer: bytes) -> None:
    wires.script = [{"answer": (200, {"content-type": "application/json"}, answer)}]
    provider = find_provider(name)
    if name == "stability" and answer:
        # Any bytes are a picture by claim; the worker's own check decides.
        assert provider.submit(BARE).is_done
    else:
        with pytest.raises(ProviderFailedError) as info:
            provider.submit(BARE)
        assert info.value.code in {"no_output", "outcome_unknown"}
    assert wires.calls == {name: 1}


class TestReplicate:
    def test_what_is_sent(
        self, wires: ProviderServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("REPLICATE_WEBHOOK_URL", "https://x.test/hook")
        request = replace(BARE, params={"seed": 7, "count": 2, "steps": 3, "width": 1536, "height": 1024})
        assert len(made(find_provider("replicate"), request, tmp_path).files) == 2
        path, headers, body = wires.requests[0]
        assert path == "/v1/models/black-forest-labs/flux-schnell/predictions"
        assert headers["authorization"] == "Bearer r8_secret"
        assert body == {
            "input": {
                "prompt": "Room: kitchen. A lamp",
                "output_format": "png",
                "seed": 7,
                "num_outputs": 2,
                "num_inference_steps": 3,
                "aspect_ratio": "3:2",
            },
            "webhook": "https://x.test/hook",
            "webhook_events_filter": ["completed"],
        }

    def test_a_model_by_version(self, wires: ProviderServer, tmp_path: Path, room: Path) -> None:
        request = replace(
            BARE,
            model="stability-ai/sdxl",
            negative_prompt="people",
            source=room,
            params={"seed": 1, "width": 512, "height": 512, "strength": 0.4, "scheduler": "K_EULER"},
        )
        made(find_provider("replicate"), request, tmp_path)
        body = (
            wires.body_of("predictions?")
            if False
            else next(b for p, _, b in wires.requests if p == "/v1/predictions")
        )
        assert len(body["version"]) == 64
        assert body["input"]["negative_prompt"] == "people"
        assert (body["input"]["prompt_strength"], body["input"]["scheduler"]) == (0.4, "K_EULER")

    def test_progress_and_the_end(self, wires: ProviderServer) -> None:
        wires.polls_needed = 1
        provider = find_provider("replicate")
        prediction = provider.submit(BARE)
        assert not prediction.is_done
        assert provider.poll(BARE, prediction.id).progress == 40
        assert provider.poll(BARE, prediction.id).is_done
        with pytest.raises(ProviderFailedError) as info:
            provider.poll(BARE, "unknown")
        assert info.value.code == "prediction_unknown"
        provider.cancel(prediction.id)
        assert wires.canceled == [prediction.id]

    @pytest.mark.parametrize("status", ["canceled", "aborted"])
    def test_stopped_by_the_provider(self, wires: ProviderServer, status: str) -> None:
        wires.held = True
        provider = find_provider("replicate")
        prediction = provider.submit(BARE)
        wires.finish(wires.predictions[prediction.id], status)
        with pytest.raises(ProviderFailedError) as info:
            provider.poll(BARE, prediction.id)
        assert (info.value.code, info.value.is_retryable) == ("canceled_by_provider", True)

    def test_lost_and_not_to_be_found(self, wires: ProviderServer) -> None:
        wires.script, wires.list_is_empty = [DROP_AFTER], True
        provider = find_provider("replicate")
        with pytest.raises(ProviderError) as info:
            provider.submit(BARE)
        assert not isinstance(info.value, ProviderBusyError | ProviderFailedError)
        assert provider.find(BARE, 1) == []

    def test_an_error_that_is_not_true(self, wires: ProviderServer) -> None:
        wires.script = [{"answer": BROKEN}]
        provider = find_provider("replicate")
        with pytest.raises(ProviderDeniedError):
            provider.submit(BARE)
        assert [one.id for one in provider.find(BARE, 1)] == [*wires.predictions]

    def test_all_that_it_may_be(self, wires: ProviderServer) -> None:
        provider = find_provider("replicate")
        made = [provider.submit(BARE).id for _ in range(2)]
        # One of anybody, with a status that the SDK does not know.
        wires.finish(wires.predictions[made[0]], "aborted")
        assert [one.id for one in provider.find(BARE, 1)] == made[::-1]
        assert provider.find(replace(BARE, params={"seed": 8}), 1) == []

    @pytest.mark.parametrize(
        ("output", "code"),
        [
            ("gone", "output_gone"),
            ("foreign", "output_not_trusted"),
            ("private", "output_not_trusted"),
            ("redirect", "output_not_trusted"),
            ("huge", "output_too_large"),
        ],
    )
    def test_outputs_that_are_not_fetched(
        self, wires: ProviderServer, output: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "BYTES_MAX", 100_000)
        wires.output = output
        with pytest.raises(ProviderFailedError) as info:
            made(find_provider("replicate"), BARE, tmp_path)
        assert info.value.code == code


class TestDownload:
    @pytest.mark.parametrize(
        "url",
        [
            "http://replicate.delivery/x",
            "https://replicate.delivery:8443/x",
            "https://replicate.delivery.evil.example/x",
            "https://evilreplicate.delivery/x",
            "https://user@replicate.delivery/x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "data:image/png;base64,AAAA",
            "https://replicate.delivery:port/x",
            "",
        ],
    )
    def test_not_theirs(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(ProviderFailedError) as info:
            download(url, tmp_path / "x", hosts=("replicate.delivery", ".replicate.delivery"))
        assert info.value.code == "output_not_trusted"

    @pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0"])
    def test_their_name_at_an_inner_address(
        self, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda *_, **__: [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", (address, 443))],
        )
        with pytest.raises(ProviderFailedError):
            download("https://replicate.delivery/x", tmp_path / "x", hosts=("replicate.delivery",))


def test_sdk_is_not_installed(wires: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "worker.generation.providers.replicate", raising=False)
    monkeypatch.setitem(sys.modules, "replicate.client", None)
    with pytest.raises(NotSetUpError) as info:
        find_provider("replicate")
    assert "imageledger[replicate]" in info.value.detail


@pytest.mark.parametrize(
    "prices",
    [
        "{",
        "[]",
        '{"stability/core": 3}',
        '{"stability/core": {"image": "x"}}',
        '{"stability/core": {"image": -1}}',
        '{"stability/core": {"image": NaN}}',
        '{"stability/core": {"image": 1e400}}',
    ],
)
def test_malformed_prices_cost_nothing(
    wires: ProviderServer, prices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENERATION_PRICES", prices)
    with pytest.raises(NotSetUpError):
        find_provider("stability")


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0, 1e9])
def test_a_cost_that_cannot_be_is_not_known(
    wires: ProviderServer, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was used is the provider's word, and the picture is paid."""
    monkeypatch.setenv("GENERATION_PRICES", '{"replicate/m": {"second": 0.5}}')
    assert service.Environment("replicate").cost("m", {"second": seconds}) is None
