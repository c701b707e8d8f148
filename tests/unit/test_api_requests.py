"""Who may ask, and for what: tokens, parameters, and the document that tells of them."""

import base64
import json
import time
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api import openapi
from api.auth import Caller, Verifier, check_may_read
from api.parameters import Parameters, parameters_of, user_id_of
from api.problems import Problem
from config.settings import ApiSettings

USER = UUID("5c81c005-1c52-4e0d-85e2-862ee1cdd4d0")
OTHER = UUID("11111111-1c52-4e0d-85e2-862ee1cdd4d0")
SECRET = "s" * 32
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def settings(**more: Any) -> ApiSettings:
    key = {} if "jwt_public_key" in more else {"jwt_secret": SECRET}
    return ApiSettings(database_url="postgresql://h/d", redis_url="redis://h", **{**key, **more})


def claims(**more: Any) -> dict[str, Any]:
    made = {"sub": str(USER), "exp": int(time.time()) + 600, **more}
    return {name: value for name, value in made.items() if value is not None}


def signed(key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **more: Any) -> str:
    return jwt.encode(claims(**more), key, algorithm, headers=headers)


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(algorithm: str) -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims())}."


def caller(token: str, **more: Any) -> Caller:
    return Verifier(settings(**more)).caller([f"Bearer {token}"])


@pytest.mark.parametrize(
    ("key", "algorithm", "more"),
    [
        (SECRET, "HS256", {}),
        (RSA, "RS256", {"jwt_public_key": pem(RSA), "jwt_algorithms": "RS256"}),
        (EC, "ES256", {"jwt_public_key": pem(EC), "jwt_algorithms": "ES256"}),
        (SECRET, "HS256", {"jwt_audience": "us", "jwt_issuer": "them"}),
    ],
)
def test_a_good_token_names_its_user(key: Any, algorithm: str, more: dict[str, Any]) -> None:
    assert caller(signed(key, algorithm, aud="us", iss="them"), **more) == Caller(str(USER), admin=False)


