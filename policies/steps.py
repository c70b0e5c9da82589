"""Whether a step of a plan can work for this recipient and content, and if not, what is in its way.

The order of the checks is from what can never work to what only consent or an operator forbids. So an obstacle says
why a step fails that would work otherwise, which is what makes the refusal of a whole notification worth reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, lru_cache

from channels.model import MMS, SMS, WHATSAPP, Category, ChannelCapabilities, ChannelName, Form
from channels.reasons import Reason
from policies.content import filled, segments_of, text_with_links
from policies.guards import at
from policies.model import Step
from policies.pauses import Pause, first
from policies.senders import US_AND_CANADA, Candidate, Row, SenderTable
from policies.situation import Situation
from policies.templates import TemplateLanguages, Templates
from policies.world import TemplateEntry


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a step cannot work."""

    reason: Reason
    because: str
    until: datetime | None = None  #: when it is worth asking again; only where the channel is paused for so long


@dataclass(frozen=True, slots=True)
class Option:
    """A channel with everything about it that does not depend on the request."""

    channel: ChannelName
    capabilities: ChannelCapabilities
    senders: SenderTable
    templates: Templates
    texts: Mapping[str, TemplateLanguages]  #: what stands for templates on this channel, by the template's name
    languages: Mapping[str, str]  #: country -> its usual language
    pauses: tuple[Pause, ...]  #: of this channel
    max_segments: int | None  #: of one SMS; None: no limit
    narrowed: bool = False  #: a step names the senders that it may use


#: Whether one form can carry the content, from the first of these senders that may.
Fit = Callable[[Option, Situation, tuple[Candidate, ...]], Step | Obstacle]

#: Of several obstacles, the one whose removal helps most.
_MOST_HELPFUL = (Reason.TOO_LONG, Reason.TEMPLATE_UNKNOWN, Reason.SESSION_CLOSED, Reason.NOT_ON_CHANNEL)

#: Steps that are made once.
_REMEMBERED = 4096

_TEXT_FITS = "the text fits"
_MEDIA_FITS = "media arrives as media here"
_LINK_FITS = "media goes as links in the text"
_NO_TEXT = Obstacle(Reason.NO_ROUTE, "there is no text")
_NO_MEDIA = Obstacle(Reason.NO_ROUTE, "there is no media")
_NO_TEMPLATE = Obstacle(Reason.NO_ROUTE, "no template is given")
_LOSES_MEDIA = Obstacle(Reason.NO_ROUTE, "text alone would lose the media")


def fits_of(forms: Iterable[Form]) -> tuple[Fit, ...]:
    """What `resolve` tries, for these forms in their order."""
    return tuple(_FITS[form] for form in forms)


def resolve(option: Option, fits: tuple[Fit, ...], situation: Situation) -> Step | Obstacle:
    """The step as it would be sent, or what is in its way."""
    obstacle = _unreachable(option, situation)
    if obstacle:
        return obstacle
    row = option.senders.of(situation.country)
    if not row.tiers:
        return _nobody_serves(option, situation, row)
    last = situation.facts.last_sender
    candidates = row.order(situation.request.recipient, last.get(option.channel) if last else None)
    step = _fit(option, fits, situation, candidates)
    if isinstance(step, Obstacle):
        return step
    if option.pauses and (pause := first(option.pauses, situation.now)):
        again = pause.asked_again(situation.now, situation.request.expires_at)
        return Obstacle(Reason.PAUSED, pause.because, again)
    if not situation.stops and situation.permits is None:
        return step
    return _with_consent(option, fits, situation, candidates, step)


def _nobody_serves(option: Option, situation: Situation, row: Row) -> Obstacle:
    who = "none of the senders that this step names" if option.narrowed else "no configured sender"
    where = situation.country or "an address without a country"
    aside = f" ({row.left_out})" if row.left_out else ""
    return Obstacle(Reason.NO_ROUTE, f"{who} can serve {where} on {option.channel}{aside}")


def most_helpful(obstacles: list[Obstacle]) -> Reason:
    """The reason to give where all of these stand in the way."""
    reasons = [obstacle.reason for obstacle in obstacles]
    return next((reason for reason in _MOST_HELPFUL if reason in reasons), Reason.NO_ROUTE)


