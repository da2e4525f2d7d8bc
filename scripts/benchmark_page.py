"""docs/benchmarks.md and docs/scale.md: every script rewrites its own section, command and machine included."""

import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import torch

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
TITLE = "# Benchmarks\n\nEvery section is written by the command that stands in it, in one run on one machine.\n"


def write_section(name: str, title: str, body: str, path: Path = PAGE, page_title: str = TITLE) -> None:
    """Replace section `name` of a page, or append it; say which command made it, where and of which version."""
    command = shlex.join(["python", *sys.argv])
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    text = (
        f"<!-- begin {name} -->\n## {title}\n\n`{command}` at {revision.stdout.strip() or 'an unknown revision'}, "
        f"torch {torch.__version__}, {machine()}.\n\n{body.strip()}\n<!-- end {name} -->\n"
    )
    page = path.read_text() if path.exists() else page_title
    pattern = re.compile(rf"<!-- begin {name} -->.*?<!-- end {name} -->\n", re.DOTALL)
    page = pattern.sub(lambda _: text, page) if pattern.search(page) else f"{page}\n{text}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(page)
    print(f"wrote section {title!r} of {path}")


def machine() -> str:
    """Processor, threads, GPU."""
    names = (
        re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if platform.system() == "Linux" else []
    )
    parts = [names[0] if names else platform.processor(), f"{torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
