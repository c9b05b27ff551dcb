"""What `hpo report` prints beside the file that it has written."""

from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from hpo.report.summary import Summary


def print_summary(study: str, words: Summary, path: Path) -> None:
    """Print what was learnt and what to do next, in lines as wide as the terminal."""
    console = Console(highlight=False)
    console.print(Text(f"{study}: {words.standing}", style="bold"))
    for sentence in words.learnt:
        console.print(_item("-", sentence))
    console.print(Text("\nnext:"))
    for place, step in enumerate(words.next_steps, 1):
        console.print(_item(f"{place}.", step.why))
        if step.command:
            console.print(f"     {step.command}", markup=False, soft_wrap=True)
    console.print(f"\nfigures and tables: {path}", markup=False, soft_wrap=True)


def _item(mark: str, sentence: str) -> Padding:
    return Padding(Text(f"{mark} {sentence}"), (0, 0, 0, 2))
