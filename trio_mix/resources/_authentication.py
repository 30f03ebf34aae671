"""The server's credentials at the models' providers.

What it knows: the arguments of these operations. What it must never know: how a call is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._tables import _authentication as op
from trio_mix.resources._base import Resource, implements

if TYPE_CHECKING:
    from trio_mix._rest._options import RequestOptions
    from trio_mix.models import (
        AuthStatus,
        CredentialsResult,
        KeyProvider,
        OAuthCallbackResult,
        OAuthFlow,
        OAuthHealth,
        ProviderValidation,
        TokenRefresh,
    )

__all__ = ["Authentication", "Health", "Internal"]


@public("trio_mix.resources")
class Health(Resource):
    """The state of the server's logins."""

    @implements(op.GET_OAUTH_HEALTH)
    async def get_oauth_health(self, *, options: RequestOptions | None = None) -> OAuthHealth:
        """Return the state of the server's logins.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.GET_OAUTH_HEALTH, {}, options)


@public("trio_mix.resources")
class Internal(Resource):
    """What the server's own keepers need."""

    @implements(op.REFRESH_OAUTH_TOKENS)
    async def refresh_oauth_tokens(self, *, options: RequestOptions | None = None) -> TokenRefresh:
        """Make the server renew its logins.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.REFRESH_OAUTH_TOKENS, {}, options)


@public("trio_mix.resources")
class Authentication(Health, Internal):
    """The server's credentials at the models' providers."""

    @implements(op.STORE_API_KEY)
    async def store_api_key(
        self, *, api_key: str, provider: KeyProvider, options: RequestOptions | None = None
    ) -> CredentialsResult:
        """Store a provider's API key on the server.

        Args:
          api_key: the key; it is masked wherever an error would show it.
          provider: whose key it is.
          options: what differs for this call.
        """
        values = {"api_key": api_key, "provider": provider}
        return await self._core.request(op.STORE_API_KEY, values, options)

    @implements(op.HANDLE_OAUTH_CALLBACK)
    async def handle_oauth_callback(
        self, *, code: str, provider: str, state: str, options: RequestOptions | None = None
    ) -> OAuthCallbackResult:
        """Finish a login at a provider.

        Args:
          code: what the provider gave the user.
          provider: the provider.
          state: what `start_oauth_flow` gave.
          options: what differs for this call.
        """
        values = {"code": code, "provider": provider, "state": state}
        return await self._core.request(op.HANDLE_OAUTH_CALLBACK, values, options)

    @implements(op.START_OAUTH_FLOW)
    async def start_oauth_flow(
        self, *, provider: str, options: RequestOptions | None = None
    ) -> OAuthFlow:
        """Begin a login at a provider.

        Args:
          provider: the provider.
          options: what differs for this call.
        """
        return await self._core.request(op.START_OAUTH_FLOW, {"provider": provider}, options)

    @implements(op.GET_AUTH_STATUS)
    async def get_auth_status(self, *, options: RequestOptions | None = None) -> AuthStatus:
        """Return how the server is authenticated at each provider.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.GET_AUTH_STATUS, {}, options)

    @implements(op.VALIDATE_PREFERRED_PROVIDER)
    async def validate_preferred_provider(
        self, *, options: RequestOptions | None = None
    ) -> ProviderValidation:
        """Say whether the preferred provider can be used.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.VALIDATE_PREFERRED_PROVIDER, {}, options)

    @implements(op.DELETE_CREDENTIALS)
    async def delete_credentials(
        self, *, provider: str, options: RequestOptions | None = None
    ) -> CredentialsResult:
        """Delete the server's credentials at a provider.

        Args:
          provider: the provider.
          options: what differs for this call.
        """
        return await self._core.request(op.DELETE_CREDENTIALS, {"provider": provider}, options)
