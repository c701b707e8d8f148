"""Who the user is and who is an admin, by the claims that providers have for that."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokens import USER, ask, settings, signed

from api.auth import Verifier
from api.problems import Problem
from config.claims import claim, is_user, user_named, words

ADMIN = "balances:admin"
USERS: dict[str, tuple[str, dict[str, Any]]] = {
    "of itself": ("", {"sub": str(USER)}),
    "Auth0, a claim of one's own": (
        "https://app.example/user_id",
        {"sub": "auth0|5f7c", "https://app.example/user_id": str(USER)},
    ),
    "Entra": ("oid", {"sub": "AAAA-bbta", "oid": str(USER)}),
    "Firebase": ("user_id", {"sub": "k3J", "user_id": str(USER)}),
    "Cognito": ("custom:wallet_owner", {"sub": "1", "custom:wallet_owner": str(USER).upper()}),
    "Zitadel": (
        "urn:zitadel:iam:user:metadata.user",
        {"sub": "2", "urn:zitadel:iam:user:metadata": {"user": str(USER)}},
    ),
    "Supabase": ("user_metadata.id", {"sub": "3", "user_metadata": {"id": f"urn:uuid:{USER}"}}),
    "the first that is there": ("oid, sub", {"sub": str(USER)}),
    "the first of two": ("oid sub", {"sub": "4", "oid": str(USER)}),
    "dots within and between": ("a.b.c.d", {"a.b": {"c.d": str(USER)}}),
    "null is absent": ("oid,sub", {"oid": None, "sub": str(USER)}),
    "no sub at all": ("oid", {"sub": None, "oid": USER.hex}),
}


@pytest.mark.parametrize(("setting", "claims"), USERS.values(), ids=USERS)
def test_a_user_is_found_where_the_provider_has_them(setting: str, claims: dict[str, Any]) -> None:
    caller = ask(Verifier(settings(**({"jwt_user_claim": setting} if setting else {}))), f"Bearer {signed(**claims)}")
    assert caller.is_user(USER)
    assert not caller.admin
    assert not caller.is_user(UUID(int=1))


@pytest.mark.parametrize(
    "claims", [{}, {"oid": None}, {"oid": 5}, {"oid": ""}, {"oid": [str(USER)]}, {"oid": {"a": 1}}]
)
def test_a_token_that_names_nobody_there_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        ask(Verifier(settings(jwt_user_claim="oid")), f"Bearer {signed(**claims)}")
    assert refused.value.status == 401


ADMINS: dict[str, tuple[dict[str, str], dict[str, Any], bool]] = {
    "scope": ({}, {"scope": f"a {ADMIN} b"}, True),
    "scope with commas": ({}, {"scope": f"a,{ADMIN},b"}, True),
    "scope with commas and blanks": ({}, {"scope": f"a, {ADMIN}"}, True),
    "scope as a list": ({}, {"scope": [ADMIN]}, True),
    "scp": ({}, {"scp": [ADMIN]}, True),
    "another scope": ({}, {"scope": f"{ADMIN}s"}, False),
    "a part of a scope": ({}, {"scope": f"x{ADMIN}"}, False),
    "scopes, where it is not named": ({}, {"scopes": [ADMIN]}, False),
    "scopes": ({"jwt_admin_claim": "scopes"}, {"scopes": [ADMIN]}, True),
    "Entra's roles": ({"jwt_admin_claim": "roles"}, {"roles": [ADMIN]}, True),
    "scope, where roles are named": ({"jwt_admin_claim": "roles"}, {"scope": ADMIN}, False),
    "several": ({"jwt_admin_claim": "scope roles"}, {"scope": "a", "roles": [ADMIN]}, True),
    "Keycloak's realm": ({"jwt_admin_claim": "realm_access.roles"}, {"realm_access": {"roles": ["x", ADMIN]}}, True),
    "Keycloak's client": (
        {"jwt_admin_claim": "resource_access.balances.roles"},
        {"resource_access": {"balances": {"roles": [ADMIN]}}},
        True,
    ),
    "Keycloak's other client": (
        {"jwt_admin_claim": "resource_access.balances.roles"},
        {"resource_access": {"others": {"roles": [ADMIN]}}},
        False,
    ),
    "Auth0's permissions": ({"jwt_admin_claim": "permissions"}, {"permissions": [ADMIN]}, True),
    "Cognito's groups": ({"jwt_admin_claim": "cognito:groups"}, {"cognito:groups": [ADMIN]}, True),
    "Cognito's scope": (
        {"jwt_admin_scope": f"https://api.example/{ADMIN}"},
        {"scope": f"https://api.example/{ADMIN}"},
        True,
    ),
    "Zitadel's roles": (
        {"jwt_admin_claim": "urn:zitadel:iam:org:project:roles"},
        {"urn:zitadel:iam:org:project:roles": {ADMIN: {"1": "them.example"}}},
        True,
    ),
    "a role that is granted for nothing": ({}, {"scope": {ADMIN: {}}}, False),
    "a role that is denied": ({}, {"scope": {ADMIN: False}}, False),
    "Firebase's flag": ({"jwt_admin_claim": "admin", "jwt_admin_scope": "true"}, {"admin": True}, True),
    "Firebase's flag, off": ({"jwt_admin_claim": "admin", "jwt_admin_scope": "true"}, {"admin": False}, False),
    "Supabase's role": ({"jwt_admin_claim": "app_metadata.role"}, {"app_metadata": {"role": ADMIN}}, True),
    "what a user may write themselves": (
        {"jwt_admin_claim": "app_metadata.role"},
        {"user_metadata": {"role": ADMIN}},
        False,
    ),
    "null": ({}, {"scope": None, "scp": None}, False),
}


@pytest.mark.parametrize(("own", "claims", "admin"), ADMINS.values(), ids=ADMINS)
def test_an_admin_is_who_the_named_claim_says(own: dict[str, str], claims: dict[str, Any], *, admin: bool) -> None:
    assert ask(Verifier(settings(**own)), f"Bearer {signed(**claims)}").admin is admin


@pytest.mark.parametrize(
    ("own", "given", "taken"),
    [
        ("us", "us", True),
        ("web,mobile", "web", True),
        ("web mobile", ["mobile", "x"], True),
        ("web\nmobile", "other", False),
        ("web,mobile", None, False),
        ('["web", "mobile"]', "mobile", True),
        ("any", "whatever", True),
        ("web,any", "whatever", False),
    ],
)
def test_there_may_be_several_audiences(own: str, given: Any, *, taken: bool) -> None:
    verifier, header = Verifier(settings(jwt_audience=own)), f"Bearer {signed(aud=given)}"
    if taken:
        assert ask(verifier, header).is_user(USER)
        return
    with pytest.raises(Problem) as refused:
        ask(verifier, header)
    assert refused.value.status == 401


def test_an_id_of_the_tokens_own_may_be_a_number() -> None:
    assert ask(Verifier(settings()), f"Bearer {signed(jti=12345)}").is_user(USER)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(".ab", max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(".ab", max_size=3), json_values, max_size=4), st.text(".ab", max_size=9))
def test_whatever_a_token_claims_a_path_finds_something_or_nothing(claims: dict[str, Any], path: str) -> None:
    found = claim(claims, path)
    assert user_named(claims, [path]) in {None, found if isinstance(found, str) else None}
    assert all(words(claims, [path]))


def test_a_path_of_dots_costs_no_more_than_it_is_long() -> None:
    claims: dict[str, Any] = {}
    for _ in range(60):
        claims = {"": claims}
    assert claim(claims, "." * 200) is None


@given(st.text(max_size=40))
def test_what_is_no_id_names_no_user(text: str) -> None:
    assert not is_user(text, USER)
