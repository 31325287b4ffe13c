"""One local server that speaks the documented wires of Replicate, OpenAI, Gemini and Stability.

It counts paid calls, and misbehaves as told: `script` holds what the next paid calls meet, `output` what Replicate's
outputs are, `list_lag` how many looks at its list find nothing yet. Nothing here was ever compared with the real
services.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import io
import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from PIL import Image

from tests.support.wire_server import LoopbackServer, WireHandler

#: What a paid call may meet: an answer of (status, headers, body), or one of these words.
DROP_AFTER = "accepted, and then the connection breaks"
HANG_AFTER = "accepted, and then no answer comes"
Answer = tuple[int, dict[str, str], Any]

BUSY: Answer = (429, {"retry-after": "2"}, {"detail": "Request was throttled.", "status": 429})
BROKEN: Answer = (500, {}, {"detail": "Internal error", "error": {"message": "no", "type": "server_error"}})
PROXY_BROKEN: Answer = (502, {}, b"<html>Bad gateway</html>")


def png(colour: tuple[int, int, int] = (200, 80, 40), size: tuple[int, int] = (64, 48)) -> bytes:
    with io.BytesIO() as out:
        Image.new("RGB", size, colour).save(out, "PNG")
        return out.getvalue()


class ProviderServer(LoopbackServer):
    """Context manager. `calls` counts paid calls by wire; `requests` holds (path, headers, body) of all."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.calls: Counter[str] = Counter()
        self.script: list[Any] = []
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.predictions: dict[str, dict[str, Any]] = {}
        self.canceled: list[str] = []
        self.output = "ok"
        self.polls_needed = 0
        self.held = False
        self.hang_seconds = 3.0
        self.picture = png()
        self.most_at_once = 0
        self.called_at: list[float] = []
        self.list_is_empty = False
        self.list_lag = 0
        self.lock = threading.Lock()

    @property
    def environment(self) -> dict[str, str]:
        """What points all four providers here."""
        return {
            "REPLICATE_API_TOKEN": "r8_secret",
            "REPLICATE_BASE_URL": self.url,
            "REPLICATE_OUTPUT_HOSTS": self.host,
            "OPENAI_API_KEY": "sk-secret",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "GEMINI_API_KEY": "AIza-secret",
            "GEMINI_BASE_URL": self.url,
            "STABILITY_API_KEY": "sk-stability-secret",
            "STABILITY_BASE_URL": self.url,
        }

    def reset(self) -> None:
        """As new, on the same address."""
        self.calls.clear()
        self.script, self.requests, self.predictions, self.canceled = [], [], {}, []
        self.output, self.polls_needed, self.held, self.list_is_empty = "ok", 0, False, False
        self.list_lag = 0
        self.most_at_once, self.called_at, self.picture = 0, [], png()

    def body_of(self, part: str) -> Any:
        """The body of the last request whose path has this part."""
        return next(body for path, _, body in reversed(self.requests) if part in path)

    def finish(self, prediction: dict[str, Any], status: str = "succeeded", error: str | None = None) -> None:
        """Ends a prediction as Replicate would."""
        count = int(prediction["input"].get("num_outputs", 1))
        root = {"foreign": "https://evil.example", "private": "https://127.0.0.1"}.get(self.output, self.url)
        outputs = [f"{root}/out/{self.output}/{prediction['id']}/{n}.png" for n in range(count)]
        prediction |= {
            "status": status,
            "error": error,
            "output": outputs if status == "succeeded" else None,
            "completed_at": _now(),
            "metrics": {"predict_time": 1.5},
        }


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class _Handler(WireHandler):
    @property
    def wires(self) -> ProviderServer:
        return self.server.owner  # type: ignore[attr-defined,no-any-return]

    def do_GET(self) -> None:  # noqa: N802 - http.server's own
        self._serve(None)

    def do_POST(self) -> None:  # noqa: N802
        raw = self.body()
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/"):
            head = f"Content-Type: {kind}\r\n\r\n".encode()
            message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + raw)
            body: Any = {}
            for part in message.iter_parts():
                name = part.get_param("name", header="content-disposition")
                data = part.get_payload(decode=True)
                body.setdefault(str(name), []).append(data if part.get_filename() else data.decode())  # type: ignore[union-attr]
        else:
            body = json.loads(raw) if raw else None
        self._serve(body)

    def _serve(self, body: Any) -> None:
        self.wires.requests.append((self.path, self.names(), body))
        path = self.path.split("?")[0]
        if self.command == "POST" and path.endswith("/predictions"):
            self._paid("replicate", lambda: (201, {}, self._create(body)))
        elif path.startswith("/v1/predictions"):
            self._replicate(path)
        elif path == "/v1/files":
            self.say(201, {}, _file(self.wires.url, len(str(body))))
        elif path.startswith("/out/"):
            self._output(path)
        elif path.startswith("/v1/images/"):
            self._paid("openai", lambda: (200, {}, _openai(self.wires.picture, body)))
        elif path.startswith("/v1beta/"):
            self._paid("google", lambda: (200, {}, _gemini(self.wires.picture)))
        elif path.startswith("/v2beta/"):
            self._paid("stability", lambda: (200, {"finish-reason": "SUCCESS"}, self.wires.picture))
        else:
            self.say(404, {}, {"detail": "not found"})

    def _paid(self, wire: str, make: Any) -> None:
        with self.wires.lock:
            step = self.wires.script.pop(0) if self.wires.script else None
            if not isinstance(step, tuple):
                self.wires.calls[wire] += 1
                self.wires.called_at.append(time.time())
                answer = make()
        if isinstance(step, tuple):
            self.say(*step)
        elif step == DROP_AFTER:
            self.close_connection = True
        elif step == HANG_AFTER:
            time.sleep(self.wires.hang_seconds)
            self.close_connection = True
        elif step is None:
            self.say(*answer)
        else:  # Accepted, and an error answers.
            self.say(*step["answer"])

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        key = uuid4().hex[:26]
        prediction = {
            "id": key,
            "model": "/".join(self.path.split("/")[3:5]) if "/models/" in self.path else "stability-ai/sdxl",
            "version": body.get("version", "hidden"),
            "input": body["input"],
            "logs": "",
            "output": None,
            "error": None,
            "status": "starting",
            "created_at": _now(),
            "webhook": body.get("webhook"),
            "urls": {
                "get": f"{self.wires.url}/v1/predictions/{key}",
                "cancel": f"{self.wires.url}/v1/predictions/{key}/cancel",
            },
            "polls": 0,
        }
        self.wires.predictions[key] = prediction
        running = [p for p in self.wires.predictions.values() if p["status"] in {"starting", "processing"}]
        self.wires.most_at_once = max(self.wires.most_at_once, len(running))
        return dict(prediction)

    def _replicate(self, path: str) -> None:
        parts = path.split("/")
        with self.wires.lock:
            if len(parts) == 3:
                is_empty = self.wires.list_is_empty or self.wires.list_lag > 0
                self.wires.list_lag -= 1
                found = [] if is_empty else list(self.wires.predictions.values())[::-1]
                return self.say(200, {}, {"previous": None, "next": None, "results": found})
            prediction = self.wires.predictions.get(parts[3])
            if prediction is None:
                return self.say(
                    404, {}, {"detail": "The requested resource could not be found.", "status": 404}
                )
            if parts[-1] == "cancel":
                self.wires.canceled.append(parts[3])
                if prediction["status"] in {"starting", "processing"}:
                    prediction |= {"status": "canceled", "completed_at": _now()}
            elif prediction["status"] in {"starting", "processing"} and not self.wires.held:
                prediction["polls"] += 1
                prediction["status"] = "processing"
                prediction["logs"] = "Using seed: 1\n 40%|████      | 2/5 [00:01<00:01,  2.00it/s]"
                if prediction["polls"] > self.wires.polls_needed:
                    self.wires.finish(prediction)
            return self.say(200, {}, dict(prediction))

    def _output(self, path: str) -> None:
        match path.split("/")[2]:
            case "gone":
                self.say(404, {}, b"")
            case "text":
                self.say(200, {"content-type": "image/png"}, b"<html>no picture</html>")
            case "redirect":
                self.say(302, {"location": "http://127.0.0.1:1/secret"}, b"")
            case "huge":
                self.say(200, {}, b"\x89PNG" + bytes(300_000))
            case _:
                self.say(200, {"content-type": "image/png"}, self.wires.picture)


def _file(url: str, size: int) -> dict[str, Any]:
    key = uuid4().hex
    return {
        "id": key,
        "name": "picture.webp",
        "content_type": "image/webp",
        "size": size,
        "etag": key,
        "checksums": {"sha256": "0" * 64},
        "metadata": {},
        "created_at": _now(),
        "expires_at": _now(),
        "urls": {"get": f"{url}/v1/files/{key}"},
    }


def _openai(picture: bytes, body: Any) -> dict[str, Any]:
    count = body.get("n", 1)
    return {
        "created": int(time.time()),
        "data": [{"b64_json": base64.b64encode(picture).decode()}]
        * int(count[0] if isinstance(count, list) else count),
        "usage": {
            "input_tokens": 50,
            "input_tokens_details": {"text_tokens": 20, "image_tokens": 30},
            "output_tokens": 1000,
            "total_tokens": 1050,
        },
    }


def _gemini(picture: bytes) -> dict[str, Any]:
    data = {"mimeType": "image/png", "data": base64.b64encode(picture).decode()}
    return {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"inlineData": data}]},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 1290, "totalTokenCount": 1390},
    }
