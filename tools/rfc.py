"""Check the RFC citations, and write the page that lists where each rule is kept.

A citation reads ``RFC 5321 section 4.1.1.4``, ``RFC 3461 sections 4.1 and 4.2`` or
``RFC 5321 appendix D``. Each must name a section that the RFC has. The sections are
in ``rfc_sections.tsv`` beside this file, so the check needs no text of an RFC; and
``rfc_status.tsv`` tells of each RFC what either end does of it, and a test:

    python tools/rfc.py                  check, and write docs/reference/conformance.md
    python tools/rfc.py --index FOLDER   write rfc_sections.tsv from a folder of texts
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "tools" / "rfc_sections.tsv"
STATUS = ROOT / "tools" / "rfc_status.tsv"
PAGE = ROOT / "docs" / "reference" / "conformance.md"

#: What an end does of an RFC.
WORDS = {
    "always": "without being asked",
    "option": "if an option says so",
    "hook": "if a session has the hook for it",
    "method": "by a function or method to be called",
    "never": "not possible",
    "-": "not its business",
}
# Which end a file belongs to; all others belong to both.
_SERVER_FILES = re.compile(
    r"src/smtpx/(?:core/(?:server|config|limits|states|events|exchange|buffer)"
    r"|server/|app/|verify/|sasl/scram_server|testing/(?:scripted|server|asyncio))"
    r"|tests/(?:core/test_(?:server|config|limits|states|events|exchange|buffer)"
    r"|server/|app/|verify/|transcripts/(?:server|attacks)/)"
)
_CLIENT_FILES = re.compile(
    r"src/smtpx/(?:core/client|client/|sasl/scram_client|net/(?:races|proxies|blocking)"
    r"|testing/(?:script_server|client))"
    r"|tests/(?:core/test_client|client/|transcripts/client/|net/test_(?:races|proxies))"
)

_MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November"
    "|December"
)
# RFC 9989 was at hand as the draft that became it; the section numbers are the same.
_FILE_OF_DRAFT = {"draft-ietf-dmarc-dmarcbis-41": "9989"}

_NUMBER = r"(?:\d+(?:\.\d+)*|[A-Z](?:\.\d+)*(?!\w))"
_HEADING = re.compile(
    rf"^(?:Appendix\s+)?({_NUMBER})(?:\.|\s+--?)?\s+([A-Za-z\"'(<#].*)$"
)
_CITATION = re.compile(
    r"\bRFC (?P<rfc>\d+)"
    rf"(?: (?:section|appendix) (?P<one>{_NUMBER})(?![\w-])"
    rf"| (?:sections|appendices) (?P<many>{_NUMBER}(?:(?:, | and | to ){_NUMBER})+))?"
)
# A line end inside a citation, with the comment sign, the quotes of a string that goes
# on, or the indentation around it.
_LINE_JOIN = re.compile(r"\s*(?:(?:\\n)?[\"'])?\n[ \t]*(?:#:?[ \t]*|[rf]?[\"'])?")
# A link to the text of an RFC is not a citation.
_LINK = re.compile(r"\bhttps?://\S+")
_OTHER_FORMS = re.compile(
    r"\bRFC-?\d{4,}|\bRFC \d+(?:,? ?§|,? Sec|, ?section| sec\.)"
    r"|\b[Ss]ections? [\d.]+ (?:of|in) RFC"
    r"|\bRFC \d+ (?:sections?|appendix|appendices)\b(?! [\dA-Z])"
)


@dataclass(frozen=True, slots=True, order=True)
class Citation:
    """One mention of an RFC, or of one section of it."""

    rfc: int
    section: str
    path: str


def read_index(path: Path = INDEX) -> dict[int, dict[str, str]]:
    """Read the titles of all sections of all RFCs; section "" is the RFC's own."""
    index: dict[int, dict[str, str]] = defaultdict(dict)
    for row in path.read_text(encoding="utf-8").splitlines():
        rfc, section, title = row.split("\t")
        index[int(rfc)][section] = title
    return dict(index)


