"""Who can generate. A new provider is one module with a class, and one line here."""

from __future__ import annotations

from worker.generation.errors import ProviderFailedError
from worker.generation.provider import Provider
from worker.generation.providers.local import LocalProvider

PROVIDERS: dict[str, type[Provider]] = {
    LocalProvider.name: LocalProvider,
}


def find_provider(name: str) -> Provider:
    """The provider of this name. Raises ProviderFailedError when this worker has none."""
    try:
        return PROVIDERS[name]()
    except KeyError:
        raise ProviderFailedError("provider_unknown", f"No worker knows the provider {name}.") from None
