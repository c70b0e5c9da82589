"""Guards: what may stop a notification before any route is looked at.

Each is compiled from its table of the document into a function of the situation; the order is fixed, from what nobody
may override to what only delays. A guard that stops gives the outcome; every guard leaves a line in the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from channels.model import Category
from channels.reasons import Reason
from policies.document import Action, CountryGuard, FrequencyCap, PolicyDocument, QuietHours
from policies.model import Deferred, Outcome, Rejected, Suppressed, TraceEntry
from policies.pauses import Pauses
from policies.situation import Situation, covers_all, recipient_zones, stopping_scope
from policies.templates import Templates, variables_fault
from policies.zones import open_in_all

Checked = tuple[TraceEntry, Outcome | None]
Guard = Callable[[Situation], Checked]


def compile_guards(document: PolicyDocument, templates: Templates, pauses: Pauses) -> tuple[Guard, ...]:
    """All guards in the order in which they are asked; those that there is nothing for are left out."""
    return tuple(_guards(document, templates, pauses))


def compile_late(document: PolicyDocument, pauses: Pauses) -> tuple[Guard, ...]:
    """Those whose answer the clock or another document may have changed since: asked once more before each attempt.

    Opt-outs and expiry are looked at there whatever the document says; a place under a cap was taken at the decision.
    """
    return tuple(_late(document, pauses))


def _late(document: PolicyDocument, pauses: Pauses) -> Iterator[Guard]:
    if pauses:
        yield paused(pauses)
    if document.guards.countries:
        yield countries(document.guards.countries, document)
    for quiet in document.guards.quiet_hours:
        yield quiet_hours(quiet, document)


def _guards(document: PolicyDocument, templates: Templates, pauses: Pauses) -> Iterator[Guard]:
    guards = document.guards
    yield suppression
    yield expiry
    if pauses:
        yield paused(pauses)
    if guards.countries:
        yield countries(guards.countries, document)
    if guards.opt_in:
        yield opt_in
    yield template(templates)
    yield schedule
    for quiet in guards.quiet_hours:
        yield quiet_hours(quiet, document)
    for cap in guards.frequency:
        yield frequency(cap)


def at(moment: datetime) -> str:
    """A moment as the trace shows it."""
    return moment.isoformat(" ", "minutes")


def _pass(rule: str, because: str) -> Checked:
    return TraceEntry(rule, False, because), None


def _stop(rule: str, because: str, outcome: Outcome) -> Checked:
    return TraceEntry(rule, True, because), outcome


def _hold(rule: str, because: str, until: datetime | None, reason: Reason, situation: Situation) -> Checked:
    """`held`, with a sentence that says until when."""
    outcome = held(until, reason, situation)
    expires_at = situation.request.expires_at
    if until is None:
        return _stop(rule, because, outcome)
    if isinstance(outcome, Suppressed) and expires_at is not None:
        late = f"{because}; it would wait until {at(until)} and expires before, at {at(expires_at)}"
        return _stop(rule, late, outcome)
    return _stop(rule, f"{because}; asked again at {at(until)}", outcome)


def held(until: datetime | None, reason: Reason, situation: Situation) -> Deferred | Suppressed:
    """Deferred, unless nothing would be left to send by then; without `until`, suppressed."""
    expires_at = situation.request.expires_at
    if until is None:
        return Suppressed(reason)
    return Suppressed(Reason.EXPIRED) if expires_at is not None and expires_at <= until else Deferred(until, reason)


# What passes in the usual way says the same each time.
_NO_OPT_OUT = _pass("guard.suppression", "no opt-out is on record")
_NO_EXPIRY = _pass("guard.expiry", "it has no 'expires_at'")
_NO_SCHEDULE = _pass("guard.schedule", "it has no 'send_at': it may go now")
_NO_TEMPLATE = _pass("guard.template", "no template is given")


def suppression(situation: Situation) -> Checked:
    """STOP comes before everything else."""
    rule = "guard.suppression"
    if not situation.stops:
        return _NO_OPT_OUT
    scope = stopping_scope(situation.stops, situation.category)
    if scope is not None:
        return _stop(rule, f"the recipient opted out: the scope is '{scope}'", Suppressed(Reason.OPTED_OUT))
    scopes = ", ".join(sorted(situation.stops))
    return _pass(rule, f"the recipient opted out of {scopes}: this takes away those steps only")


def expiry(situation: Situation) -> Checked:
    """Too late is not sent."""
    rule = "guard.expiry"
    expires_at = situation.request.expires_at
    if expires_at is None:
        return _NO_EXPIRY
    if expires_at <= situation.now:
        return _stop(rule, f"it expired at {at(expires_at)}", Suppressed(Reason.EXPIRED))
    return _pass(rule, f"it expires later, at {at(expires_at)}")


def paused(pauses: Pauses) -> Guard:
    """Categories and sources that are stopped for now; paused channels are taken out of the plans."""
    rule = "guard.paused"

    def check(situation: Situation) -> Checked:
        pause = pauses.whole(situation.category, situation.source, situation.now)
        if pause is None:
            return _pass(rule, f"neither category '{situation.category}' nor source '{situation.source}' is paused")
        return _hold(
            rule,
            pause.because,
            pause.asked_again(situation.now, situation.request.expires_at),
            Reason.PAUSED,
            situation,
        )

    return check


def countries(table: CountryGuard, document: PolicyDocument) -> Guard:
    """Where nothing is sent. An address without a country costs no carrier's fee and passes."""
    rule = "guard.countries"
    allowed, blocked = document.countries(table.allowed), document.countries(table.blocked)

    def check(situation: Situation) -> Checked:
        country = situation.country
        if country is None:
            return _pass(rule, "the address belongs to no country")
        if country in blocked:
            return _stop(rule, f"{country} is a blocked country", Suppressed(Reason.COUNTRY_BLOCKED))
        if allowed and country not in allowed:
            return _stop(rule, f"{country} is not among the allowed countries", Suppressed(Reason.COUNTRY_BLOCKED))
        return _pass(rule, f"{country} is allowed")

    return check


