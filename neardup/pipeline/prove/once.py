"""Attributes that are computed when they are first asked for, by threads side by side.

`functools.cached_property` of Python 3.11 has one lock for all objects of a class: threads that find key points of
different pictures would wait for each other. Here two threads that ask at once both compute, and the results are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 (used as a decorator, as property is)
    """A property that is kept in the object after it was computed."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> once[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> once[T] | T:
        """Compute, and have the object's own attribute take the place of this one."""
        if instance is None:
            return self
        value = self._compute(instance)
        instance.__dict__[self._compute.__name__] = value
        return value
