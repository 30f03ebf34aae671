"""The table's entries for what the user prefers.

What it knows: what `Operation` asks for. What it must never know: how a request is made.
"""

from __future__ import annotations

from typing import Final

from trio_mix._rest._operation import (
    UNTIL_069,
    Operation,
    body_param,
)
from trio_mix.models import Preferences, PreferencesResult, Provider

GET_PREFERENCES: Final = Operation(
    name="preferences.get",
    operation_id="getPreferences",
    method="GET",
    path="/api/preferences",
    result=PreferencesResult,
    answers={200: "{available_providers, preferences}"},
    errors=(500,),
    generations=UNTIL_069,
    retry="safe",
)
UPDATE_PREFERENCES: Final = Operation(
    name="preferences.update",
    operation_id="updatePreferences",
    method="POST",
    path="/api/preferences",
    params=(
        body_param("preferred_provider", wire="preferred_provider"),
        body_param("main_agent_model", wire="main_agent_model"),
        body_param("main_agent_max_tokens", "int", wire="main_agent_max_tokens"),
        body_param("main_agent_reasoning_effort", wire="main_agent_reasoning_effort"),
        body_param("sub_agent_model", wire="sub_agent_model"),
        body_param("sub_agent_max_tokens", "int", wire="sub_agent_max_tokens"),
        body_param("sub_agent_reasoning_effort", wire="sub_agent_reasoning_effort"),
    ),
    result=Preferences,
    answers={200: "Preferences"},
    errors=(400, 500),
    generations=UNTIL_069,
    retry="safe",
)
GET_PROVIDERS: Final = Operation(
    name="preferences.get_providers",
    operation_id="getAvailableProviders",
    method="GET",
    path="/api/preferences/providers",
    result=dict[str, Provider],
    answers={200: "{name: Provider}"},
    errors=(500,),
    generations=UNTIL_069,
    retry="safe",
)
RESET_PREFERENCES: Final = Operation(
    name="preferences.reset",
    operation_id="resetPreferences",
    method="POST",
    path="/api/preferences/reset",
    result=Preferences,
    answers={200: "Preferences"},
    errors=(500,),
    generations=UNTIL_069,
    retry="safe",
)
