from __future__ import annotations

from twilio.rest.api.v2010.account.message import MessageInstance

from channels.status import DeliveryStatus
from channels.twilio.statuses import STATUSES, delivery_status


def test_every_status_of_the_sdk_has_a_row() -> None:
    known = {value for name, value in vars(MessageInstance.Status).items() if name.isupper()}
    assert known == set(STATUSES)


def test_every_status_that_a_provider_can_report_is_reached() -> None:
    ours = {DeliveryStatus.SENDING, DeliveryStatus.UNKNOWN}
    assert set(STATUSES.values()) - {None} == set(DeliveryStatus) - ours


def test_a_word_that_is_not_known_is_no_status() -> None:
    assert delivery_status("teleported") is None
