"""The server's credentials at the models' providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from trio_mix._public import public
from trio_mix._rest._operation import LATEST, RpcMethod, body_param
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
from trio_mix.resources._base import Resource, operation

if TYPE_CHECKING:
    from trio_mix._rest._options import RequestOptions


@public("trio_mix.resources")
class Health(Resource):
    """The state of the server's logins."""

    @operation(
        "GET",
        "/health/auth",
        name="authentication.get_oauth_health",
        operation_id="getOAuthHealth",
        result=OAuthHealth,
        errors=(500,),
        generations=LATEST,
        retry="safe",
    )
    async def get_oauth_health(self, *, options: RequestOptions | None = None) -> OAuthHealth:
        """Return the state of the server's logins.

        Args:
          options: what differs for this call.
        """
        return await self._call(Health.get_oauth_health, options)


@public("trio_mix.resources")
class Internal(Resource):
    """Maintenance of the server itself."""

    @operation(
        "POST",
        "/internal/auth/refresh-tokens",
        name="authentication.refresh_oauth_tokens",
        operation_id="refreshOAuthTokens",
        result=TokenRefresh,
        errors=(500,),
        generations=LATEST,
        retry="safe",
    )
    async def refresh_oauth_tokens(self, *, options: RequestOptions | None = None) -> TokenRefresh:
        """Make the server renew its logins.

        Args:
          options: what differs for this call.
        """
        return await self._call(Internal.refresh_oauth_tokens, options)


@public("trio_mix.resources")
class Authentication(Health, Internal):
    """The server's credentials at the models' providers."""

    @operation(
        "POST",
        "/api/auth/api-key",
        body_param("api_key", wire="api_key", secret=True),
        body_param("provider", choices=get_args(KeyProvider)),
        operation_id="storeApiKey",
        result=CredentialsResult,
        errors=(400, 500),
        retry="safe",
        rpc=RpcMethod("auth.apikey", {"api_key": "apiKey"}, fixed={"provider": "anthropic"}),
    )
    async def store_api_key(
        self, *, api_key: str, provider: KeyProvider, options: RequestOptions | None = None
    ) -> CredentialsResult:
        """Store a provider's API key on the server.

        Args:
          api_key: the key; it is masked in errors.
          provider: the provider that the key is for.
          options: what differs for this call.
        """
        return await self._call(
            Authentication.store_api_key, options, api_key=api_key, provider=provider
        )

    @operation(
        "POST",
        "/api/auth/oauth-callback",
        body_param("code", secret=True),
        body_param("provider"),
        body_param("state", secret=True),
        operation_id="handleOAuthCallback",
        result=OAuthCallbackResult,
        errors=(400, 500),
        retry="unsent",  # a code works once
    )
    async def handle_oauth_callback(
        self, *, code: str, provider: str, state: str, options: RequestOptions | None = None
    ) -> OAuthCallbackResult:
        """Finish a login at a provider.

        Args:
          code: the code that the provider gave the user.
          provider: the provider.
          state: the ``state`` that `start_oauth_flow` returned.
          options: what differs for this call.
        """
        return await self._call(
            Authentication.handle_oauth_callback, options, code=code, provider=provider, state=state
        )

    @operation(
        "POST",
        "/api/auth/oauth/{provider}",
        operation_id="startOAuthFlow",
        result=OAuthFlow,
        errors=(400, 500),
        retry="safe",  # the last flow counts: the one whose URL the caller got
    )
    async def start_oauth_flow(
        self, *, provider: str, options: RequestOptions | None = None
    ) -> OAuthFlow:
        """Begin a login at a provider.

        Args:
          provider: the provider.
          options: what differs for this call.
        """
        return await self._call(Authentication.start_oauth_flow, options, provider=provider)

    @operation(
        "GET",
        "/api/auth/status",
        operation_id="getAuthStatus",
        result=AuthStatus,
        errors=(500,),
        retry="safe",
    )
    async def get_auth_status(self, *, options: RequestOptions | None = None) -> AuthStatus:
        """Return how the server is authenticated at each provider.

        Args:
          options: what differs for this call.
        """
        return await self._call(Authentication.get_auth_status, options)

    @operation(
        "GET",
        "/api/auth/validate",
        operation_id="validatePreferredProvider",
        result=ProviderValidation,
        errors=(500,),
        retry="safe",
    )
    async def validate_preferred_provider(
        self, *, options: RequestOptions | None = None
    ) -> ProviderValidation:
        """Return whether the preferred provider can be used.

        Args:
          options: what differs for this call.
        """
        return await self._call(Authentication.validate_preferred_provider, options)

    @operation(
        "DELETE",
        "/api/auth/{provider}",
        operation_id="deleteCredentials",
        result=CredentialsResult,
        errors=(400, 500),
        retry="safe",
    )
    async def delete_credentials(
        self, *, provider: str, options: RequestOptions | None = None
    ) -> CredentialsResult:
        """Delete the server's credentials at a provider.

        Args:
          provider: the provider.
          options: what differs for this call.
        """
        return await self._call(Authentication.delete_credentials, options, provider=provider)
