"""Pages of a list, and the addresses that lead from one to another: the state of a page is in its URL."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from pydantic import BaseModel, model_validator

PAGE_SIZE = 50


class FormQuery(BaseModel):
    """The query of a page; a field that is sent empty is as one that is not sent."""

    # Fields by which a form that led here tells what it did: the links of the page leave them out.
    messages: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_is_empty(cls, given: Any) -> Any:
        """A form sends every field, empty ones too."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if not (isinstance(value, str) and not value.strip())}

    def parameters(self) -> dict[str, Any]:
        """The query of the page's address: what differs from the page without filters, but for messages."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude=set(self.messages))

    def url_at(self, path: str) -> Callable[..., str]:
        """A function that gives the address of the page at this path with parts of its state changed."""
        return url_builder(path, **self.parameters())


def url_builder(path: str, **state: Any) -> Callable[..., str]:
    """A function that gives the address of the page with parts of its state changed; None and "" are left out."""

    def url(**changes: Any) -> str:
        merged: Mapping[str, Any] = {**state, **changes}
        query = urlencode(
            [(name, value) for name, value in merged.items() if value is not None and value != ""], doseq=True
        )
        return f"{path}?{query}" if query else path

    return url


@dataclass(frozen=True)
class Paging:
    """Where a page stands in its list: rows ``first`` to ``last``, counted from one; ``total`` None when unknown."""

    first: int
    last: int
    total: int | None
    previous_url: str | None
    next_url: str | None


def paging(url: Callable[..., str], page: int, shown: int, *, total: int | None = None, more: bool = False) -> Paging:
    """The paging of a list with ``shown`` rows on the page; without a total, ``more`` says that others follow."""
    before = (page - 1) * PAGE_SIZE
    has_next = before + shown < total if total is not None else more
    return Paging(
        first=before + 1 if shown else 0,
        last=before + shown,
        total=total,
        previous_url=url(page=page - 1) if page > 1 else None,
        next_url=url(page=page + 1) if has_next else None,
    )
