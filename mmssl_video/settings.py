"""Nested settings, compared value by value."""

from collections.abc import Mapping
from typing import Any

MAX_TOLD = 6


def flatten(settings: Mapping[str, Any]) -> dict[str, str]:
    """Flatten settings to texts by their paths.

    ``{'pipeline': [{'num_clips': 3}]}`` becomes ``{'pipeline.0.num_clips': '3'}``. Flat settings
    do not change.
    """
    flat: dict[str, str] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(item, f'{path}.{key}' if path else key)
        elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value):
                walk(item, f'{path}.{number}')
        else:
            flat[path] = str(list(value) if isinstance(value, tuple) else value)

    walk(settings, '')
    return flat


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Compare settings: the two values of each difference as text, by path, alphabetically."""
    one, other = flatten(first), flatten(second)
    both = {
        path: (one.get(path, 'not set'), other.get(path, 'not set'))
        for path in sorted(one.keys() | other.keys())
    }
    return {path: values for path, values in both.items() if values[0] != values[1]}


def tell(differ: Mapping[str, tuple[str, str]]) -> str:
    """Write the first differences in a line, ``a.b: 3 and 5; …``; short paths come first."""
    paths = sorted(differ, key=lambda path: (path.count('.'), path))
    told = [f'{path}: {differ[path][0]} and {differ[path][1]}' for path in paths[:MAX_TOLD]]
    more = f'; and {len(paths) - MAX_TOLD} more' if len(paths) > MAX_TOLD else ''
    return '; '.join(told) + more
