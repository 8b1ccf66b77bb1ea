"""Values of flags as kube-apiserver writes them: durations, lists."""

from collections.abc import Sequence

import click


def seconds(_context: click.Context, _option: click.Parameter, text: str) -> float:
    """A duration as Go spells it (1m30s)."""
    from wherry.meta.duration import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a duration such as 1m30s") from error


def names(_context: click.Context, _option: click.Parameter, texts: Sequence[str]) -> tuple[str, ...]:
    """Comma-separated, and the flag may be repeated."""
    return tuple(name for text in texts for name in text.split(","))
