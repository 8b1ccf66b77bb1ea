"""The language: what expressions give, what they cost, what is wrong with them."""

from typing import Any

import pytest

from wherry.server.cel.environment import Environment
from wherry.server.cel.syntax import CompileError
from wherry.server.cel.types import DYN
from wherry.server.cel.values import CelError, CostExceeded

WORLD = Environment({"self": DYN})
SELF = {"name": "a", "n": 3, "items": [{"k": "x"}, {"k": "y"}], "none": None, "map": {"a": 1, "b": 2}}


def value(text: str) -> Any:
    return WORLD.compile(text).evaluate({"self": SELF})[0]


TRUE = """
1 + 2 * 3 == 7
(1 + 2) * 3 == 9
-7 / 2 == -3 && -7 % 2 == -1
1u + 1u == 2u
2.5 * 2.0 == 5.0
1 < 2.5 && 2u > 1
dyn(1.0) == 1
dyn(true) != 1
0x1F == 31
'a' + "b" == 'ab' && r'\\d'.size() == 2 && '''x''' == 'x'
'\\u00e9'.size() == 1 && '\\x41' == 'A'
b'\\xff'.size() == 1 && bytes('é').size() == 2
[1, 2] + [3] == [1, 2, 3]
{'a': 1}['a'] == 1 && {'a': 1}.a == 1 && 'a' in {'a': 1}
2 in [1, 2]
!(3 in [1, 2])
1 / 0 > 0 || true
!(1 / 0 > 0 && false)
[0, 1].exists(x, 1 / x > 0)
has(self.name) && !has(self.other) && !has(self.none.x)
self.items.all(i, i.k != '')
self.items.exists_one(i, i.k == 'x')
self.items.map(i, i.k) == ['x', 'y']
[1, 2, 3].map(i, i > 1, i * 2) == [4, 6]
[1, 2, 3].filter(i, i != 2) == [1, 3]
self.map.all(k, k in ['a', 'b'])
[1, 2].all(i, v, v == i + 1)
{'a': 1}.exists(k, v, k == 'a' && v == 1)
[1, 2].transformList(i, v, i * v) == [0, 2]
{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 2) == {'b': 4}
{'a': 'x'}.transformMapEntry(k, v, {v: k}) == {'x': 'a'}
self.?name.orValue('') == 'a' && self.?none.?x.hasValue() == false
self.?other.x.orValue('d') == 'd'
self.items[?5].hasValue() == false && [1][?0].value() == 1
optional.of(2).optMap(x, x + 1).value() == 3
optional.of(2).optFlatMap(x, optional.none()).hasValue() == false
optional.none().or(optional.of(1)).value() == 1
[?optional.none(), 1] == [1] && {?'a': optional.of(1)} == {'a': 1}
type(1) == int && type('a') == string && type(1) != type(1u) && type([]) == list
self.n == 3 ? true : false
timestamp('2026-01-01T00:00:00Z') + duration('1h30m') == timestamp('2026-01-01T01:30:00Z')
timestamp('2026-01-01T10:00:00.5Z').getHours('America/New_York') == 5
timestamp('2026-01-01T00:00:00Z').getFullYear() == 2026
duration('90m').getHours() == 1 && string(duration('1.5s')) == '1.5s'
int('7') == 7 && double('1.5') == 1.5 && string(7) == '7' && bool('true') && int(2.9) == 2
'hello'.charAt(1) == 'e' && 'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3
'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('-') == 'a-b'
'Hello'.lowerAscii() == 'hello' && ' x '.trim() == 'x' && 'hello'.substring(1, 3) == 'el'
'aaa'.replace('a', 'b', 2) == 'bba'
'%s is %s'.format(['a', 'b']) == 'a is b' && '%d%%'.format([5]) == '5%' && '%.1f'.format([1.25]) == '1.2'
'abc'.matches('^a.c$') && 'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22']
[1, 2].isSorted() && [1, 2].sum() == 3 && [1, 5].max() == 5 && ['a'].indexOf('b') == -1
sets.contains([1, 2], [1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])
quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('1Gi') == quantity('1024Mi')
quantity('50k').add(20).asInteger() == 50020 && !isQuantity('x') && quantity('-1').sign() == -1
url('https://a.example:80/x?q=1').getHost() == 'a.example:80' && url('/p%20q').getEscapedPath() == '/p%20q'
url('https://[::1]:80/').getHostname() == '::1' && url('http://a?k=v').getQuery() == {'k': ['v']} && !isURL('x')
ip('10.0.0.1').family() == 4 && ip('::1').isLoopback() && ip.isCanonical('127.0.0.1') && !isIP('1.2.3')
cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').containsCIDR(cidr('10.0.0.0/9'))
string(cidr('10.1.2.3/8').masked()) == '10.0.0.0/8' && cidr('10.0.0.0/8').prefixLength() == 8
semver('1.2.3-rc1').isLessThan(semver('1.2.3')) && semver('v1.2', true).minor() == 2 && !isSemver('1')
!format.dns1123Label().validate('abc').hasValue() && format.named('uuid').hasValue()
format.named('uuid').value().validate('x').value() == ['does not match the UUID format']
"""


