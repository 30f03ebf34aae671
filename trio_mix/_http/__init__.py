"""HTTP on Trio for the rest of the library; the only package that imports httpx."""

from trio_mix._http._client import DEFAULT_MAX_BODY as DEFAULT_MAX_BODY
from trio_mix._http._client import Http as Http
from trio_mix._http._cookies import header_secrets as header_secrets
from trio_mix._http._protocols import HttpClient as HttpClient
from trio_mix._http._protocols import NetworkBackend as NetworkBackend
from trio_mix._http._protocols import RepeatableContent as RepeatableContent
from trio_mix._http._protocols import Secrets as Secrets
from trio_mix._http._proxies import environment_proxy as environment_proxy
from trio_mix._http._response import ERROR_BODY_LIMIT as ERROR_BODY_LIMIT
from trio_mix._http._response import HttpResponse as HttpResponse
from trio_mix._http._response import ReceivedResponse as ReceivedResponse
from trio_mix._http._response import ResponseStream as ResponseStream
from trio_mix._http._response import received as received
from trio_mix._http._retry_statuses import RETRY_CODES as RETRY_CODES
from trio_mix._http._retry_statuses import is_transient as is_transient
from trio_mix._http._retry_statuses import matches as matches
from trio_mix._http._sockets import TrioBackend as TrioBackend
from trio_mix._http._sockets import default_ssl_context as default_ssl_context
from trio_mix._http._urls import Target as Target
from trio_mix._http._urls import check_headers as check_headers
from trio_mix._http._urls import parse_retry_after as parse_retry_after
from trio_mix._http._urls import sanitize_url as sanitize_url
from trio_mix._http._urls import sanitize_urls_in as sanitize_urls_in
from trio_mix._http._urls import url_secrets as url_secrets