def _unreachable(option: Option, situation: Situation) -> Obstacle | None:
    """Whether the channel cannot reach this address at all."""
    channel, country = option.channel, situation.country
    if situation.scheme not in option.capabilities.schemes:
        return Obstacle(Reason.NOT_ON_CHANNEL, f"{channel} does not reach addresses of the kind '{situation.scheme}'")
    if channel in situation.facts.unreachable:
        learnt = situation.facts.unreachable[channel]
        return Obstacle(Reason.NOT_ON_CHANNEL, f"the recipient was found unreachable on {channel}: {learnt}")
    if channel == MMS:
        if country not in US_AND_CANADA:
            return Obstacle(Reason.NOT_ON_CHANNEL, f"MMS reaches the United States and Canada only, not {country}")
        if not situation.media:
            return Obstacle(Reason.NO_ROUTE, "MMS is for media and there is none")
    return None


def _with_consent(
    option: Option, fits: tuple[Fit, ...], situation: Situation, candidates: tuple[Candidate, ...], step: Step
) -> Step | Obstacle:
    """The step again, from those senders that the recipient's opt-outs and opt-ins leave."""
    refusals = [situation.forbidden(sender.scopes) for sender in candidates]
    if not any(refusals):
        return step
    left = tuple([sender for sender, refusal in zip(candidates, refusals, strict=True) if refusal is None])
    again = _fit(option, fits, situation, left) if left else None
    if isinstance(again, Step):
        return again
    if Reason.OPTED_OUT in refusals:
        return Obstacle(Reason.OPTED_OUT, f"the recipient opted out of {_what(option, situation)}")
    return Obstacle(Reason.NO_CONSENT, f"no opt-in on record covers {option.channel}")


def _what(option: Option, situation: Situation) -> str:
    return "this channel" if f"channel:{option.channel}" in situation.stops else f"our senders on {option.channel}"


def _fit(
    option: Option, fits: tuple[Fit, ...], situation: Situation, senders: tuple[Candidate, ...]
) -> Step | Obstacle:
    """The first form that can carry the content.

    What is in the way of a form that is for other content is not worth a word where anything else is.
    """
    obstacles = []
    for fit in fits:
        step = fit(option, situation, senders)
        if isinstance(step, Step):
            return step
        obstacles.append(step)
    return obstacles[0] if len(obstacles) == 1 else _together(*obstacles)


@lru_cache(maxsize=_REMEMBERED)
def _together(*obstacles: Obstacle) -> Obstacle:
    telling = [each for each in obstacles if each not in (_NO_MEDIA, _LOSES_MEDIA)] or list(obstacles)
    if len(telling) == 1:
        return telling[0]
    return Obstacle(most_helpful(telling), "; ".join(dict.fromkeys([obstacle.because for obstacle in telling])))


def _text(option: Option, situation: Situation, senders: tuple[Candidate, ...]) -> Step | Obstacle:
    if situation.media:
        return _LOSES_MEDIA if situation.text else _NO_TEXT
    if not situation.text:
        return _in_place_of_template(option, situation, senders) if option.texts else _NO_TEXT
    if option.channel == MMS or not option.capabilities.text:
        return Obstacle(Reason.NO_ROUTE, f"{option.channel} carries no text without media")
    return _free_form(option, situation, senders, Form.TEXT, _TEXT_FITS, situation.request.text or "")


def _in_place_of_template(option: Option, situation: Situation, senders: tuple[Candidate, ...]) -> Step | Obstacle:
    """The text that the configuration has for a template."""
    request = situation.request.template
    entry = option.templates.entry(request) if request else None
    texts = option.texts.get(entry.name) if entry else None
    if request is None or texts is None or option.channel == MMS:
        return _NO_TEXT
    chosen = texts.choose(option.templates.language_asked(request), option.languages.get(situation.country or ""))
    if chosen is None:
        return _NO_TEXT
    why = f"the text of {chosen.because}"
    step = _free_form(option, situation, senders, Form.TEXT, why, filled(chosen.what, request.variables))
    return replace(step, text=chosen.what, language=chosen.language) if isinstance(step, Step) else step


def _media(option: Option, situation: Situation, senders: tuple[Candidate, ...]) -> Step | Obstacle:
    media = len(situation.request.media)
    if not media:
        return _NO_MEDIA
    takes, where = option.capabilities.max_media, option.capabilities.media_countries
    if media > takes:
        return Obstacle(Reason.NO_ROUTE, f"there are {media} media and {option.channel} takes {takes or 'none'}")
    if where is not None and situation.country not in where:
        return Obstacle(Reason.NOT_ON_CHANNEL, f"{option.channel} carries media to {', '.join(sorted(where))} only")
    return _free_form(option, situation, senders, Form.MEDIA, _MEDIA_FITS, situation.request.text or "")


