"""A value that masks itself wherever it might be shown."""

from collections.abc import Callable
from typing import Any, Generic, NoReturn, Self, TypeVar, cast, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

T = TypeVar("T")

MASK = "***"


class Sealed(Generic[T]):
    """A personal value on its way through the program: shown, logged or dumped it is ``***``.

    ``reveal()`` gives the value, so that every place that uses it can be searched for. As a field of a
    pydantic model it takes the value or a Sealed one, and a JSON dump masks it. (A model whose input may be
    wrong sets ``hide_input_in_errors``: pydantic quotes what failed a check before this type ever sees it.)
    It is never pickled: pass what is needed to another process by name.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self._value == cast("Sealed[Any]", other)._value

    def __hash__(self) -> int:
        return hash((Sealed, self._value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a sealed value is not pickled")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inside = handler.generate_schema((get_args(source) or (str,))[0])
        seal: Callable[[Any], Any] = cls
        return core_schema.json_or_python_schema(
            json_schema=core_schema.no_info_after_validator_function(seal, inside),
            python_schema=core_schema.union_schema(
                [
                    core_schema.is_instance_schema(cls),
                    core_schema.no_info_after_validator_function(seal, inside),
                ],
                mode="left_to_right",
            ),
            serialization=core_schema.plain_serializer_function_ser_schema(_mask, when_used="json"),
        )


def _mask(_: Any) -> str:
    return MASK
