"""Django's handler of WSGI requests, without what has no effect in a web process."""

from collections.abc import Callable, Iterable
from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpResponse
from django.urls import set_script_prefix
from django.utils.log import log_response


class Handler:
    """Hands requests to MIDDLEWARE, and responses to the server.

    A response that is complete is returned as a list, which granian sends at once. It would read any other iterable
    piece by piece, in further turns of its threads.

    No receiver of `request_started` has work to do: `request_slots` checks connections. All requests have the same
    addresses, so none is chosen for each, and granian opens no files for responses.
    """

    def __init__(self) -> None:
        self._serve: Any = WSGIHandler()._middleware_chain  # type: ignore[attr-defined]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = WSGIRequest(environ)
        if prefix := request.META["SCRIPT_NAME"]:
            set_script_prefix(prefix)
        response: Any = self._serve(request)
        response._resource_closers.append(request.close)
        if response.status_code >= 400:
            log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)
        cookies = [("Set-Cookie", cookie.output(header="")) for cookie in response.cookies.values()]
        status = f"{response.status_code} {response.reason_phrase}"
        start_response(status, [*response.headers._store.values(), *cookies])
        if not isinstance(response, HttpResponse):
            return response  # type: ignore[no-any-return]
        content = response.content
        response.close()
        return [content]