def _link(option: Option, situation: Situation, senders: tuple[Candidate, ...]) -> Step | Obstacle:
    if not situation.media:
        return _NO_MEDIA
    if option.channel == MMS or not option.capabilities.text:
        return Obstacle(Reason.NO_ROUTE, f"{option.channel} carries no text without media")
    body = text_with_links(situation.request.text, situation.request.media)
    return _free_form(option, situation, senders, Form.LINK, _LINK_FITS, body)


def _template(option: Option, situation: Situation, senders: tuple[Candidate, ...]) -> Step | Obstacle:
    request = situation.request.template
    if request is None:
        return _NO_TEMPLATE
    if not option.capabilities.template:
        return Obstacle(Reason.NO_ROUTE, f"{option.channel} carries no templates")
    usual = option.languages.get(situation.country or "")
    chosen = option.templates.choose(request, usual)
    if chosen is None:
        return Obstacle(Reason.TEMPLATE_UNKNOWN, option.templates.missing(request))
    if option.channel == WHATSAPP and (obstacle := _not_on_whatsapp(chosen.entry, situation)):
        return obstacle
    sender = senders[0]
    why = "no session is open, so " if option.capabilities.needs_session and situation.session != "open" else ""
    because = f"{why}{chosen.because}" if why else chosen.because
    return _step(option.channel, Form.TEMPLATE, sender.name, chosen.what, chosen.language, because, sender.because)


#: What a template must be, by the provider's categories, where the configuration does not know its content SID.
MUST_BE: Mapping[str, str] = {Category.OTP: "authentication", Category.MARKETING: "marketing"}


def _not_on_whatsapp(entry: TemplateEntry | None, situation: Situation) -> Obstacle | None:
    """What Meta does not deliver of its own templates."""
    category = entry.category if entry else MUST_BE.get(situation.category)
    if category == "marketing" and situation.country == "US":
        # https://www.twilio.com/docs/api/errors/63049
        return Obstacle(Reason.NOT_ON_CHANNEL, "WhatsApp delivers no marketing templates in the United States")
    if category == "authentication" and situation.scheme != "tel":
        return Obstacle(Reason.NOT_ON_CHANNEL, "WhatsApp delivers authentication templates to phone numbers only")
    return None


def _free_form(
    option: Option, situation: Situation, senders: tuple[Candidate, ...], form: Form, why: str, body: str
) -> Step | Obstacle:
    """What is not a template: bounded in length and, on some channels, to an open session."""
    if (length := len(body)) > option.capabilities.max_text:
        takes = option.capabilities.max_text
        return Obstacle(Reason.TOO_LONG, f"the text has {length} characters and {option.channel} takes {takes}")
    if option.max_segments is not None and option.channel == SMS:
        segments = segments_of(body)
        if segments > option.max_segments:
            return Obstacle(
                Reason.TOO_LONG, f"the text has {segments} segments and the policy allows {option.max_segments}"
            )
    if option.capabilities.needs_session:
        return _in_session(option, situation, senders, form, why)
    sender = senders[0]
    return _step(option.channel, form, sender.name, None, None, why, sender.because)


# All of it is configured, so the same few steps are made again and again. A frozen value takes its time to make.
@lru_cache(maxsize=_REMEMBERED)
def _step(
    channel: ChannelName, form: Form, sender: str, content_sid: str | None, language: str | None, why: str, whose: str
) -> Step:
    return Step(channel, form, sender, content_sid, language, f"{why}; {whose}")


@cache
def _session_closed(channel: ChannelName) -> Obstacle:
    return Obstacle(Reason.SESSION_CLOSED, f"no 24-hour session is open with a {channel} sender")


def _in_session(
    option: Option, situation: Situation, senders: tuple[Candidate, ...], form: Form, why: str
) -> Step | Obstacle:
    """Free-form from the first sender that the recipient has an open session with."""
    sessions = situation.facts.sessions
    for sender in senders:
        end = sessions.get(sender.name)
        if end is not None and end > situation.now:
            because = f"{why}; the session with sender '{sender.name}' is open until {at(end)}"
            return Step(option.channel, form, sender.name, because=because)
    return _session_closed(option.channel)


_FITS: Mapping[Form, Fit] = {
    Form.TEXT: _text,
    Form.MEDIA: _media,
    Form.LINK: _link,
    Form.TEMPLATE: _template,
}
