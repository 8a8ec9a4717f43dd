"""What the quickstart prints."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from .data import Dataset
from .flow import OutputFile
from .progress import Epoch, Final, parse

# On a terminal, more models than this are shown as links on their names.
_FEW = 4


class Training:
    """What the log told so far."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.final: Final | None = None

    def take(self, line: str) -> None:
        match parse(line):
            case Epoch() as epoch:
                self.epochs.append(epoch)
            case Final() as final:
                self.final = final

    @property
    def samples_per_second(self) -> float:
        seconds = sum(epoch.seconds for epoch in self.epochs)
        return sum(epoch.samples for epoch in self.epochs) / seconds if seconds else 0.0


@dataclass(frozen=True)
class Result:
    """What came of a run. `passed` is None when it was too short to be judged."""

    told: Training
    final: Final
    passed: bool | None
    model: Path
    logs: Path


class Screen:
    """A terminal, or a pipe: the same lines, without what moves."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def say(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)

    def note(self, text: str) -> None:
        self._console.print(Text(text, style="dim"), soft_wrap=True)

    def warn(self, text: str) -> None:
        self._console.print(Text(text, style="yellow"), soft_wrap=True)

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[list[str]]:
        """One step: a spinner with `doing`, then a line with `done` and what the block appends."""
        start = time.monotonic()
        notes: list[str] = []
        with self._console.status(escape(doing)):
            yield notes
        text = " ".join([done, *notes])
        self._console.print(
            f"[green]✓[/] {escape(text)} [dim]{time.monotonic() - start:.1f} s[/]", soft_wrap=True
        )

    def training(self, lines: Iterable[str], epochs: int) -> Training:
        """Print the log as it comes, above a bar of epochs."""
        told = Training()
        columns = (
            SpinnerColumn(),
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        # On a pipe the bar would be one more line, and say nothing that the log did not.
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as bar:
            task = bar.add_task("training", total=epochs, note="starting")
            for line in lines:
                self._console.print(Text(f"  {line}", style="dim"), soft_wrap=True)
                told.take(line)
                if told.epochs:
                    last = told.epochs[-1]
                    bar.update(
                        task, completed=last.number, note=f"loss {last.loss:.4f}  error {last.error:.2f} %"
                    )
        return told

    def files(self, title: str, files: list[OutputFile]) -> None:
        """Names and download URLs, as the documents print them; on a terminal a long list is one of links."""
        self._console.print(f"\n[bold]{escape(title)}[/]")
        if not self._console.is_terminal or len(files) <= _FEW:
            for file in files:
                self._file(file)
            return
        links = (f"[link={file.url}]{escape(file.name)}[/link]" for file in files[:-1])
        self._console.print(f"  [dim]{'  '.join(links)}[/]")
        self._file(files[-1])

    def _file(self, file: OutputFile) -> None:
        self._console.print(f"  {escape(file.name)} [dim]({file.size:,} bytes)[/]")
        self._console.print(Text(f"    {file.url}", style=f"blue link {file.url}"), soft_wrap=True)

    def closing(self, dataset: Dataset, result: Result, seconds: float) -> None:
        """The table at the end. Paths are never folded, so that they can be copied."""
        told, final = result.told, result.final
        wrong = round(final.error * final.samples / 100)
        verdict = {
            True: f"[green]passes[/] ({dataset.bar_in_words})",
            False: f"[red]does not pass[/] ({dataset.bar_in_words})",
            None: f"[yellow]not judged[/] ({dataset.bar_in_words} is asked after {dataset.epochs} epochs)",
        }[result.passed]
        rows = {
            "Data": escape(dataset.name),
            "Epochs": str(len(told.epochs)),
            "Loss": f"{told.epochs[-1].loss:.6f}",
            "Test error": f"{final.error:.2f} %, {wrong} of {final.samples:,} wrong: {verdict}",
            "Speed": f"{told.samples_per_second:,.0f} samples/s",
            "Total time": f"{seconds:.1f} s",
            "Model": escape(str(result.model)),
            "Logs": escape(str(result.logs)),
        }
        self._console.rule(style="dim")
        for label, value in rows.items():
            self._console.print(f"[bold]{label:<12}[/]{value}", soft_wrap=True)
        self._console.rule(style="dim")