def read_sections(text: str) -> dict[str, str]:
    """Find the headings of an RFC's text: section number to title."""
    sections = {"": _read_title(text)}
    for line in text.splitlines():
        if match := _HEADING.match(line):
            title = re.sub(r"[ .]*\.{2,}[ .]*\d*$", "", match[2]).strip()
            sections.setdefault(match[1], title)
    return sections


def _read_title(text: str) -> str:
    """Find the title: the paragraph between the date and the abstract or status."""
    front = re.split(r"(?mi)^ *(?:abstract|status of this memo)\b", text, maxsplit=1)[0]
    after_date = re.split(rf"(?:{_MONTHS})(?: \d+,)? \d{{4}}[ \t]*\n", front)[-1]
    below_heading = f"\n{after_date}".partition("\n\n")[2]
    title, _, _ = below_heading.strip().partition("\n\n")
    return " ".join(word for word in title.split() if not word.startswith("draft-"))


def write_index(folder: Path) -> None:
    """Write the index from the texts in a folder: ``rfc5321.txt`` and so on.

    What the index has of an RFC whose text is not there stays.
    """
    index = read_index()
    for path in folder.glob("*.txt"):
        name = _FILE_OF_DRAFT.get(path.stem, path.stem.removeprefix("rfc"))
        if name.isdigit():
            text = path.read_text(encoding="utf-8", errors="replace")
            index[int(name)] = read_sections(text)
    rows = [
        f"{rfc}\t{section}\t{index[rfc][section]}\n"
        for rfc in sorted(index)
        for section in sorted(index[rfc], key=section_key)
    ]
    INDEX.write_text("".join(rows), encoding="utf-8")


def section_key(section: str) -> list[tuple[bool, int, str]]:
    """Sort sections as the RFC does: 4.2 before 4.10, appendices last."""
    return [
        (part.isalpha(), int(part) if part.isdigit() else 0, part)
        for part in section.split(".")
        if part
    ]


def find_citations(text: str, path: str) -> Iterator[Citation]:
    """Find the citations of a text, also those that a line end divides."""
    for match in _CITATION.finditer(_LINE_JOIN.sub(" ", text)):
        sections = re.findall(_NUMBER, match["many"] or match["one"] or "")
        for section in sections or [""]:
            yield Citation(int(match["rfc"]), section, path)


def find_mistakes(
    text: str, path: str, index: Mapping[int, Mapping[str, str]]
) -> Iterator[str]:
    """Say what is wrong with the citations of a text."""
    for citation in find_citations(text, path):
        known = index.get(citation.rfc)
        if citation.section and known is None:
            yield f"{path}: RFC {citation.rfc} is not in {INDEX.name}: cite no section"
        elif known is not None and citation.section not in known:
            yield f"{path}: RFC {citation.rfc} has no section {citation.section}"
    for match in _OTHER_FORMS.finditer(_LINK.sub("", _LINE_JOIN.sub(" ", text))):
        yield f"{path}: write {match[0]!r} as 'RFC 5321 section 4.1.1.4'"


