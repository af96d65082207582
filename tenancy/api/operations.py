"""The base of every view below `/api/v1/tenants/{tenant}/`, and views as functions, each with all that it declares.

Also the handler of errors, which records denials, and what the OpenAPI document says of tokens.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar

from django.conf import settings
from django.db.models import Model
from django.http.response import HttpResponseBase
from django_filters.rest_framework import FilterSet
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from drf_standardized_errors.types import ExceptionHandlerContext
from rest_framework.generics import ListAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.status import HTTP_200_OK
from rest_framework.views import APIView

from foundation.api import problem
from foundation.api.fields import StrictSerializer
from foundation.api.pagination import NewestFirst
from foundation.api.schema import ProblemSchema, Refusal
from foundation.database.bounded import time_limit
from foundation.errors import CoordinatorError, NotFound, QueryTooSlow
from tenancy import audit
from tenancy.access import ScopeMissing, actor, require_scope
from tenancy.api.authentication import HoldsScope, denial
from tenancy.audit.acts import Denied
from tenancy.models import ApiToken, Tenant
from tenancy.roles import Scope

Shown = type[BaseSerializer[Any]]
Function = Callable[..., Any]
View = Callable[..., HttpResponseBase]
Context = Callable[[Any], Mapping[str, Any]]
TENANT = OpenApiParameter("tenant", str, OpenApiParameter.PATH)


class TenantSchema(ProblemSchema):
    """Adds the error of tokens that lack the scope of a view."""

    authenticated: ClassVar[frozenset[Refusal]] = ProblemSchema.authenticated | {
        (ScopeMissing.status, ScopeMissing.code)
    }


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "tenancy.api.authentication.TokenAuthentication"
    name = "bearerToken"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class TenantView(APIView):
    """A view of one tenant.

    Each method that changes something declares its act and its scope (`tenancy.audit.acts.declares`). Methods without
    a declaration need `read`. `refusals` maps methods to the errors that their use case raises, for the OpenAPI
    document.
    """

    refusals: ClassVar[dict[str, tuple[type[CoordinatorError], ...]]] = {}
    permission_classes = (HoldsScope,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # PostgreSQL rejects this character, so no name contains it.
        if any("\x00" in str(name) for name in kwargs.values()):
            raise NotFound("No name contains the character U+0000.")

    @property
    def token(self) -> ApiToken:
        assert isinstance(self.request.auth, ApiToken)  # noqa: S101 - HoldsScope checks it
        return self.request.auth

    @property
    def tenant(self) -> Tenant:
        assert isinstance(self.request.auth, ApiToken)  # noqa: S101 - not `token`, to save a call
        return self.request.auth.tenant

    def require(self, scope: Scope) -> None:
        """Raise `Denied` unless the token also holds `scope`, in addition to what the method declares."""
        try:
            require_scope(self.token, scope)
        except ScopeMissing as refusal:
            raise denial(self, self.token, refusal) from None

    @property
    def actor(self) -> str:
        token = self.token
        return actor(token.user, token)


def handle(exc: Exception, context: ExceptionHandlerContext) -> Response | None:
    """Return the response to an error in a view, and record it if it is a denial (EXCEPTION_HANDLER)."""
    if isinstance(exc, Denied):
        path, by = context["request"].path, context["view"].actor  # type: ignore[attr-defined,union-attr]  # they have them
        audit.deny(exc.act, tenant=exc.tenant, actor=by, object_type="path", object=path, reason=str(exc))
        exc = exc.refusal or exc
    return problem.handle(exc, context)


# --- views as functions ---


def operation(
    tag: str,
    operation_id: str,
    shown: Shown | Mapping[Any, Any],
    *,
    method: str = "POST",
    body: type[StrictSerializer] | None = None,
    form: Shown | None = None,
    context: Context | None = None,
) -> Callable[[Function], View]:
    """Return a decorator that makes a function the view of one operation of a tenant.

    The function gets the `TenantView`, the names in the URL except that of the tenant, and the members of `body` by
    their sources. Its result is represented by `shown`, unless it is a response; if there is a choice of statuses, it
    must be one. `form` describes a multipart request, which the function reads itself.
    `context` returns what `shown` needs besides the result. The function declares its act and scope as methods do
    (`tenancy.audit.acts.declares`), and its errors with `refuses`. The docstring is the description in the OpenAPI
    document, and the name, in camel case, is that of the view.
    """

    statuses = shown if isinstance(shown, Mapping) else {HTTP_200_OK: shown}

    def decorate(function: Function) -> View:
        @wraps(function)
        def handle(view: TenantView, request: Request, *, tenant: str, **names: Any) -> HttpResponseBase:
            if body is not None:
                names |= body.validated(request.data)
            answer = function(view, **names)
            if isinstance(answer, HttpResponseBase):
                return answer
            ((status, representation),) = statuses.items()
            more = context(answer) if context is not None else {}
            return Response(representation(answer, context={"request": request, **more}).data, status=status)

        request = body if form is None else {"multipart/form-data": form}
        described = extend_schema(operation_id=operation_id, request=request, responses=shown, filters=False)(handle)

        def remade(shown: Shown, more: type[StrictSerializer] | None) -> View:
            return operation(tag, operation_id, shown, method=method, body=more or body, context=context)(function)

        members = {"refusals": {method: getattr(function, "refusals", ())}, method.lower(): described}
        members["remade"] = staticmethod(remade)
        if form is not None:
            members["parser_classes"] = (MultiPartParser,)
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
    ordering: tuple[str, ...] | str | property = NewestFirst.ordering,
    context: Context | None = None,
) -> Callable[[Function], View]:
    """Return a decorator that makes a function the view of a list, which is read in pages with GET.

    The function gets the `TenantView` and the names in the URL except that of the tenant, and returns the rows. The
    name, the docstring, the declaration, the errors and `context`, which gets the page, are used as by `operation`. For
    `ordering` see `NewestFirst`; a property of the view may depend on the query.
    """

    def decorate(function: Function) -> View:
        def get_queryset(view: Any) -> Any:
            return function(view, **{name: value for name, value in view.kwargs.items() if name != "tenant"})

        def get_serializer(view: Any, rows: Any = (), **options: Any) -> Any:
            # There are no rows while the OpenAPI document is generated.
            more = context(rows) if context is not None and rows else {}
            return shown(rows, **{"context": {**view.get_serializer_context(), **more}, **options})

        @wraps(function)
        def get(view: Any, request: Request, **names: Any) -> Response:
            with time_limit(settings.LIST_SECONDS):
                return ListAPIView.get(view, request, **names)

        def remade(shown: Shown, more: None) -> View:
            return listing(tag, model, shown, filters, ordering=ordering, context=context)(function)

        members = {
            "remade": staticmethod(remade),
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "refusals": {"GET": (*getattr(function, "refusals", ()), QueryTooSlow)},
            "serializer_class": shown,
            "filterset_class": filters,
            "ordering": ordering,
            "queryset": model._default_manager.none(),
            "get": get,
            "get_queryset": get_queryset,
            "get_serializer": get_serializer,
        }
        return _view(tag, function, (TenantView, ListAPIView), members)

    return decorate


def either(*views: View) -> View:
    """Return the view of a URL that has several methods. `views` are those of one each; the first one names it."""
    classes = [_class_of(view) for view in views]
    refusals = {method: errors for view in classes for method, errors in view.refusals.items()}
    made: Any = type(classes[0].__name__, tuple(classes), {"refusals": refusals, "__doc__": classes[0].__doc__})
    view: View = made.as_view()
    return view


def former(view: View, operation_id: str, shown: Shown, body: type[StrictSerializer] | None = None) -> View:
    """Return the view of a former path, which the OpenAPI document calls deprecated.

    It does what `view` does, with the same function. It represents the result by `shown`, and takes the members of
    `body`, if that is given.
    """
    cls = _class_of(_class_of(view).remade(shown, body))
    [method] = {"get", "post", "patch"} & set(vars(cls))
    deprecated = extend_schema(operation_id=operation_id, deprecated=True)
    made: View = extend_schema_view(**{method: deprecated})(cls).as_view()
    return made


def _class_of(view: View) -> Any:
    return getattr(view, "cls")  # noqa: B009 - functions have no such attribute


def _view(tag: str, function: Function, bases: tuple[type, ...], members: Mapping[str, Any]) -> View:
    made: Any = type(function.__name__.title().replace("_", ""), bases, dict(members))
    view: View = extend_schema(parameters=[TENANT], tags=[tag])(made).as_view()
    return view
