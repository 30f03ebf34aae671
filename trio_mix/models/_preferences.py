"""Models of the user's preferences."""

from collections.abc import Mapping
from datetime import datetime

import attrs

from trio_mix._public import public
from trio_mix._record import Record


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Provider(Record):
    """A provider and its models."""

    display_name: str | None = None
    """The provider's name, to be shown."""
    models: tuple[str, ...] | None = None
    """The models' ids."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Preferences(Record):
    """The user's preferences."""

    preferred_provider: str | None = None
    """The provider."""
    main_agent_model: str | None = None
    """The model of the main agent."""
    main_agent_max_tokens: int | None = None
    """How many tokens the main agent may answer with."""
    main_agent_reasoning_effort: str | None = None
    """How much the main agent may reason."""
    sub_agent_model: str | None = None
    """The model of sub-agents."""
    sub_agent_max_tokens: int | None = None
    """How many tokens a sub-agent may answer with."""
    sub_agent_reasoning_effort: str | None = None
    """How much a sub-agent may reason."""
    created_at: datetime | None = None
    """When they were first stored."""
    updated_at: datetime | None = None
    """When they last changed."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PreferencesResult(Record):
    """The user's preferences, and the providers to choose from."""

    available_providers: Mapping[str, Provider] = attrs.field(hash=False)
    """By the provider's short name."""
    preferences: Preferences | None = None
    """``None`` if none were ever stored."""
