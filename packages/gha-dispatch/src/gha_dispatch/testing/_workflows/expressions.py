"""GitHub's expressions, as far as a workflow needs them before its jobs start.

https://docs.github.com/en/actions/reference/workflows-and-actions/expressions
What is not known here raises ExpressionError: nothing is guessed.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

Value: TypeAlias = Any  # null, boolean, number, string, list or mapping, as in JSON
Contexts: TypeAlias = Mapping[str, Value]

_TEMPLATE = re.compile(r"\$\{\{((?:'[^']*'|[^'])*?)\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?)|'(?P<text>(?:[^']|'')*)'"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_-]*)|(?P<sign>&&|\|\||[=!<>]=|[<>!().,\[\]]))"
)
_LITERALS: Mapping[str, Value] = {"true": True, "false": False, "null": None}


class ExpressionError(ValueError):
    """An expression that cannot be read, or that uses what is not known here."""


def evaluate(template: Value, contexts: Contexts) -> Value:
    """Replace the expressions in a value of a workflow file.

    A text that is one expression takes its value and type; elsewhere expressions become text.
    Lists and mappings are walked.
    """
    if isinstance(template, Mapping):
        return {key: evaluate(value, contexts) for key, value in template.items()}
    if isinstance(template, list):
        return [evaluate(value, contexts) for value in template]
    if not isinstance(template, str):
        return template
    whole = _TEMPLATE.match(template.strip())
    if whole is not None and whole.end() == len(template.strip()):
        return _Parser(whole[1], contexts).parse()
    return _TEMPLATE.sub(lambda found: as_text(_Parser(found[1], contexts).parse()), template)


def as_text(value: Value) -> str:
    """A value as GitHub writes it into a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (list, Mapping)):
        return "Array" if isinstance(value, list) else "Object"
    return str(value)


class _Parser:
    """Recursive descent, evaluating as it goes: || over && over comparison over ! and access."""

    def __init__(self, source: str, contexts: Contexts) -> None:
        self.source = source.strip()
        self.contexts = contexts
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(self.source):
            match = _TOKEN.match(self.source, position)
            if match is None or match.lastgroup is None:
                raise self._error("cannot be read")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()

    def parse(self) -> Value:
        value = self._either()
        if self.tokens:
            raise self._error("goes on after its end")
        return value

    def _either(self) -> Value:
        value = self._both()
        while self._take("||"):
            other = self._both()
            value = value or other
        return value

    def _both(self) -> Value:
        value = self._comparison()
        while self._take("&&"):
            other = self._comparison()
            value = value and other
        return value

    def _comparison(self) -> Value:
        value = self._unary()
        for sign in ("==", "!=", "<=", ">=", "<", ">"):
            if self._take(sign):
                return _compare(sign, value, self._unary())
        return value

    def _unary(self) -> Value:
        if self._take("!"):
            return not self._unary()
        value = self._primary()
        while True:
            if self._take("."):
                kind, name = self._next()
                if kind != "name":
                    raise self._error("has a dot without a name")
                value = _member(value, name)
            elif self._take("["):
                value = _member(value, self._either())
                self._expect("]")
            else:
                return value

    def _primary(self) -> Value:
        if self._take("("):
            value = self._either()
            self._expect(")")
            return value
        kind, text = self._next()
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind == "text":
            return text.replace("''", "'")
        if kind != "name":
            raise self._error(f"has {text} where a value should be")
        if self._take("("):
            return self._call(text)
        if text in _LITERALS:
            return _LITERALS[text]
        if text not in self.contexts:
            raise self._error(f"uses {text}, which has no value before the jobs start")
        return self.contexts[text]

    def _call(self, name: str) -> Value:
        arguments: list[Value] = []
        while not self._take(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._either())
        function = _FUNCTIONS.get(name.lower())
        if function is None:
            raise self._error(f"uses the function {name}, which is not known before the jobs start")
        try:
            return function(*arguments)
        except (TypeError, ValueError, IndexError) as error:
            raise self._error(f"fails in {name}: {error}") from error

    def _next(self) -> tuple[str, str]:
        if not self.tokens:
            raise self._error("ends too early")
        return self.tokens.pop(0)

    def _take(self, sign: str) -> bool:
        if self.tokens and self.tokens[0] == ("sign", sign):
            self.tokens.pop(0)
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._error(f"lacks {sign}")

    def _error(self, problem: str) -> ExpressionError:
        return ExpressionError(f"the expression {self.source!r} {problem}")


def _member(value: Value, key: Value) -> Value:
    if isinstance(value, Mapping):
        wanted = as_text(key).lower()
        return next((found for name, found in value.items() if name.lower() == wanted), None)
    if isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value):
        return value[key]
    return None


def _compare(sign: str, left: Value, right: Value) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        left, right = left.lower(), right.lower()
    elif type(left) is not type(right):
        left, right = _number(left), _number(right)
    if sign in {"==", "!="}:
        return bool(left == right) is (sign == "==")
    order = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[sign]
    try:
        return bool(order(left, right))
    except TypeError:
        return False


def _number(value: Value) -> float:
    if isinstance(value, (list, Mapping)):
        return float("nan")
    try:
        return float(value or 0)
    except ValueError:
        return float("nan")


def _contains(haystack: Value, needle: Value) -> bool:
    if isinstance(haystack, list):
        return any(_compare("==", item, needle) for item in haystack)
    return as_text(needle).lower() in as_text(haystack).lower()


def _format(text: str, *values: Value) -> str:
    return re.sub(
        r"\{\{|\}\}|\{(\d+)\}",
        lambda found: as_text(values[int(found[1])]) if found[1] else found[0][0],
        text,
    )


_FUNCTIONS: Mapping[str, Any] = {
    "contains": _contains,
    "startswith": lambda text, start: as_text(text).lower().startswith(as_text(start).lower()),
    "endswith": lambda text, end: as_text(text).lower().endswith(as_text(end).lower()),
    "format": _format,
    "join": lambda items, by=",": by.join(map(as_text, items)),
    "tojson": lambda value: json.dumps(value, indent=2),
    "fromjson": json.loads,
}
