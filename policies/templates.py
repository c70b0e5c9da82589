"""Which approved template a request means, in which language, and whether its variables will be taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from policies.model import TemplateRequest
from policies.world import TemplateEntry

#: Limits of Twilio's Content API; breaking one is refused there with 21656 or 63013.
#: https://www.twilio.com/docs/content/using-variables-with-content-api
_MOST_VARIABLES = 100
_LONGEST_VALUE = 1600
_FIELD = "content.template.variables"

#: What a value must not be, with the words for it.
_FAULTS: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda value: not value.strip(), "is empty"),
    (lambda value: "\n" in value or "\r" in value, "holds a line break"),
    (lambda value: "\t" in value, "holds a tab"),
    (lambda value: "     " in value, "holds more than four spaces in a row"),
    (lambda value: len(value) > _LONGEST_VALUE, f"is longer than {_LONGEST_VALUE} characters"),
)


@dataclass(frozen=True, slots=True)
class ChosenTemplate:
    """What a step sends; `language` is None where only the provider's id was given."""

    what: str  #: its content SID, or the text that stands for it
    language: str | None
    because: str


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
    return next((words for is_faulty, words in _FAULTS if is_faulty(value)), None)


def matches(language: str, wanted: str) -> bool:
    """Whether this language is the wanted one or a region of it."""
    return _normal(wanted) in (_normal(language), _base(language))


class TemplateLanguages:
    """One template's languages, prepared for lookup: with `approval` those that are approved, else all of them."""

    def __init__(self, entry: TemplateEntry, *, approval: bool = True) -> None:
        self._name = entry.name
        self.category = entry.category  #: the provider's
        left_out = dict(entry.unapproved) if approval else {}
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

    def _nearest(self, wanted: str) -> str | None:
        normal, base = _normal(wanted), _base(wanted)
        return self._exact.get(normal) or self._exact.get(base) or self._by_base.get(base)

    def _chosen(self, language: str, how: str) -> ChosenTemplate:
        because = f"template '{self._name}' in {language} ({how}{self._aside})"
        return ChosenTemplate(self._approved[language], language, because)


def texts_of(entry: TemplateEntry) -> TemplateLanguages:
    """The languages of the texts that stand for a template where none can go."""
    return TemplateLanguages(replace(entry, languages=entry.text), approval=False)


def chosen_template(
    request: TemplateRequest, templates: Mapping[str, TemplateLanguages], usual: str | None
) -> ChosenTemplate | None:
    """What this request means, where `usual` is the language of the recipient's country; None: nothing approved."""
    if request.content_sid is not None:
        return ChosenTemplate(request.content_sid, None, "the template is given by its content SID")
    languages = templates.get(request.name or "")
    return languages.choose(request.language, usual) if languages else None


def _normal(language: str) -> str:
    """BCP 47 compares without case; providers write 'pt_BR' for 'pt-BR'."""
    return language.lower().replace("_", "-")


def _base(language: str) -> str:
    return _normal(language).partition("-")[0]