def hs256_with_the_public_key() -> str:
    import hashlib
    import hmac

    text = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims())}"
    mac = hmac.new(pem(RSA).encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ([], {}),
        ([""], {}),
        (["Bearer"], {}),
        (["Bearer "], {}),
        ([signed()], {}),
        ([f"Basic {signed()}"], {}),
        ([f"Token {signed()}"], {}),
        ([f"Bearer {signed()}", f"Bearer {signed()}"], {}),
        (["Bearer a.b.c"], {}),
        (["Bearer \u00e9.b.c"], {}),
        ([f"Bearer {signed()}x"], {}),
        ([f"Bearer {signed('t' * 32)}"], {}),
        ([f"Bearer {signed(algorithm='HS512', key='s' * 64)}"], {}),
        *(([f"Bearer {unsigned(name)}"], {}) for name in ("none", "None", "NONE", "nOnE", "")),
        ([f"Bearer {hs256_with_the_public_key()}"], {"jwt_public_key": pem(RSA), "jwt_algorithms": "RS256"}),
        ([f"Bearer {signed(EC, 'ES256')}"], {"jwt_public_key": pem(RSA), "jwt_algorithms": "RS256"}),
        ([f"Bearer {signed(exp=int(time.time()) - 60)}"], {}),
        ([f"Bearer {signed(exp=None)}"], {}),
        ([f"Bearer {signed(exp='never')}"], {}),
        ([f"Bearer {signed(nbf=int(time.time()) + 600)}"], {}),
        ([f"Bearer {signed(iat=int(time.time()) + 600)}"], {}),
        ([f"Bearer {signed(sub=None)}"], {}),
        ([f"Bearer {unsigned('HS256')}{part({'sub': 7})}"], {}),
        ([f"Bearer {signed(iss='others')}"], {"jwt_issuer": "them"}),
        ([f"Bearer {signed()}"], {"jwt_issuer": "them"}),
        ([f"Bearer {signed(aud='others')}"], {"jwt_audience": "us"}),
        ([f"Bearer {signed()}"], {"jwt_audience": "us"}),
        ([f"Bearer {signed(filler='x' * 9000)}"], {}),
        ([f"Bearer {signed(headers={'kid': '../../dev/null'}, key='t' * 32)}"], {}),
        ([f"Bearer {signed(headers={'jku': 'https://evil.example/keys'}, key='t' * 32)}"], {}),
    ],
)
def test_a_token_that_proves_nothing_is_refused_with_401(headers: list[str], more: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        Verifier(settings(**more)).caller(headers)
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_that_has_just_expired_is_taken_within_the_clocks_leeway() -> None:
    assert caller(signed(exp=int(time.time()) - 3)).subject == str(USER)


@pytest.mark.parametrize(
    ("more", "admin"),
    [
        ({"scope": "balances:admin"}, True),
        ({"scope": "openid balances:admin x"}, True),
        ({"scope": ["openid", "balances:admin"]}, True),
        ({"scp": ["balances:admin"]}, True),
        ({"scopes": "balances:admin"}, True),
        ({"scope": "balances:administrator"}, False),
        ({"scope": {"balances:admin": True}}, False),
        ({"scope": [["balances:admin"]]}, False),
        ({"role": "balances:admin"}, False),
        ({}, False),
    ],
)
def test_the_admin_scope_may_read_every_user(more: dict[str, Any], *, admin: bool) -> None:
    assert caller(signed(**more)).may_read(OTHER) is admin


@pytest.mark.parametrize(
    ("subject", "may"),
    [
        (str(USER), True),
        (str(USER).upper(), True),
        (str(OTHER), False),
        ("", False),
        ("admin", False),
        (USER.hex, False),
    ],
)
def test_a_user_may_read_their_own_balances_alone(subject: str, *, may: bool) -> None:
    asking = Caller(subject, admin=False)
    assert asking.may_read(USER) is may
    if not may:
        with pytest.raises(Problem) as refused:
            check_may_read(asking, USER)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("key", "algorithms"), [("no key", "RS256"), (pem(EC), "RS256"), (pem(RSA), "ES256"), (pem(RSA), "RS256,ES256")]
)
def test_a_public_key_that_does_not_fit_its_algorithms_stops_the_start(key: str, algorithms: str) -> None:
    with pytest.raises(SystemExit, match="JWT_PUBLIC_KEY: is not a PEM public key for"):
        Verifier(settings(jwt_public_key=key, jwt_algorithms=algorithms))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ([], Parameters()),
        ([("networks", "tron")], Parameters(networks=("tron",))),
        ([("networks", "tron,ethereum")], Parameters(networks=("tron", "ethereum"))),
        ([("refresh", "true"), ("include_pending", "false")], Parameters(refresh=True)),
        ([("include_pending", "true")], Parameters(include_pending=True)),
        ([("unknown", "x"), ("unknown", "y")], Parameters()),
    ],
)
def test_parameters_are_understood(query: list[tuple[str, str]], expected: Parameters) -> None:
    assert parameters_of(query) == expected


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ([("networks", "doge")], ["networks"]),
        ([("networks", "")], ["networks"]),
        ([("networks", "tron,")], ["networks"]),
        ([("networks", "Tron")], ["networks"]),
        ([("networks", "tron, ethereum")], ["networks"]),
        ([("refresh", "1")], ["refresh"]),
        ([("refresh", "")], ["refresh"]),
        ([("refresh", "TRUE")], ["refresh"]),
        ([("include_pending", "yes")], ["include_pending"]),
        ([("refresh", "true"), ("refresh", "true")], ["refresh"]),
        ([("networks", "doge"), ("refresh", "x")], ["networks", "refresh"]),
        ([("networks", "tron\0")], ["networks"]),
    ],
)
def test_a_wrong_parameter_is_refused_with_422_that_names_it(query: list[tuple[str, str]], wrong: list[str]) -> None:
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


def test_the_document_says_what_is_served() -> None:
    document = json.loads(openapi.document())
    operation = document["paths"]["/api/v1/auth/balances/user/{user_id}"]["get"]
    parameters = {parameter["name"]: parameter for parameter in operation["parameters"]}
    assert set(parameters) == {"user_id", "networks", "refresh", "include_pending"}
    assert sorted(parameters["networks"]["schema"]["items"]["enum"]) == ["ethereum", "tron"]
    assert parameters["networks"]["explode"] is False
    assert parameters["refresh"]["schema"]["type"] == "boolean"
    assert set(operation["responses"]) == {"200", "401", "403", "422", "503"}
    entry = document["components"]["schemas"]["WalletBalance"]
    assert list(entry["properties"]) == [
        "wallet_id",
        "wallet_address",
        "network",
        "usdt_balance",
        "native_balance",
        "last_synced",
        "is_cached",
    ]
    assert entry["required"] == list(entry["properties"])
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