def opt_in(situation: Situation) -> Checked:
    """Where an opt-in is needed, it must be on record; a narrow one leaves only the candidates it names."""
    rule = "guard.opt-in"
    permits, what = situation.permits, f"category '{situation.category}' in {situation.country or 'no country'}"
    if permits is None:
        return _pass(rule, f"{what} needs no opt-in")
    if covers_all(permits, situation.category):
        return _pass(rule, f"{what} needs an opt-in and one is on record")
    narrow = sorted(scope for scope in permits if not scope.startswith("category:"))
    if narrow:
        return _pass(rule, f"{what} needs an opt-in: those on record leave only {', '.join(narrow)}")
    return _stop(rule, f"{what} needs an opt-in and none is on record", Suppressed(Reason.NO_CONSENT))


def template(templates: Templates) -> Guard:
    """What the provider would refuse is refused here, by name, before anything waits for its time."""
    rule = "guard.template"

    def check(situation: Situation) -> Checked:
        request = situation.request.template
        if request is None:
            return _NO_TEMPLATE
        entry = templates.entry(request)
        if entry is None and request.content_sid is None:
            because = f"content.template.name: no template '{request.name}' is configured under [templates]"
            return _stop(rule, because, Rejected(Reason.TEMPLATE_UNKNOWN, because))
        if fault := variables_fault(request, entry):
            return _stop(rule, fault, Rejected(Reason.TEMPLATE_VARIABLES, fault))
        return _pass(rule, f"template '{request.name or request.content_sid}' is known and its variables can be sent")

    return check


def schedule(situation: Situation) -> Checked:
    """Not before `send_at`."""
    rule = "guard.schedule"
    send_at = situation.request.send_at
    if send_at is None:
        return _NO_SCHEDULE
    if send_at <= situation.now:
        return _pass(rule, f"its 'send_at' has come: {at(send_at)}")
    return _hold(rule, "its 'send_at' lies ahead", send_at, Reason.SCHEDULED, situation)


def quiet_hours(table: QuietHours, document: PolicyDocument) -> Guard:
    """Nothing is sent while the clock of the recipient, in any zone they may be in, stands inside these hours."""
    rule = "guard.quiet-hours"
    served, exempt = document.countries(table.country), frozenset[str](table.exempt)
    hours = f"{table.start:%H:%M}-{table.end:%H:%M}"

    def check(situation: Situation) -> Checked:
        if situation.category in exempt:
            return _pass(rule, f"category '{situation.category}' is exempt from {hours}")
        if served and situation.country not in served:
            return _pass(rule, f"{hours} does not hold in {situation.country or 'no country'}")
        zones = recipient_zones(situation, table.timezone)
        if not zones:
            return _pass(rule, f"the recipient's time zone is not known, so {hours} cannot be told")
        names = ", ".join(zone.key for zone in zones)
        opens = open_in_all(situation.now, zones, table.start, table.end)
        if opens == situation.now:
            return _pass(rule, f"now is outside {hours} in {names}")
        if opens is None:
            never = f"no hour of the day is outside {hours} in all of {names}"
            return _hold(rule, never, None, Reason.QUIET_HOURS, situation)
        until = opens if table.action is Action.DEFER else None
        return _hold(rule, f"now is inside {hours} in {names}", until, Reason.QUIET_HOURS, situation)

    return check


def frequency(cap: FrequencyCap) -> Guard:
    """No more than so many messages of these categories in the window that ends now."""
    rule = "guard.frequency"
    counted = cap.category or tuple(Category)
    window = timedelta(seconds=cap.window)
    size = f"{cap.limit} in {cap.window} s"

    def check(situation: Situation) -> Checked:
        if situation.category not in counted:
            return _pass(rule, f"category '{situation.category}' is not under the cap of {size}")
        recent = situation.facts.recent
        sent = sorted(
            moment for category in counted for moment in recent.get(category, ()) if situation.now - moment < window
        )
        if len(sent) < cap.limit:
            return _pass(rule, f"the recipient had {len(sent)} of these lately and the cap is {size}")
        # With n sent, the (n - limit + 1) oldest must leave the window before the next one may go.
        free_at = sent[len(sent) - cap.limit] + window
        until = free_at if cap.action is Action.DEFER else None
        because = f"the recipient had {len(sent)} of these lately and the cap is {size}"
        return _hold(rule, because, until, Reason.FREQUENCY_CAP, situation)

    return check
