"""What a request asks for: each parameter is understood, or named as wrong."""

from typing import Any
from uuid import UUID

import pytest
from asgi import ask
from tokens import settings, signed

from api import app
from api.parameters import Parameters, networks_of, user_id_of
from api.problems import Problem, unavailable

USER = UUID("5c81c005-1c52-4e0d-85e2-862ee1cdd4d0")
ROUTE = f"/api/v1/auth/balances/user/{USER}"
ALL = ("ethereum", "tron")


def asked(query: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Any, list[Parameters]]:
    """The status, the parameters that are named as wrong, and what the database would be asked for."""
    found: list[Parameters] = []

    async def balances(_: object, __: object, user_id: UUID, parameters: Parameters) -> None:
        assert user_id == USER
        found.append(parameters)
        raise unavailable()

    monkeypatch.setattr(app.Endpoint, "balances", balances)
    answer = ask(app.create_app(settings()), ROUTE, query, authorization=f"Bearer {signed()}")
    return answer.status, [error["parameter"] for error in answer.json()["errors"]], found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", Parameters()),
        (b"networks=tron", Parameters(("tron",))),
        (b"networks=tron,ethereum", Parameters(ALL)),
        (b"networks=tron%2Cethereum", Parameters(ALL)),
        (b"networks=tron&networks=ethereum", Parameters(ALL)),
        (b"networks=tron&networks=tron", Parameters(("tron",))),
        (b"refresh=true&include_pending=false", Parameters(refresh=True)),
        (b"include_pending=true", Parameters()),
        (b"detail=full", Parameters(in_full=True)),
        (b"unknown=x&unknown=y&&;=&\xff=%ff", Parameters()),
    ],
)
def test_parameters_are_understood(query: bytes, expected: Parameters, monkeypatch: pytest.MonkeyPatch) -> None:
    status, wrong, found = asked(query, monkeypatch)
    assert (status, wrong) == (503, [])
    assert [each._replace(networks=each.networks and tuple(each.networks)) for each in found] == [expected]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        (b"networks=doge", ["networks"]),
        (b"networks=", ["networks"]),
        (b"networks", ["networks"]),
        (b"networks=tron,", ["networks"]),
        (b"networks=Tron", ["networks"]),
        (b"networks=tron, ethereum", ["networks"]),
        (b"networks=tron%00", ["networks"]),
        (b"networks=tron%ff", ["networks"]),
        (b"networks=tr\xf6n", ["networks"]),
        (b"networks=tron&networks=doge", ["networks"]),
        (b"refresh=1", ["refresh"]),
        (b"refresh=", ["refresh"]),
        (b"refresh=TRUE", ["refresh"]),
        (b"include_pending=yes", ["include_pending"]),
        (b"refresh=true&refresh=true", ["refresh"]),
        (b"detail=", ["detail"]),
        (b"detail=some", ["detail"]),
        (b"detail=null", ["detail"]),
        (b"refresh=null", ["refresh"]),
        (b"networks=null", ["networks"]),
        (b"detail=full&detail=full", ["detail"]),
        (b"networks=doge&refresh=x&detail=x", ["networks", "refresh", "detail"]),
        (b"refresh=x&include_pending=true&include_pending=true", ["refresh", "include_pending"]),
    ],
)
def test_a_wrong_parameter_is_refused_with_422_that_names_it(
    query: bytes, wrong: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(query, monkeypatch) == (422, wrong, [])


def test_networks_are_the_union_of_all_lists() -> None:
    assert networks_of(None) is None
    assert networks_of(["tron", "ethereum,tron"]) == ["ethereum", "tron"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        USER.hex,
        f"{{{USER}}}",
        f"urn:uuid:{USER}",
        str(USER)[:-1],
        f"{USER}0",
        str(USER).replace("5", "\uff15"),
        f"{USER}\0",
        f" {USER}",
    ],
)
def test_an_id_that_is_not_a_uuid_is_refused_with_422(text: str) -> None:
    with pytest.raises(Problem) as refused:
        user_id_of(text)
    assert (refused.value.status, refused.value.errors[0].parameter) == (422, "user_id")


def test_an_id_is_the_same_in_any_case() -> None:
    assert user_id_of(str(USER).upper()) == USER
