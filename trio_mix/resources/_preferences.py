"""The user's preferences: provider and models (up to API 0.6.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix import models
from trio_mix._public import public
from trio_mix._rest._operation import UNTIL_069, body_param
from trio_mix.models import PreferencesResult, Provider
from trio_mix.resources._base import Resource, operation

if TYPE_CHECKING:
    from trio_mix._rest._options import RequestOptions


@public("trio_mix.resources")
class Preferences(Resource):
    """The user's preferences: provider and models."""

    @operation(
        "GET",
        "/api/preferences",
        operation_id="getPreferences",
        result=PreferencesResult,
        errors=(500,),
        generations=UNTIL_069,
        retry="safe",
    )
    async def get(self, *, options: RequestOptions | None = None) -> PreferencesResult:
        """Return the preferences, and the providers to choose from.

        Args:
          options: what differs for this call.
        """
        return await self._call(Preferences.get, options)

    @operation(
        "POST",
        "/api/preferences",
        body_param("preferred_provider", wire="preferred_provider"),
        body_param("main_agent_model", wire="main_agent_model"),
        body_param("main_agent_max_tokens", "int", wire="main_agent_max_tokens"),
        body_param("main_agent_reasoning_effort", wire="main_agent_reasoning_effort"),
        body_param("sub_agent_model", wire="sub_agent_model"),
        body_param("sub_agent_max_tokens", "int", wire="sub_agent_max_tokens"),
        body_param("sub_agent_reasoning_effort", wire="sub_agent_reasoning_effort"),
        operation_id="updatePreferences",
        result=models.Preferences,
        errors=(400, 500),
        generations=UNTIL_069,
        retry="safe",
    )
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
        """Change the preferences that are given, and leave the others.

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
        return await self._call(
            Preferences.update,
            options,
            preferred_provider=preferred_provider,
            main_agent_model=main_agent_model,
            main_agent_max_tokens=main_agent_max_tokens,
            main_agent_reasoning_effort=main_agent_reasoning_effort,
            sub_agent_model=sub_agent_model,
            sub_agent_max_tokens=sub_agent_max_tokens,
            sub_agent_reasoning_effort=sub_agent_reasoning_effort,
        )

    @operation(
        "GET",
        "/api/preferences/providers",
        operation_id="getAvailableProviders",
        result=dict[str, Provider],
        errors=(500,),
        generations=UNTIL_069,
        retry="safe",
    )
    async def get_providers(self, *, options: RequestOptions | None = None) -> dict[str, Provider]:
        """Return the available providers, by their short names.

        Args:
          options: what differs for this call.
        """
        return await self._call(Preferences.get_providers, options)

    @operation(
        "POST",
        "/api/preferences/reset",
        operation_id="resetPreferences",
        result=models.Preferences,
        errors=(500,),
        generations=UNTIL_069,
        retry="safe",
    )
    async def reset(self, *, options: RequestOptions | None = None) -> models.Preferences:
        """Reset all preferences to the server's defaults.

        Args:
          options: what differs for this call.
        """
        return await self._call(Preferences.reset, options)
