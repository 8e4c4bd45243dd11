import copy
import json
import logging
import pickle
import traceback
from dataclasses import asdict, dataclass

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from servicekit.sealed import Sealed

SECRET = "11010519491231002X"


@dataclass
class Applicant:
    id_number: Sealed[str]


class Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id_number: Sealed[str]
    phone: Sealed[str] | None = None


def shown(caplog: pytest.LogCaptureFixture) -> list[str]:
    sealed = Sealed(SECRET)
    applicant, command = Applicant(sealed), Command(id_number=sealed, phone=Sealed(SECRET))
    logger = logging.getLogger("test")
    logger.warning("%s %r %s %s", sealed, sealed, applicant, command)
    logger.warning("structured", extra={"sealed": sealed, "applicant": applicant})
    try:
        raise ValueError(applicant, command, sealed)
    except ValueError as error:
        trace = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        logger.exception("failed")
    return [
        *(str(vars(record)) + record.getMessage() for record in caplog.records),
        caplog.text,
        trace.replace(f"sealed = Sealed({SECRET!r})", ""),
        repr(sealed),
        str(sealed),
        f"{sealed} {sealed!r} {sealed!s} {sealed:>30}",
        "%s %r" % (sealed, sealed),  # noqa: UP031
        "{} {!r}".format(sealed, sealed),  # noqa: UP032
        repr([sealed, {sealed: sealed}, (sealed,)]),
        repr(applicant),
        str(asdict(applicant)),
        repr(command),
        str(command),
        str(command.model_dump()),
        str(command.model_dump(mode="json")),
        command.model_dump_json(),
        json.dumps({"a": sealed}, default=str),
        repr(copy.deepcopy(applicant)),
        repr(copy.copy(sealed)),
        str(dir(sealed)),
    ]


def test_I24_a_sealed_value_never_shows(caplog: pytest.LogCaptureFixture) -> None:
    for each in shown(caplog):
        assert SECRET not in each


def test_it_is_revealed_only_when_asked() -> None:
    assert Sealed(SECRET).reveal() == SECRET
    assert Command(id_number=Sealed(SECRET)).id_number.reveal() == SECRET
    assert Command.model_validate({"id_number": SECRET}).id_number.reveal() == SECRET
    assert Command.model_validate_json(json.dumps({"id_number": SECRET})).id_number.reveal() == SECRET
    assert copy.deepcopy(Applicant(Sealed(SECRET))).id_number.reveal() == SECRET


def test_it_cannot_be_pickled_or_turned_to_json_by_chance() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Sealed(SECRET))
    with pytest.raises(TypeError):
        json.dumps({"a": Sealed(SECRET)})
    with pytest.raises(AttributeError):
        Sealed(SECRET).note = "x"  # type: ignore[attr-defined]


def test_it_compares_by_value() -> None:
    assert Sealed("a") == Sealed("a")
    assert Sealed("a") != Sealed("b")
    assert Sealed("a") != "a"
    assert len({Sealed("a"), Sealed("a"), Sealed("b")}) == 2


def test_a_wrong_type_is_refused_without_quoting_it() -> None:
    with pytest.raises(ValidationError) as refused:
        Command.model_validate({"id_number": [SECRET]})
    assert SECRET not in str(refused.value)
    assert TypeAdapter(Sealed[int]).validate_python(7).reveal() == 7
    assert Command.model_json_schema()["properties"]["id_number"]["type"] == "string"
