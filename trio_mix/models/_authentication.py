"""Models of the server's credentials at the models' providers."""

from collections.abc import Mapping
from datetime import datetime

import attrs

from trio_mix._public import public
from trio_mix._record import Record


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CredentialsResult(Record):
    """The result of storing or deleting a provider's credentials."""

    status: str | None = None
    """The server's status, as ``success``."""
    message: str | None = None
    """The server's text."""
    provider: str | None = None
    """The provider."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class OAuthFlow(Record):
    """A started login at a provider: the user opens the URL and brings back the code."""

    auth_url: str | None = None
    """The URL that the user opens."""
    state: str | None = None
    """The ``state`` that `handle_oauth_callback` takes along with the code."""
    message: str | None = None
    """The server's text."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class OAuthCallbackResult(Record):
    """The result of finishing a login."""

    status: str | None = None
    """The server's status."""
    message: str | None = None
    """The server's text."""
    provider: str | None = None
    """The provider."""
    expires_in: int | None = None
    """How long the login is valid, in seconds."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ProviderAuth(Record):
    """How the server is authenticated at one provider."""

    auth_method: str | None = None
    """``oauth``, ``api_key`` or ``none``."""
    authenticated: bool | None = None
    """Whether it can be used."""
    display_name: str | None = None
    """The provider's name, to be shown."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class AuthStatus(Record):
    """How the server is authenticated at each provider."""

    providers: Mapping[str, ProviderAuth] | None = attrs.field(default=None, hash=False)
    """By the provider's short name."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ProviderValidation(Record):
    """Whether the preferred provider can be used."""

    valid: bool | None = None
    """Whether it can."""
    provider: str | None = None
    """The provider."""
    auth_method: str | None = None
    """``oauth``, ``api_key`` or ``none``."""
    message: str | None = None
    """The server's text."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ProviderOAuthHealth(Record):
    """The state of one provider's login."""

    provider: str
    """The provider."""
    status: str
    """``active``, ``expired``, ``expired_no_refresh``, ``error`` or ``not_found``."""
    error: str | None = None
    """What went wrong."""
    expires_at: datetime | None = None
    """When the login ends."""
    expires_in: str | None = None
    """The time until then, to be shown."""
    last_refresh: datetime | None = None
    """When it was last renewed."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class OAuthHealth(Record):
    """The state of all logins."""

    status: str
    """``healthy``, ``degraded`` or ``unhealthy``."""
    providers: Mapping[str, ProviderOAuthHealth] = attrs.field(hash=False)
    """By the provider's short name."""
    timestamp: datetime
    """When it was checked."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class TokenRefresh(Record):
    """The result of making the server renew its logins."""

    status: str | None = None
    """The server's status."""
    message: str | None = None
    """The server's text."""
