"""Names are accepted and refused as Kubernetes does."""

from collections.abc import Callable

import pytest

from wherry.meta import names

Check = Callable[[str], list[str]]

ACCEPTED: dict[str, tuple[Check, list[str]]] = {
    "label": (names.dns1123_label, ["a", "0", "a-b", "x" * 63]),
    "subdomain": (names.dns1123_subdomain, ["a", "a.b", "1.2", "a-b.c"]),
    "dns1035": (names.dns1035_label, ["a", "a-1"]),
    "wildcard": (names.wildcard_dns1123_subdomain, ["*.a", "*.a.b"]),
    "qualified": (names.qualified_name, ["a", "A_b.c", "example.com/a", "kubernetes.io/a.b"]),
    "label value": (names.label_value, ["", "A", "a_b.c-d"]),
    "port": (names.port_name, ["http", "a-1", "x" * 15]),
    "env": (names.env_var_name, ["A", "a b", "1", "a.b-c"]),
    "config key": (names.config_key, ["a", "a.b", ".a", "A_b"]),
    "c identifier": (names.c_identifier, ["_a", "A1"]),
    "percent": (names.percent, ["1%", "100%"]),
    "path segment": (names.path_segment, ["system:a", "...", "A b"]),
}
REFUSED: dict[str, tuple[Check, list[str]]] = {
    "label": (names.dns1123_label, ["", "A", "-a", "a-", "a.b", "x" * 64, "a\n"]),
    "subdomain": (names.dns1123_subdomain, ["", ".", "a..b", "a_b", "x" * 254]),
    "dns1035": (names.dns1035_label, ["", "1a", "a.b"]),
    "wildcard": (names.wildcard_dns1123_subdomain, ["a", "*", "*a", "*.*.a"]),
    "qualified": (names.qualified_name, ["", "/a", "a/", "a/b/c", "A.com/b", "-a", "x" * 64]),
    "label value": (names.label_value, ["-", "a b", "x" * 64]),
    "port": (names.port_name, ["", "1", "-a", "a-", "a--b", "A", "x" * 16]),
    "env": (names.env_var_name, ["", "a=b", "é", "\t"]),
    "config key": (names.config_key, ["", ".", "..", "..a", "a/b"]),
    "c identifier": (names.c_identifier, ["", "1", "a-b"]),
    "percent": (names.percent, ["", "1", "%", "-1%"]),
    "path segment": (names.path_segment, [".", "..", "a/b", "a%b"]),
}


@pytest.mark.parametrize(("check", "values"), ACCEPTED.values(), ids=ACCEPTED)
def test_good_names_pass(check: Check, values: list[str]) -> None:
    assert {value: check(value) for value in values} == {value: [] for value in values}


@pytest.mark.parametrize(("check", "values"), REFUSED.values(), ids=REFUSED)
def test_bad_names_are_refused(check: Check, values: list[str]) -> None:
    assert [value for value in values if not check(value)] == []


def test_the_words_are_kubernetes_own() -> None:
    assert names.dns1123_label("a.b") == ["must not contain dots"]
    assert names.dns1123_subdomain("A") == [
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
    assert names.qualified_name("/a") == ["prefix part must be non-empty"]
    assert names.path_segment("a/b%") == ["may not contain '/'", "may not contain '%'"]


def test_a_generate_name_may_end_in_a_dash() -> None:
    assert names.as_prefix(names.dns1123_subdomain, "web-") == []
    assert names.as_prefix(names.dns1123_subdomain, "Web-") != []
