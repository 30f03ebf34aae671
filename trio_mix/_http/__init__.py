"""HTTP on Trio, as far as the rest of the library needs it. Nothing else imports httpx."""

from trio_mix._http._http import ByteStream as ByteStream
from trio_mix._http._http import Http as Http
from trio_mix._http._types import HttpClient as HttpClient
from trio_mix._http._types import HttpResponse as HttpResponse
from trio_mix._http._types import NetworkBackend as NetworkBackend
from trio_mix._http._urls import check_headers as check_headers
from trio_mix._http._urls import parse_retry_after as parse_retry_after
from trio_mix._http._urls import sanitize_url as sanitize_url

__all__ = [
    "ByteStream",
    "Http",
    "HttpClient",
    "HttpResponse",
    "NetworkBackend",
    "check_headers",
    "parse_retry_after",
    "sanitize_url",
]
