"""HTTP on Trio, as far as the rest of the library needs it. Nothing else imports httpx."""

from trio_mix._http._client import Http as Http
from trio_mix._http._client import ResponseStream as ResponseStream
from trio_mix._http._protocols import HttpClient as HttpClient
from trio_mix._http._protocols import HttpResponse as HttpResponse
from trio_mix._http._protocols import NetworkBackend as NetworkBackend
from trio_mix._http._urls import check_headers as check_headers
from trio_mix._http._urls import parse_retry_after as parse_retry_after
from trio_mix._http._urls import sanitize_url as sanitize_url

__all__ = [
    "Http",
    "HttpClient",
    "HttpResponse",
    "NetworkBackend",
    "ResponseStream",
    "check_headers",
    "parse_retry_after",
    "sanitize_url",
]
