"""Counts what zlib inflates."""

import zlib
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass
class Inflated:
    """The number of bytes that zlib returned: in total, and at most in one call."""

    total: int = 0
    most: int = 0


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> Inflated:
    counts, real = Inflated(), zlib.decompressobj

    class Counting:
        def __init__(self, *arguments: Any) -> None:
            self._inner = real(*arguments)

        def decompress(self, *arguments: Any) -> bytes:
            data: bytes = self._inner.decompress(*arguments)
            counts.total += len(data)
            counts.most = max(counts.most, len(data))
            return data

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    return counts
