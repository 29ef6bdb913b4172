"""How commands speak: results on stdout, one clear line for a user's error on stderr."""

import contextlib
import json
from collections.abc import Iterator, Mapping

import typer

BAD_INPUT = 2


@contextlib.contextmanager
def user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds, which bad input causes, into a line on stderr and status 2."""
    try:
        yield
    except kinds as error:
        raise stop(str(error)) from None


def stop(message: str, status: int = BAD_INPUT) -> typer.Exit:
    """Say what is wrong on stderr; raise what this returns."""
    typer.echo(f"echocascade: {message}", err=True)
    return typer.Exit(status)


def print_json(content: Mapping[str, object]) -> None:
    """One JSON object on stdout and nothing else."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
