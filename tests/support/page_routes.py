"""All routes for browsers, read from the application so that no test forgets one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from watcher_server.web.pipelines.detail.wording import FIELDS

FRONT_DOOR = "/"


@dataclass(frozen=True)
class PageRoute:
    """A route of a page: its method and path, and the names of its query parameters and form fields."""

    method: str
    path: str
    query: tuple[str, ...]
    form: tuple[str, ...]

    def at(self, **values: object) -> str:
        """Its path with these values in the place of its parameters."""
        return self.path.replace(":path}", "}").format(**values)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def page_routes(app: FastAPI) -> list[PageRoute]:
    """The routes that are not part of the API, by path."""
    pages = [route for route in _walk(app) if _is_page(route)]
    return sorted((_page_route(route) for route in pages), key=lambda route: (route.path, route.method))


def _is_page(route: APIRoute) -> bool:
    if route.path == FRONT_DOOR:
        # What is sent there by POST are events.
        return "GET" in (route.methods or ())
    # Below /api is what answers 405 to a wrong method.
    return not route.include_in_schema and not route.path.startswith("/api/")


def _walk(router: Any) -> Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from _walk(route.original_router)


def _page_route(route: APIRoute) -> PageRoute:
    method = next(iter(route.methods or ()))
    form = _names(route.dependant, "body_params")
    # These read their form from the request, so their signature does not name its fields.
    if route.path.endswith(("/rules", "/rules/{rule_id}")):
        form = list(FIELDS)
    return PageRoute(method, route.path, tuple(_names(route.dependant, "query_params")), tuple(form))


def _names(dependant: Dependant, kind: str) -> list[str]:
    names = []
    for parameter in getattr(dependant, kind):
        model = parameter.field_info.annotation
        is_model = isinstance(model, type) and issubclass(model, BaseModel)
        names += list(model.model_fields) if is_model else [parameter.alias]
    return names + [name for below in dependant.dependencies for name in _names(below, kind)]