@pytest.mark.parametrize("text", TRUE.strip().split("\n"))
def test_it_is_true(text: str) -> None:
    assert value(text) is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("self.other", "no such key: other"),
        ("self.items[7]", "index out of bounds: 7"),
        ("{'a': 1}['b']", "no such key: b"),
        ("self.name + 1", "no such overload"),
        ("[].min()", "min called on empty list"),
        ("optional.none().value()", "optional.none() dereference"),
        ("ip('x')", 'IP Address "x" parse error during conversion from string: ParseAddr("x"): unable to parse IP'),
    ],
)
def test_a_run_fails_with_cel_go_s_words(text: str, message: str) -> None:
    with pytest.raises(CelError) as caught:
        value(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo + 1", "1:1: undeclared reference to 'foo' (in container '')"),
        ("foo(1)", "1:4: undeclared reference to 'foo' (in container '')"),
        ("'a' + 1", "1:5: found no matching overload for '_+_' applied to '(string, int)'"),
        ("'a'.startsWith(1)", "1:15: found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("'a'.b", "1:4: type 'string' does not support field selection"),
        (
            "5.all(x, true)",
            "1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'"),
        ("self.", "1:6: Syntax error: mismatched input '<EOF>' expecting IDENTIFIER"),
        ("for", "1:1: reserved identifier: for"),
        ("has(self)", "1:4: invalid argument to has() macro"),
        ("'a'.matches('(')", "1:13: invalid matches argument"),
        ("99999999999999999999", "1:1: invalid int literal"),
    ],
)
def test_a_fault_is_found_before_the_run(text: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        WORLD.compile(text)
    assert str(caught.value).splitlines()[0] == f"ERROR: <input>:{message}"


def test_a_fault_shows_the_line_and_the_place() -> None:
    with pytest.raises(CompileError) as caught:
        WORLD.compile("1 == 1 &&\n  foo == 2")
    assert str(caught.value) == (
        "ERROR: <input>:2:3: undeclared reference to 'foo' (in container '')\n |   foo == 2\n | ..^"
    )


HUNDRED = "[" + ",".join(map(str, range(100))) + "]"


@pytest.mark.parametrize(
    "text",
    [
        f"{HUNDRED}.all(a, {HUNDRED}.all(b, {HUNDRED}.all(c, {HUNDRED}.all(d, a + b + c + d >= 0))))",
        "'x'" + ".replace('', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')" * 8 + " == ''",
    ],
    ids=["nested loops", "growing text"],
)
def test_a_hostile_expression_is_stopped(text: str) -> None:
    program = WORLD.compile(text)
    with pytest.raises(CostExceeded, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate({"self": SELF}, 200_000)


def test_a_pattern_takes_time_by_the_length_of_the_text_only() -> None:
    assert value("('" + "a" * 5000 + "!').matches('^(a+)+$')") is False


def test_nesting_has_a_limit() -> None:
    with pytest.raises(CompileError, match="expression recursion limit exceeded"):
        WORLD.compile("(" * 400 + "1" + ")" * 400)
