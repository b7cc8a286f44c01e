"""The part of RESULTS.md that a script writes again, and the runs of `forecastd dasha` behind it."""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def replace(name, text):
    """Puts a text between the two comments that are named after a target of make."""
    page = HERE / "RESULTS.md"
    begin, end = f"<!-- make {name}: begin -->", f"<!-- make {name}: end -->"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"{page.name} has no {begin} … {end} to write between")
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")


def main(name, description, run_all, section):
    """A script that runs networks, and writes what they told into its part of the page."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("forecastd")
    parser.add_argument("torch")
    parser.add_argument("data")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--page", action="store_true", help="run nothing")
    given = parser.parse_args()
    if not given.page:
        run_all(given.forecastd, given.torch, given.data, given.folder)
    replace(name, section(given.folder))


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def dasha(forecastd, torch, file, options):
    """The card of a run on one thread, as text."""
    with tempfile.TemporaryDirectory() as out:
        command = [forecastd, "dasha", file, "--task", "classify", "--backbone", "wide_resnet", "--scale", "small",
                   "--threads", 1, "--executable", torch, "--json", "--out", Path(out, "artifact"), *options]
        return subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, check=True, text=True).stdout


def keep(path, make):
    """What a file has, made and written if it is not there."""
    if not path.exists():
        print(path.stem, file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make())
