"""What every command of ours shares: an error is one clear message, and an exit code that can be relied on."""

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from plimsoll.core.errors import Misuse, PlimsollError

__all__ = ["INTERRUPTED", "Command", "GateCommand", "explained"]

INTERRUPTED = 130
"""The exit code after ctrl-C, as shells have it."""

_TRACEBACK = "PLIMSOLL_TRACEBACK"


class Command(click.Command):
    """A command that ends in a message, never in a traceback, and with `--json` always in one JSON object.

    `if_interrupted` is what somebody who pressed ctrl-C should know.
    """

    error_code = 1

    def __init__(self, *args: Any, if_interrupted: str = "Nothing was changed.", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._if_interrupted = if_interrupted

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError:
            raise
        except click.ClickException as error:
            failure: click.ClickException = error
        except PlimsollError as error:
            failure = click.ClickException(str(error))
        except KeyboardInterrupt:
            raise self._failed(ctx, click.ClickException(f"interrupted. {self._if_interrupted}"), INTERRUPTED) from None
        except (click.exceptions.Exit, click.Abort, OSError):
            raise  # a closed pipe is click's to end quietly
        except Exception as error:
            if os.environ.get(_TRACEBACK):
                raise
            failure = click.ClickException(f"{_named(error)}. {_TRACEBACK}=1 shows how it came to this.")
        raise self._failed(ctx, failure, self.error_code) from failure

    def _failed(self, ctx: click.Context, failure: click.ClickException, code: int) -> click.ClickException:
        if ctx.params.get("as_json"):
            click.echo(json.dumps({"error": failure.message}))
        failure.exit_code = code  # type: ignore[misc]  # click reads it from the instance
        return failure


class GateCommand(Command):
    """A command whose exit code 1 is a verdict. What could not be tried at all is INCONCLUSIVE, never BLOCK."""

    error_code = 2


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns an error in somebody else's code into a `Misuse` that says what failed and where: `what` is `importing x`.

    Errors of ours pass as they are, and so does ctrl-C.
    """
    try:
        yield
    except PlimsollError:
        raise
    except (Exception, SystemExit) as error:
        if os.environ.get(_TRACEBACK):
            raise
        raise Misuse(f"{what} failed: {_named(error)}") from error


def _named(error: BaseException) -> str:
    """The error in words, with its place: its last line in the working directory, or its last at all."""
    words = str(error) or "no message"
    if isinstance(error, SystemExit):
        words = f"it ended the program with {error.code!r}; guard that by `if __name__ == '__main__':`"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    here = str(Path.cwd())
    own = [frame for frame in frames if frame.filename.startswith(here + os.sep)]
    last = (own or frames)[-1:]
    place = (
        f" ({os.path.relpath(last[0].filename) if own else last[0].filename}, line {last[0].lineno})" if last else ""
    )
    return f"{type(error).__name__}: {words}{'' if isinstance(error, SyntaxError) else place}"
