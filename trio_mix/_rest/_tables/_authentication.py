"""The table's entries for the server's credentials at the models' providers.

What it knows: what `Operation` asks for. What it must never know: how a request is made.
"""

from __future__ import annotations

from typing import Final, get_args

from trio_mix._rest._operation import (
    LATEST,
    Operation,
    body_param,
    path_param,
)
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

STORE_API_KEY: Final = Operation(
    name="authentication.store_api_key",
    operation_id="storeApiKey",
    method="POST",
    path="/api/auth/api-key",
    params=(
        body_param("api_key", wire="api_key", required=True, secret=True),
        body_param("provider", required=True, choices=get_args(KeyProvider)),
    ),
    result=CredentialsResult,
    answers={200: "{status, message, provider}"},
    errors=(400, 500),
    retry="safe",
)
HANDLE_OAUTH_CALLBACK: Final = Operation(
    name="authentication.handle_oauth_callback",
    operation_id="handleOAuthCallback",
    method="POST",
    path="/api/auth/oauth-callback",
    params=(
        body_param("code", required=True, secret=True),
        body_param("provider", required=True),
        body_param("state", required=True, secret=True),
    ),
    result=OAuthCallbackResult,
    answers={200: "{status, message, provider, expires_in}"},
    errors=(400, 500),
    retry="unsent",  # a code works once
)
START_OAUTH_FLOW: Final = Operation(
    name="authentication.start_oauth_flow",
    operation_id="startOAuthFlow",
    method="POST",
    path="/api/auth/oauth/{provider}",
    params=(path_param("provider"),),
    result=OAuthFlow,
    answers={200: "{auth_url, message, state}"},
    errors=(400, 500),
    retry="safe",  # the flow that counts is the one whose URL the caller got: the last
)
GET_AUTH_STATUS: Final = Operation(
    name="authentication.get_auth_status",
    operation_id="getAuthStatus",
    method="GET",
    path="/api/auth/status",
    result=AuthStatus,
    answers={200: "{providers}"},
    errors=(500,),
    retry="safe",
)
VALIDATE_PREFERRED_PROVIDER: Final = Operation(
    name="authentication.validate_preferred_provider",
    operation_id="validatePreferredProvider",
    method="GET",
    path="/api/auth/validate",
    result=ProviderValidation,
    answers={200: "{valid, provider, auth_method, message}"},
    errors=(500,),
    retry="safe",
)
DELETE_CREDENTIALS: Final = Operation(
    name="authentication.delete_credentials",
    operation_id="deleteCredentials",
    method="DELETE",
    path="/api/auth/{provider}",
    params=(path_param("provider"),),
    result=CredentialsResult,
    answers={200: "{status, message, provider}"},
    errors=(400, 500),
    retry="safe",
)
GET_OAUTH_HEALTH: Final = Operation(
    name="authentication.get_oauth_health",
    aliases=("health.get_oauth_health",),
    operation_id="getOAuthHealth",
    method="GET",
    path="/health/auth",
    result=OAuthHealth,
    answers={200: "{status, providers, timestamp}"},
    errors=(500,),
    generations=LATEST,
    retry="safe",
)
REFRESH_OAUTH_TOKENS: Final = Operation(
    name="authentication.refresh_oauth_tokens",
    aliases=("internal.refresh_oauth_tokens",),
    operation_id="refreshOAuthTokens",
    method="POST",
    path="/internal/auth/refresh-tokens",
    result=TokenRefresh,
    answers={200: "{status, message}"},
    errors=(500,),
    generations=LATEST,
    retry="safe",
)
