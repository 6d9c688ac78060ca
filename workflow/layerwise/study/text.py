"""What may stand in a study file, whatever it means: a file that can be read, text that is text, names that are names.

Names become folders, files, targets and words of commands, and text becomes cells, labels and XML. Both are held here
against what all of these can take, once, before anything goes by them.
"""

from __future__ import annotations

import math
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError

NAME = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_-]*"
)  # of whatever becomes a folder, a file, a target or a word of a command
SPELLING = "letters, digits, _ and -, no - first"
LONGEST = 200  # letters of a name, or of segments joined with +: a file system takes 255, with an ending
LONGEST_PATH, DEEPEST_PATH = 2000, 100  # letters and segments of a network's path

MOST_BYTES = 2_000_000  # of a study file
MOST_VALUES = 50_000  # in it, with the aliases of YAML written out
DEEPEST = 40  # mappings and lists within one another

PROSE = {"description", "reason", "note", "leave_out"}  # keys below which text may have several lines
NO_CELL = {"title", "description", "datasets", "data_root"}  # keys below which text is in no CSV file
BIDIRECTIONAL = re.compile("[\u202a-\u202e\u2066-\u2069]")
FORMULA = re.compile("[=+\\-@\uff1d\uff0b\uff0d\uff20]")  # the last four are the same at full width
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


def read(path: Path, most: int = MOST_BYTES) -> str:
    """Return the text of a file in UTF-8; LayerwiseError where it is no file, too large, not text or not readable."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise LayerwiseError(f"{path}: not a file; name a study, such as studies/quick.yaml")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        said = getattr(error, "strerror", None) or error
        raise LayerwiseError(f"{path}: cannot be read ({said}); check its name and its permissions") from None
    if len(content) > most:
        raise LayerwiseError(f"{path}: larger than {most // 10**6} MB, which no study is")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LayerwiseError(f"{path}: not YAML or JSON, which is text in UTF-8; save it as UTF-8") from None


def check_name(name: str, what: str) -> None:
    """Refuse a name that cannot be a folder, a target and a word of a command alike."""
    if not NAME.fullmatch(name):
        raise LayerwiseError(f"{what} {short(name)}: call it by {SPELLING}")
    if len(name) > LONGEST:
        raise LayerwiseError(f"{what} {short(name)}: it has {len(name)} letters; a name has at most {LONGEST}")


def check_path(path: str) -> None:
    """Refuse a network whose folder would lie too deep."""
    steps = path.split("/")
    if len(path) > LONGEST_PATH or len(steps) > DEEPEST_PATH or max(map(len, steps)) > LONGEST:
        raise LayerwiseError(
            f"network {short(path)}: its path is {len(steps)} segments and {len(path)} letters long; at most are"
            f" {DEEPEST_PATH} segments of {LONGEST} letters and {LONGEST_PATH} letters in all; join some"
        )


def check_apart(names: Iterable[str], what: str) -> None:
    """Refuse names that differ in case alone, which are one file on the disk of a Mac."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise LayerwiseError(
                f"{what} {short(other)} and {short(name)} differ in case alone, and some disks do not; rename one"
            )


def check_plain(content: Any, where: str) -> None:
    """Refuse what no reader of a study can take, with its place.

    That is too much or too deep, a key that is no text, control characters, half a character, marks that turn the
    direction of text, a cell that a spreadsheet computes, and what is no number.
    """
    for count, (place, key, value) in enumerate(_walked(content, ())):
        if len(place) > DEEPEST:
            raise LayerwiseError(f"{where}: {short('/'.join(place[:3]), False)}: more than {DEEPEST} levels deep")
        if count > MOST_VALUES:
            raise LayerwiseError(f"{where}: more than {MOST_VALUES:,} values, with its aliases written out; say less")
        said = _wrong(place, key, value)
        if said:
            raise LayerwiseError(f"{where}: {'/'.join(short(p, quoted=False) for p in place) or 'it'}: {said}")


def _walked(content: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], bool, Any]]:
    """Give every key and value of what a file holds, as (place, whether it is a key, the thing)."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield place, True, key
            yield from _walked(value, (*place, str(key)))
    elif isinstance(content, list):
        yield place, False, content
        for i, value in enumerate(content):
            yield from _walked(value, (*place, str(i)))
    else:
        yield place, False, content


def _wrong(place: tuple[str, ...], key: bool, value: Any) -> str:
    """Return what is wrong with a key or a value at a place of a study; nothing where it is right."""
    if isinstance(value, float) and math.isnan(value):
        return "nan is no number"
    if key and not isinstance(value, str):
        return f"the key {value!r} is no text; put it in quotes"
    if not isinstance(value, str):
        return ""
    prose = not key and not PROSE.isdisjoint(place)
    for letter in "" if value.isprintable() else value:
        if not letter.isprintable() and not (prose and letter in "\n\t") and _unprintable(letter):
            return f"{short(value)} has {_called(letter)}, which is no text; write it in one line of plain text"
    if value and FORMULA.match(value.lstrip("\t\n")) and not NUMBER.fullmatch(value) and NO_CELL.isdisjoint(place[:1]):
        return f"{short(value)} begins with a sign, and a spreadsheet takes such a cell for a formula; rephrase it"
    return ""


def _unprintable(letter: str) -> bool:
    """Tell control characters, halves of characters, breaks of lines and marks of direction from spaces and joiners."""
    code = ord(letter)
    return (
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
        or BIDIRECTIONAL.match(letter) is not None
        or code & 0xFFFE == 0xFFFE
        or 0xFDD0 <= code <= 0xFDEF
    )


def _called(letter: str) -> str:
    if letter in "\n\r\u0085\u2028\u2029":
        return "a line break"
    if unicodedata.category(letter) == "Cs":
        return f"half a character (U+{ord(letter):04X})"
    kind = "mark of direction" if BIDIRECTIONAL.match(letter) else "control character"
    return f"a {kind} (U+{ord(letter):04X})"


def short(thing: Any, quoted: bool = True, most: int = 80) -> str:
    """Return a thing as an error shows it: in one line, in ASCII where it would not print, and cut where it is long."""
    text = repr(thing) if quoted else one_line(str(thing))
    return text if len(text) <= most else f"{text[: most - 20]}…{text[-19:]}"


def one_line(text: str) -> str:
    """Return text in one line, with escapes for what would not print."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
