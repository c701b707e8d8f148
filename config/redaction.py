"""The last net under every log line: no secret of the settings leaves the process in one, whoever wrote it.

In come the secrets as the settings have them; out goes a function that takes them out of a text. Each place that shows
a stranger's words should take them out itself: this is for the places that nobody thought of, as libraries' own.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from urllib.parse import parse_qsl, unquote, urlsplit

from config.base_settings import NetworkVariables
from config.connections import parameters
from config.files import Environment, given
from config.ops_settings import OpsSettings
from config.settings import ApiSettings, WorkerSettings
from config.values import split

MASK = "…"
SHORTEST = 8
"""Characters of a secret that is masked wherever it stands. A shorter one, or a mere word, is found in many a line."""
SHORTEST_TOKEN = 12
"""Characters of a part of a URL that may be a key, and may be a name: it has digits and letters."""
SECRETS_OF_NETWORKS = ("_rpc_urls", "_api_keys")
"""How the variables of networks end that hold secrets."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ESCAPE = re.compile(r"\\+(?:u([0-9a-f]{4})|x([0-9a-f]{2}))")


def parts_of(secret: str) -> Iterator[str]:
    """What must not be shown of a secret: itself, and what a URL consists of as far as it may be secret."""
    yield secret
    if "=" in secret and "://" not in secret:  # libpq's other form of a DATABASE_URL
        with suppress(ValueError):
            yield parameters(secret).get("password", "")
    begins = _URL.search(secret)  # an endpoint's may stand behind its name
    if not begins:
        return
    try:
        url = urlsplit(secret[begins.start() :])
        user, password, host = url.username or "", url.password or "", url.hostname or ""
    except ValueError:
        return
    if password:
        yield f":{password}@"
        yield password
        yield b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    yield from (value for name, value in parse_qsl(url.query) if _token(value) or "pass" in name or "key" in name)
    # Names of databases and of hosts stay: they say where something went wrong.
    web = url.scheme in {"http", "https"}
    yield from filter(_token, [user, *(url.path.split("/") if web else []), *(re.split("[.-]", host) if web else [])])


def _token(part: str) -> bool:
    letters = sum(map(str.isalpha, part))
    return len(part) >= SHORTEST_TOKEN and 0 < letters < len(part) and any(map(str.isdigit, part))


def _telling(secret: str) -> bool:
    """Whether it can be masked without masking what everybody writes."""
    return len(secret) > SHORTEST or (len(secret) == SHORTEST and not secret.isalpha()) or secret.startswith(":")


def mask_for(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that gives a text with a mark in the place of each secret, and of each part of one.

    It finds them as they are, in other capitals, percent-encoded or decoded, wholly or in part, and as they stand in
    JSON and in Python's quotes. It costs some microseconds a line.
    """
    found = {part for secret in secrets for part in parts_of(secret)}
    hidden = {form for part in found for form in (part, unquote(part)) if _telling(_plain(form))}
    if not hidden:
        return lambda text: text
    needles = sorted({_plain(form) for form in hidden})
    pattern = re.compile("|".join(_in_any_form(form) for form in sorted(hidden, key=len, reverse=True)), re.IGNORECASE)

    def mask(text: str) -> str:
        if not _has_any(text, needles):
            return text
        masked = pattern.sub(MASK, text)
        # In a form that the pattern does not know: then nothing of the text is shown.
        return MASK if _has_any(masked, needles) else masked

    return mask


def _has_any(text: str, needles: Iterable[str]) -> bool:
    plain = _plain(text)
    texts = [plain]
    if "%" in plain:
        texts.append(once := _plain(unquote(plain)))
        texts.append(_plain(unquote(once)))
    return any(needle in each for each in texts for needle in needles)


def _plain(text: str) -> str:
    """In small letters, with a space for each + and without what quotes add."""
    lowered = text.lower().replace("+", " ")
    return _ESCAPE.sub(_meant, lowered).replace("\\", "") if "\\" in lowered else lowered


def _meant(escape: re.Match[str]) -> str:
    return chr(int(escape[1] or escape[2], 16)).lower()


def _in_any_form(secret: str) -> str:
    return "".join(map(_any_form_of, secret))


def _any_form_of(letter: str) -> str:
    if letter.isascii() and letter.isalnum():
        return f"(?:{letter}|%(?:25)?{ord(letter.lower()):02x}|%(?:25)?{ord(letter.upper()):02x})"
    forms = [r"\+"] if letter == " " else []
    for case in dict.fromkeys((letter, letter.lower(), letter.upper())):
        forms += [re.escape(case), rf"\\+{re.escape(case)}"]
        if len(case) == 1:
            encoded = "".join(f"%(?:25)?{byte:02x}" for byte in case.encode(errors="surrogatepass"))
            forms += [encoded, rf"\\+u{ord(case):04x}", rf"\\+x{ord(case):02x}"]
    return f"(?:{'|'.join(forms)})"


def secrets() -> tuple[str, ...]:
    """The value of every secret setting that this process's environment has, usable or not: what no log may show.

    A file of another process's setting may be out of reach here.
    """
    found: list[str] = []
    for kind in (OpsSettings, ApiSettings):  # the first has all that a worker has
        source = Environment(kind)
        for name, field in kind.model_fields.items():
            if "SecretStr" in str(field.annotation):
                with suppress(SystemExit):
                    value, _, _ = source.get_field_value(field, name)
                    found += [value] if value else []
    found += [item for value in _of_networks() for item in split(value)]
    found += [*_of_proxies(), *_of_libpq()]
    return tuple(dict.fromkeys(filter(None, found)))


def _of_proxies() -> Iterator[str]:
    """The URLs of proxies with a password in them: other libraries' settings, whose words may be in any log line."""
    for name, value in Environment(OpsSettings).env_vars.items():
        if name.endswith("_proxy") and value and "@" in value:
            yield value
            if "://" not in value:
                yield f"http://{value}"


def _of_libpq() -> Iterator[str]:
    """The passwords that libpq adds to DATABASE_URL: its own variable's, and those of a service file."""
    variables = Environment(OpsSettings).env_vars
    yield variables.get("pgpassword") or ""
    with suppress(SystemExit, ValueError):
        of_database = parameters(given(variables, "database_url") or "")
        yield from (of_database.get(name, "") for name in ("password", "sslpassword"))


def _of_networks() -> Iterator[str]:
    """Nodes' URLs and keys, those too whose network nobody knows: its name may be mistyped, and no less secret."""
    variables = NetworkVariables(WorkerSettings)()
    for name in {each.removesuffix("_file") for each in variables}:
        if name.endswith(SECRETS_OF_NETWORKS):
            with suppress(SystemExit):
                yield given(variables, name) or ""