def source_files(*folders: str) -> Iterator[Path]:
    """List the files that may cite, in a stable order."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".md", ".txt"} and path != PAGE:
                yield path


def all_mistakes() -> list[str]:
    """Check every file of the library, its tests and its pages."""
    index = read_index()
    paths = [*source_files("src", "tests", "docs", "examples"), *ROOT.glob("*.md")]
    mistakes: list[str] = []
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        mistakes += find_mistakes(text, str(path.relative_to(ROOT)), index)
    return mistakes


@dataclass(frozen=True, slots=True)
class Status:
    """What either end does of an RFC, in one of `WORDS`, and a test of it."""

    rfc: int
    server: str
    client: str
    test: str
    note: str


def read_status(path: Path = STATUS) -> list[Status]:
    """Read what the ends do."""
    rows = (row.split("\t") for row in path.read_text(encoding="utf-8").splitlines())
    return [Status(int(rfc), *rest) for rfc, *rest in rows]


def status_mistakes(statuses: Sequence[Status], cited: set[int]) -> Iterator[str]:
    """Say what is wrong with the statuses.

    Args:
        statuses: of all RFCs, in order.
        cited: what the library cites.
    """
    listed = [status.rfc for status in statuses]
    if listed != sorted(set(listed)):
        yield f"{STATUS.name}: not in order, or one twice"
    for rfc in sorted(cited - set(listed)):
        yield f"RFC {rfc} has no row in {STATUS.name}: say what each end does of it"
    for rfc in sorted(set(listed) - cited):
        yield f"{STATUS.name}: nothing cites RFC {rfc} any more"
    for status in statuses:
        if not {status.server, status.client} <= WORDS.keys():
            yield f"{STATUS.name}: RFC {status.rfc} has another word than there are"
        if not (ROOT / status.test).is_file():
            yield f"{STATUS.name}: RFC {status.rfc}: there is no {status.test}"


def _find_places() -> dict[int, dict[str, set[str]]]:
    """Find what is cited where: RFC, section, paths."""
    places: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in source_files("src", "tests"):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        for citation in find_citations(text, path.relative_to(ROOT).as_posix()):
            places[citation.rfc][citation.section].add(citation.path)
    return places


def library_rfcs() -> set[int]:
    """Return the RFCs that the library itself cites."""
    return {
        rfc
        for rfc, sections in _find_places().items()
        if any(path.startswith("src") for paths in sections.values() for path in paths)
    }


def conformance_page() -> str:
    """Make the page: what each end does of an RFC, and where each section is kept."""
    index = read_index()
    places = _find_places()
    parts = [_INTRODUCTION, *(f"- *{word}*: {WORDS[word]}\n" for word in WORDS)]
    parts.append("\n| RFC | what | server | client | test |\n|---|---|---|---|---|\n")
    for one in read_status():
        title = index.get(one.rfc, {}).get("", "")
        what = f"{title}: {one.note}" if title else one.note
        parts.append(
            f"| {one.rfc} | {what} | {one.server} | {one.client} | `{one.test}` |\n"
        )
    for rfc in sorted(places):
        titles = index.get(rfc, {})
        heading = f"RFC {rfc}" + (f": {titles['']}" if titles else "")
        parts.append(
            f"\n## {heading}\n\n| section | server | client | kept in | tested in |\n"
            "|---|---|---|---|---|\n"
        )
        for section in sorted(places[rfc], key=section_key):
            name = f"{section} {titles.get(section, '')}".strip() if section else "-"
            paths = places[rfc][section]
            kept, tested = _split(paths)
            server, client = (
                _state(paths, of) for of in (_CLIENT_FILES, _SERVER_FILES)
            )
            parts.append(
                f"| {name} | {server} | {client} | {_code(kept)} | {_code(tested)} |\n"
            )
    return "".join(parts)


_INTRODUCTION = """\
# Conformance

Written by `make docs` from the citations in the code and the tests, and from
`tools/rfc_status.tsv`, which says what each end does of an RFC:

"""


def _state(paths: set[str], others: re.Pattern[str]) -> str:
    """Say whether an end keeps a section, and whether a test of that end says so."""
    own = {path for path in paths if others.match(path) is None}
    if any(path.startswith("tests") for path in own):
        return "tested"
    return "kept" if own else ""


def _split(paths: set[str]) -> tuple[list[str], list[str]]:
    """Part the library's files from the tests'."""
    kept = [path.removeprefix("src/smtpx/") for path in paths if path.startswith("src")]
    tested = [path for path in paths if path.startswith("tests")]
    return sorted(kept), sorted(tested)


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def main() -> int:
    """Run as the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, metavar="FOLDER")
    folder = parser.parse_args().index
    if folder is not None:
        write_index(folder)
        return 0
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(conformance_page(), encoding="utf-8")
    mistakes = [*all_mistakes(), *status_mistakes(read_status(), library_rfcs())]
    sys.stderr.writelines(f"{mistake}\n" for mistake in mistakes)
    return 1 if mistakes else 0


if __name__ == "__main__":
    raise SystemExit(main())
