"""Who can generate. A new provider is one module with a class, and one line here."""

from __future__ import annotations

import threading
from importlib import import_module

from worker.generation.errors import NotSetUpError, ProviderFailedError
from worker.generation.provider import Provider
from worker.generation.providers.local import LocalProvider

#: A class, or where one is: SDKs are optional extras, imported when somebody asks for them.
PROVIDERS: dict[str, type[Provider] | str] = {
    "local": LocalProvider,
    "replicate": "worker.generation.providers.replicate:ReplicateProvider",
    "openai": "worker.generation.providers.openai:OpenAIProvider",
    "google": "worker.generation.providers.google:GoogleProvider",
    "stability": "worker.generation.providers.stability:StabilityProvider",
}


_made: dict[str, Provider] = {}
_lock = threading.Lock()


def find_provider(name: str) -> Provider:
    """The provider of this name. Raises ProviderFailedError: this worker has none, or it is not set up."""
    found = PROVIDERS.get(name)
    if found is None:
        raise ProviderFailedError("provider_unknown", f"No worker knows the provider {name}.")
    if not isinstance(found, str):
        return found()
    with _lock:
        # Connections are worth keeping; so is a picture that waits for the database to come back.
        if name not in _made:
            module, _, class_name = found.partition(":")
            try:
                _made[name] = getattr(import_module(module), class_name)()
            except ImportError as error:
                raise NotSetUpError(name, f"{error}: install the extra imageledger[{name}]") from error
        return _made[name]


def forget_providers() -> None:
    """The next ones are made anew, from the environment as it is then."""
    with _lock:
        _made.clear()
