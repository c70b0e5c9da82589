"""From a notification and a step of its plan to the message that a channel is given."""

from __future__ import annotations

from channels.model import AttemptRef, Content, Form, Media, NotificationId, OutboundMessage, Sender, Template, Text
from policies.content import filled, text_with_links
from policies.model import Step
from router.outbox import OutboxItem
from router.wire import Notification


def outbound_message(item: OutboxItem, sender: Sender, token: str) -> OutboundMessage:
    """The message of one attempt."""
    notification = item.notification
    return OutboundMessage(
        ref=AttemptRef(item.source, NotificationId(item.notification_id), item.attempt, token),
        channel=item.chosen.channel,
        sender=sender,
        recipient=notification.recipient(),
        content=content_of(notification, item.chosen),
        category=notification.category,
        expires_at=notification.expires_at,
    )


def content_of(notification: Notification, step: Step) -> Content:
    """What is said, in the form that the step asks for."""
    text, media = notification.content.text or "", tuple(notification.content.media)
    match step.form:
        case Form.TEXT if step.text is not None:
            return Text(filled(step.text, _variables(notification)))
        case Form.TEXT:
            return Text(text)
        case Form.MEDIA:
            return Media(media, text or None)
        case Form.LINK:
            return Text(text_with_links(text, media))
        case Form.TEMPLATE:
            return Template(step.content_sid or "", _variables(notification))


def _variables(notification: Notification) -> dict[str, str]:
    given = notification.content.template
    return {name: value or "" for name, value in given.variables.items()} if given else {}
