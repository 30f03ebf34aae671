"""The rest of the API's operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_mix.testing._routes import Route

__all__ = ["ROUTES"]

ROUTES: tuple[Route, ...] = ()
