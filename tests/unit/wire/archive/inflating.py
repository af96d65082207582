"""Counts what zlib inflates."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass
class Inflated:
    """The number of bytes that zlib returned: in total, and at most in one call."""

    total: int = 0
    most: int = 0


class Counting:
    """A zlib decompressor that counts the inflated bytes."""

    def __init__(self, inner: Any, inflated: Inflated) -> None:
        self._inner, self._inflated = inner, inflated

    def decompress(self, *arguments: Any, **options: Any) -> bytes:
        data: bytes = self._inner.decompress(*arguments, **options)
        self._inflated.total += len(data)
        self._inflated.most = max(self._inflated.most, len(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def counting(monkeypatch: pytest.MonkeyPatch) -> Inflated:
    counts, real = Inflated(), zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda *arguments: Counting(real(*arguments), counts))
    return counts
