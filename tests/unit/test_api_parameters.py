"""What a request asks for: each parameter is understood, or named as wrong."""

from uuid import UUID

import pytest

from api.parameters import Parameters, parameters_of, user_id_of
from api.problems import Problem

USER = UUID("5c81c005-1c52-4e0d-85e2-862ee1cdd4d0")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", Parameters()),
        (b"networks=tron", Parameters(networks=("tron",))),
        (b"networks=tron,ethereum", Parameters(networks=("tron", "ethereum"))),
        (b"networks=tron%2Cethereum", Parameters(networks=("tron", "ethereum"))),
        (b"refresh=true&include_pending=false", Parameters(refresh=True)),
        (b"include_pending=true", Parameters(include_pending=True)),
        (b"detail=full", Parameters(detail="full")),
        (b"unknown=x&unknown=y&&;=&\xff=%ff", Parameters()),
    ],
)
def test_parameters_are_understood(query: bytes, expected: Parameters) -> None:
    assert parameters_of(query) == expected


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
        (b"networks=tron&networks=ethereum", ["networks"]),
        (b"refresh=1", ["refresh"]),
        (b"refresh=", ["refresh"]),
        (b"refresh=TRUE", ["refresh"]),
        (b"include_pending=yes", ["include_pending"]),
        (b"refresh=true&refresh=true", ["refresh"]),
        (b"detail=", ["detail"]),
        (b"detail=some", ["detail"]),
        (b"detail=full&detail=full", ["detail"]),
        (b"networks=doge&refresh=x&detail=x", ["networks", "refresh", "detail"]),
    ],
)
def test_a_wrong_parameter_is_refused_with_422_that_names_it(query: bytes, wrong: list[str]) -> None:
    with pytest.raises(Problem) as refused:
        parameters_of(query)
    assert refused.value.status == 422
    assert [error.parameter for error in refused.value.errors] == wrong


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
