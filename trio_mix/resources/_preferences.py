"""Which provider and which models the user prefers (up to API 0.6.9).

What it knows: the arguments of these operations. What it must never know: how a call is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._tables import _preferences as op
from trio_mix.resources._base import Resource, implements

if TYPE_CHECKING:
    from trio_mix import models
    from trio_mix._rest._options import RequestOptions
    from trio_mix.models import PreferencesResult, Provider

__all__ = ["Preferences"]


@public("trio_mix.resources")
class Preferences(Resource):
    """Which provider and which models the user prefers."""

    @implements(op.GET_PREFERENCES)
    async def get(self, *, options: RequestOptions | None = None) -> PreferencesResult:
        """Return what the user prefers, and what there is to choose from.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.GET_PREFERENCES, {}, options)

    @implements(op.UPDATE_PREFERENCES)
    async def update(
        self,
        *,
        preferred_provider: str | None = None,
        main_agent_model: str | None = None,
        main_agent_max_tokens: int | None = None,
        main_agent_reasoning_effort: str | None = None,
        sub_agent_model: str | None = None,
        sub_agent_max_tokens: int | None = None,
        sub_agent_reasoning_effort: str | None = None,
        options: RequestOptions | None = None,
    ) -> models.Preferences:
        """Change what is given, and leave the rest.

        Args:
          preferred_provider: the provider.
          main_agent_model: the model of the main agent.
          main_agent_max_tokens: how many tokens the main agent may answer with.
          main_agent_reasoning_effort: how much the main agent may reason.
          sub_agent_model: the model of sub-agents.
          sub_agent_max_tokens: how many tokens a sub-agent may answer with.
          sub_agent_reasoning_effort: how much a sub-agent may reason.
          options: what differs for this call.
        """
        values = {
            "preferred_provider": preferred_provider,
            "main_agent_model": main_agent_model,
            "main_agent_max_tokens": main_agent_max_tokens,
            "main_agent_reasoning_effort": main_agent_reasoning_effort,
            "sub_agent_model": sub_agent_model,
            "sub_agent_max_tokens": sub_agent_max_tokens,
            "sub_agent_reasoning_effort": sub_agent_reasoning_effort,
        }
        return await self._core.request(op.UPDATE_PREFERENCES, values, options)

    @implements(op.GET_PROVIDERS)
    async def get_providers(self, *, options: RequestOptions | None = None) -> dict[str, Provider]:
        """Return the providers that there are, by their short names.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.GET_PROVIDERS, {}, options)

    @implements(op.RESET_PREFERENCES)
    async def reset(self, *, options: RequestOptions | None = None) -> models.Preferences:
        """Set everything back to the server's defaults.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.RESET_PREFERENCES, {}, options)
