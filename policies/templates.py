"""Which approved template a request means, in which language, and whether its variables will be taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace

from policies.model import TemplateRequest
from policies.world import TemplateEntry

#: Limits of Twilio's Content API; breaking one is refused there with 21656 or 63013.
#: https://www.twilio.com/docs/content/using-variables-with-content-api
_MOST_VARIABLES = 100
_LONGEST_VALUE = 1600
_FIELD = "content.template.variables"

_GAP = " " * 5

#: What a value must not be, with the words for it.
_FAULTS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda value: not value.strip(), "is empty"),
    (lambda value: "\n" in value or "\r" in value, "holds a line break"),
    (lambda value: "\t" in value, "holds a tab"),
    (lambda value: _GAP in value, "holds more than four spaces in a row"),
    (lambda value: len(value) > _LONGEST_VALUE, f"is longer than {_LONGEST_VALUE} characters"),
)


@dataclass(frozen=True, slots=True)
class ChosenTemplate:
    """What a step sends; `language` is None where only the provider's id was given."""

    what: str  #: its content SID, or the text that stands for it
    language: str | None
    because: str
    entry: TemplateEntry | None = None  #: what the configuration says of it; None where it does not know it


def variables_fault(request: TemplateRequest, entry: TemplateEntry | None) -> str | None:
    """A sentence that names the first variable the provider would refuse; None if it takes them all."""
    given: Mapping[str, object] = request.variables
    if entry and (missing := sorted(entry.variables - given.keys())):
        return f"{_FIELD}.{missing[0]} is missing: template '{entry.name}' needs it"
    if len(given) > _MOST_VARIABLES:
        return f"{_FIELD} has {len(given)} variables; a template takes {_MOST_VARIABLES} at most"
    for name, value in given.items():
        if fault := _fault(value):
            return f"{_FIELD}.{name} {fault}; the provider refuses such a value"
    return None


def _fault(value: object) -> str | None:
    if not isinstance(value, str):
        return "is no string"
    if value.isprintable() and _GAP not in value and len(value) <= _LONGEST_VALUE and value.strip():
        return None  # nearly all of them: line breaks and tabs cannot be printed
    return next((words for is_faulty, words in _FAULTS if is_faulty(value)), None)


def matches(language: str, wanted: str) -> bool:
    """Whether this language is the wanted one or a region of it."""
    return _normal(wanted) in (_normal(language), _base(language))


class TemplateLanguages:
    """One template's languages, prepared for lookup: with `approval` those that are approved, else all of them."""

    def __init__(self, entry: TemplateEntry, *, approval: bool = True) -> None:
        self.entry = entry
        self._left_out = left_out = dict(entry.unapproved) if approval else {}
        self._approved = {language: sid for language, sid in entry.languages.items() if language not in left_out}
        said = ", ".join(f"{language} is {state}" for language, state in left_out.items())
        self._aside = f"; {said}" if said else ""
        self.missing = f"template '{entry.name}' is approved in no language{f' ({said})' if said else ''}"
        self._exact = {_normal(language): language for language in self._approved}
        # reversed: of several regions of one base language, the first in fallback order stays
        self._by_base = {_base(language): language for language in reversed(self._approved)}

    @property
    def languages(self) -> Collection[str]:
        """Those that it is approved in, in fallback order."""
        return self._approved.keys()

    def choose(self, asked: str | None, usual: str | None) -> ChosenTemplate | None:
        """The asked language, its base, another region of it; then the country's usual one likewise; then any.

        None if the template is approved in no language.
        """
        for wanted, whose in ((asked, "asked for"), (usual, "usual in the country")):
            if wanted and (found := self._nearest(wanted)):
                how = f"{wanted} is {whose}" + ("" if found == wanted else f" and {found} is the nearest approved")
                return self._chosen(found, how)
        first = next(iter(self._approved), None)
        if first is None:
            return None
        return self._chosen(first, "the first in its fallback order")

    def choose_given(self, language: str) -> ChosenTemplate | None:
        """The content of exactly this language, which was named by its content SID; None if that is not approved."""
        if language not in self._approved:
            return None
        because = f"template '{self.entry.name}' in {language} (given by its content SID)"
        return ChosenTemplate(self._approved[language], language, because, self.entry)

    def missing_given(self, language: str) -> str:
        """Why `choose_given` finds nothing."""
        return f"template '{self.entry.name}' in {language}, given by its content SID, is {self._left_out[language]}"

    def _nearest(self, wanted: str) -> str | None:
        normal, base = _normal(wanted), _base(wanted)
        return self._exact.get(normal) or self._exact.get(base) or self._by_base.get(base)

    def _chosen(self, language: str, how: str) -> ChosenTemplate:
        because = f"template '{self.entry.name}' in {language} ({how}{self._aside})"
        return ChosenTemplate(self._approved[language], language, because, self.entry)


def texts_of(entry: TemplateEntry) -> TemplateLanguages:
    """The languages of the texts that stand for a template where none can go."""
    return TemplateLanguages(replace(entry, languages=entry.text), approval=False)


class Templates:
    """All configured templates, found by name or by the content SID of one of their languages.

    With `approval` only what the provider approved can be chosen.
    """

    def __init__(self, entries: Iterable[TemplateEntry], *, approval: bool = True) -> None:
        self._by_name = {entry.name: TemplateLanguages(entry, approval=approval) for entry in entries}
        self._by_sid: dict[str, tuple[TemplateLanguages, str]] = {}
        for template in self._by_name.values():
            for language, sid in template.entry.languages.items():
                self._by_sid.setdefault(sid, (template, language))

    @property
    def languages(self) -> Set[str]:
        """All that can be chosen."""
        return {language for template in self._by_name.values() for language in template.languages}

    def entry(self, request: TemplateRequest) -> TemplateEntry | None:
        """What the configuration says of it; None where it knows neither name nor SID."""
        found, _ = self._find(request)
        return found.entry if found else None

    def language_asked(self, request: TemplateRequest) -> str | None:
        """The one that is asked for; a configured SID stands for its own."""
        _, given = self._find(request)
        return given or request.language

    def choose(self, request: TemplateRequest, usual: str | None) -> ChosenTemplate | None:
        """What this request means, where `usual` is the language of the recipient's country; None: nothing approved."""
        found, given = self._find(request)
        if found is None:
            sid = request.content_sid
            return ChosenTemplate(sid, None, "the template is given by its content SID") if sid else None
        return found.choose_given(given) if given else found.choose(request.language, usual)

    def missing(self, request: TemplateRequest) -> str:
        """Why nothing can be chosen, in words."""
        found, given = self._find(request)
        if found is None:
            return "the template is approved in no language"
        return found.missing_given(given) if given else found.missing

    def _find(self, request: TemplateRequest) -> tuple[TemplateLanguages | None, str | None]:
        """The template, and the language that was given by its content SID, if it was."""
        if request.content_sid is not None:
            return self._by_sid.get(request.content_sid, (None, None))
        return self._by_name.get(request.name or ""), None


def _normal(language: str) -> str:
    """BCP 47 compares without case; providers write 'pt_BR' for 'pt-BR'."""
    return language.lower().replace("_", "-")


def _base(language: str) -> str:
    return _normal(language).partition("-")[0]
