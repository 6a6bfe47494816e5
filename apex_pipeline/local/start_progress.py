"""Show the progress of the start: live on a terminal, otherwise a line per step."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn

from apex_pipeline.texts.printable_text import printable


class Startup:
    """The steps of a start, each with the seconds since the beginning."""

    def __init__(self, console: Console, steps: Sequence[str], began: float) -> None:
        """Prepare the display.

        Args:
            console: The console to write to.
            steps: The names of the steps, in the order in which they usually finish.
            began: When the start began, in seconds since the epoch.
        """
        self._console = console
        self._began = began
        self._pending = dict.fromkeys(steps, TaskID(0))
        self._width = max(map(len, steps), default=0)
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "Startup":
        self._progress.start()
        for step in self._pending:
            self._pending[step] = self._progress.add_task(step, total=1)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the display; finished and unfinished steps stay on the screen."""
        self._progress.stop()

    @property
    def pending(self) -> list[str]:
        """The steps that have not finished."""
        return list(self._pending)

    def done(self, step: str, note: str = "") -> None:
        """Show that a step has finished."""
        seconds = time.time() - self._began
        line = f"{step:<{self._width}}  {seconds:5.1f} s  {printable(note)}".rstrip()
        task = self._pending.pop(step)
        self._progress.update(task, completed=1, description=line)
        if not self._console.is_terminal:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
