"""Views of the API as functions, each with everything that it declares in one place."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from django.db.models import Model
from django.http.response import HttpResponseBase
from django_filters.rest_framework import FilterSet
from drf_spectacular.utils import extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from foundation.api.fields import StrictSerializer
from foundation.api.pagination import NewestFirst
from foundation.errors import CoordinatorError
from tenancy.api.tenant_view import TENANT, TenantView

Shown = type[BaseSerializer[Any]]
Function = Callable[..., Any]


def operation(
    tag: str,
    operation_id: str,
    shown: Shown | Mapping[Any, Shown],
    *,
    method: str = "POST",
    body: type[StrictSerializer] | None = None,
) -> Callable[[Function], Callable[..., HttpResponseBase]]:
    """Return a decorator that makes a function the view of one operation of a tenant.

    The function gets the `TenantView`, the names in the URL except that of the tenant, and the members of `body` by
    their sources. Its result is represented by `shown`, unless it is a response; with several statuses, it must be one.
    It declares its act and scope as methods do (`tenancy.audit.acts.declares`), and its errors with `refuses`. The
    docstring is the description in the OpenAPI document, and the name, in camel case, is that of the view.
    """

    def decorate(function: Function) -> Callable[..., HttpResponseBase]:
        @wraps(function)
        def handle(view: TenantView, request: Request, *, tenant: str, **names: Any) -> HttpResponseBase:
            if body is not None:
                names |= body.validated(request.data)
            found = function(view, **names)
            if isinstance(found, HttpResponseBase):
                return found
            assert not isinstance(shown, Mapping)  # noqa: S101 - see above
            return Response(shown(found, context={"request": request}).data)

        described = extend_schema(operation_id=operation_id, request=body, responses=shown)(handle)
        members = {"refusals": {method: getattr(function, "refusals", ())}, method.lower(): described}
        return _view(tag, function, (TenantView,), {**members, "__module__": function.__module__})

    return decorate


def refuses(*errors: type[CoordinatorError]) -> Callable[[Function], Function]:
    """Return a decorator that declares the errors of the use case of an operation, for the OpenAPI document."""

    def decorate(function: Function) -> Function:
        setattr(function, "refusals", errors)  # noqa: B010 - functions have no such attribute
        return function

    return decorate


def listing(
    tag: str,
    model: type[Model],
    shown: Shown,
    filters: type[FilterSet] | None = None,
    *,
    ordering: tuple[str, ...] | str = NewestFirst.ordering,
) -> Callable[[Function], Callable[..., HttpResponseBase]]:
    """Return a decorator that makes a function the view of a list, which is read in pages with GET.

    The function gets the `TenantView` and the names in the URL except that of the tenant, and returns the rows. The
    name, the docstring and the errors are used as by `operation`. For `ordering` see `NewestFirst`.
    """

    def decorate(function: Function) -> Callable[..., HttpResponseBase]:
        def get_queryset(view: Any) -> Any:
            return function(view, **{name: value for name, value in view.kwargs.items() if name != "tenant"})

        members = {
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "refusals": {"GET": getattr(function, "refusals", ())},
            "serializer_class": shown,
            "filterset_class": filters,
            "pagination_class": type("Pages", (NewestFirst,), {"ordering": ordering}),
            "queryset": model._default_manager.none(),
            "get_queryset": get_queryset,
        }
        return _view(tag, function, (TenantView, ListAPIView), members)

    return decorate


def _view(tag: str, function: Function, bases: tuple[type, ...], members: Mapping[str, Any]) -> Callable[..., Any]:
    made: Any = type(function.__name__.title().replace("_", ""), bases, dict(members))
    view: Callable[..., Any] = extend_schema(parameters=[TENANT], tags=[tag])(made).as_view()
    return view
