"""The shapes of names: each function lists what is wrong with a value, in Kubernetes' words; empty means it is fine.

Source: k8s.io/apimachinery, api/validate/content, util/validation and api/validation.
"""

import re
from collections.abc import Callable
from functools import lru_cache

LABEL_MAX = 63
SUBDOMAIN_MAX = 253

_DNS1123_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS1123_SUBDOMAIN = rf"{_DNS1123_LABEL}(\.{_DNS1123_LABEL})*"
_UNDERSCORED_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_UNDERSCORED = rf"{_UNDERSCORED_LABEL}(\.{_UNDERSCORED_LABEL})*"
_DNS1035_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WILDCARD = rf"\*\.{_DNS1123_SUBDOMAIN}"
_LABEL_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_LABEL_KEY})?"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_PERCENT = "[0-9]+%"
_HEADER = "[-A-Za-z0-9]+"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_PORT_NAME = re.compile("[-a-z0-9]+")

_LABEL_KEY_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lru_cache(maxsize=4096)(lambda value: compiled.fullmatch(value) is not None)


_is_label = _matches(_DNS1123_LABEL)
_is_subdomain = _matches(_DNS1123_SUBDOMAIN)
_is_dns1035 = _matches(_DNS1035_LABEL)
_is_wildcard = _matches(_WILDCARD)
_is_label_key = _matches(_LABEL_KEY)
_is_label_value = _matches(_LABEL_VALUE)
_is_c_identifier = _matches(_C_IDENTIFIER)
_is_config_key = _matches(_CONFIG_KEY)


def max_length(limit: int) -> str:
    """What Kubernetes says of a text that is too long."""
    return f"must be no more than {limit} bytes"


def out_of_range(low: int, high: int) -> str:
    """What Kubernetes says of a number out of bounds."""
    return f"must be between {low} and {high}, inclusive"


def _regex(text: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{item}', " for item in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


def _too_long(value: str, limit: int) -> list[str]:
    return [max_length(limit)] if len(value.encode()) > limit else []


def dns1123_label(value: str) -> list[str]:
    """A namespace, a container, a pod's host name: my-name."""
    errors = _too_long(value, LABEL_MAX)
    if not _is_label(value):
        if _is_subdomain(value):
            return [*errors, "must not contain dots"]
        text = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
            "and must start and end with an alphanumeric character"
        )
        errors.append(_regex(text, _DNS1123_LABEL, "my-name", "123-abc"))
    return errors


def dns1123_subdomain(value: str) -> list[str]:
    """The name of most objects: example.com."""
    errors = _too_long(value, SUBDOMAIN_MAX)
    if not _is_subdomain(value):
        text = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        errors.append(_regex(text, _DNS1123_SUBDOMAIN, "example.com"))
    return errors


def dns1123_subdomain_with_underscore(value: str) -> list[str]:
    """A search path of a resolver: labels may start with an underscore and hold more."""
    errors = _too_long(value, SUBDOMAIN_MAX)
    if not re.fullmatch(_UNDERSCORED, value):
        text = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
            "and must start and end with an alphanumeric character"
        )
        errors.append(_regex(text, _UNDERSCORED, "example.com"))
    return errors


def dns1035_label(value: str) -> list[str]:
    """A label that starts with a letter: my-name."""
    errors = _too_long(value, LABEL_MAX)
    if not _is_dns1035(value):
        text = (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
            "start with an alphabetic character, and end with an alphanumeric character"
        )
        errors.append(_regex(text, _DNS1035_LABEL, "my-name", "abc-123"))
    return errors


def wildcard_dns1123_subdomain(value: str) -> list[str]:
    """The host of an Ingress rule: *.example.com."""
    errors = _too_long(value, SUBDOMAIN_MAX)
    if not _is_wildcard(value):
        text = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
            "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
        )
        errors.append(_regex(text, _WILDCARD, "*.example.com"))
    return errors


def qualified_name(value: str) -> list[str]:
    """A label or annotation key, a resource name, a finalizer: [prefix/]name."""
    parts = value.split("/")
    if len(parts) > 2:
        text = _regex(_LABEL_KEY_TEXT, _LABEL_KEY, "MyName", "my.name", "123-abc")
        return [f"a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    errors: list[str] = []
    name = parts[-1]
    if len(parts) == 2:
        errors = ["must be non-empty"] if not parts[0] else dns1123_subdomain(parts[0])
        errors = [f"prefix part {error}" for error in errors]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > LABEL_MAX:
        errors.append(f"name part {max_length(LABEL_MAX)}")
    if not _is_label_key(name):
        errors.append("name part " + _regex(_LABEL_KEY_TEXT, _LABEL_KEY, "MyName", "my.name", "123-abc"))
    return errors


def label_value(value: str) -> list[str]:
    """The value of a label; empty is fine."""
    errors = _too_long(value, LABEL_MAX)
    if not _is_label_value(value):
        text = f"a valid label must be an empty string or {_LABEL_KEY_TEXT.removeprefix('must ')}"
        errors.append(_regex(text, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return errors


def port_name(value: str) -> list[str]:
    """An IANA service name: http, dns-tcp."""
    errors = _too_long(value, 15)
    if not _PORT_NAME.fullmatch(value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= char <= "z" for char in value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def port_number(value: int) -> list[str]:
    """1 to 65535."""
    return [] if 1 <= value <= 65535 else [out_of_range(1, 65535)]


def env_var_name(value: str) -> list[str]:
    """An environment variable: any printable ASCII but "="."""
    errors = [] if value else ["environment variable name must be non-empty"]
    if any(not " " <= char <= "~" or char == "=" for char in value):
        errors.append(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )
    return errors


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret."""
    errors = _too_long(value, SUBDOMAIN_MAX)
    if not _is_config_key(value):
        text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors.append(_regex(text, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        errors.append(f"must not be '{value}'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def c_identifier(value: str) -> list[str]:
    """An identifier of C."""
    if _is_c_identifier(value):
        return []
    text = (
        "a valid C identifier must start with alphabetic character or '_', "
        "followed by a string of alphanumeric characters or '_'"
    )
    return [_regex(text, _C_IDENTIFIER, "my_name", "MY_NAME", "MyName")]


def percent(value: str) -> list[str]:
    """A percentage: 25%."""
    if re.fullmatch(_PERCENT, value):
        return []
    text = "a valid percent string must be a numeric string followed by an ending '%'"
    return [_regex(text, _PERCENT, "1%", "93%")]


def http_header_name(value: str) -> list[str]:
    """The name of a header in a probe."""
    if re.fullmatch(_HEADER, value):
        return []
    return [_regex("a valid HTTP header must consist of alphanumeric characters or '-'", _HEADER, "X-Header-Name")]


def http_path(value: str) -> list[str]:
    """What follows the domain in acme.io/foo."""
    if re.fullmatch(_HTTP_PATH, value):
        return []
    return [f"Invalid path (regex used for validation is '{_HTTP_PATH}')"]


def path_segment(value: str) -> list[str]:
    """A name that must only be safe within a URL (RBAC objects): neither . nor .. nor / nor %."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in value]


def as_prefix(check: Callable[[str], list[str]], value: str) -> list[str]:
    """A generateName under `check`: a trailing "-" is forgiven, for a suffix will follow."""
    return check(value[:-1] + "a" if value.endswith("-") else value)
