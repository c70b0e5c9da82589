"""The console in a real browser: each page opened, each action done, on a desk and on a phone, light and dark."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from channels.testing import PATIENCE
from router.console.access import COOKIE, HOURS, Sessions
from tests.console.conftest import PICTURES, TOKEN, Shoot, Stack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.e2e,
    pytest.mark.nats,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
]

PLACES = ["/", "/queues", "/problems", "/search", "/deadletters", "/recipients", "/explain"]
US, MASKED = "+12025550123", "+120•••23"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}


async def held(stack: Stack, identity: str) -> str:
    """An attempt whose outcome nobody knows, held for a person; the id of its dead letter."""
    await stack.cluster.ask_simulator("/simulator/faults", {"error_before": 1.0})
    try:
        await stack.publish(identity, on_unknown="hold")
        await stack.until_stored(f"deliveries.shop.unknown.*.{identity}")
    finally:
        await stack.cluster.ask_simulator("/simulator/faults", {"error_before": 0.0})
    async with asyncio.timeout(PATIENCE):
        while True:
            for sequence in range(1, (await stack.js.stream_info("DEADLETTERS")).state.last_seq + 1):
                letter = json.loads((await stack.js.get_msg("DEADLETTERS", sequence)).data or b"{}")
                if letter["notification_id"] == identity:
                    return str(letter["dead_letter_id"])
            await asyncio.sleep(0.05)


async def delivered(stack: Stack, identity: str, **fields: Any) -> None:
    await stack.publish(identity, **fields)
    await stack.until_stored(f"deliveries.*.delivered.*.{identity}")


async def test_nobody_comes_in_without_a_token(stack: Stack) -> None:
    context = await stack.context(logged_in=False)
    page = await context.new_page()
    for place in PLACES:
        await page.goto(stack.url + place)
        await expect(page).to_have_url(re.compile(r"/login\?next="))
    await page.get_by_label("Token").fill("x" * 20)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_have_text("This is nobody's token.")
    await context.close()


async def test_a_token_leads_to_the_page_that_was_asked_for_and_logging_out_ends_it(stack: Stack) -> None:
    context = await stack.context(logged_in=False)
    page = await context.new_page()
    await page.goto(f"{stack.url}/queues")
    await page.get_by_label("Token").fill("0123456789abcdef0123")
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(f"{stack.url}/queues")
    (cookie,) = await context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    await page.get_by_role("button", name="Log out").click()
    await page.goto(stack.url)
    await expect(page).to_have_url(re.compile("/login"))
    await context.close()


async def test_the_overview_is_live(stack: Stack, page: Page) -> None:
    await delivered(stack, "live-1")
    await page.goto(stack.url)
    row = page.get_by_role("row").filter(has_text="live-1").filter(has_text="delivered")
    await expect(row).to_contain_text(MASKED)
    await expect(page.get_by_text(US)).to_have_count(0)
    await expect(page.locator(".tile", has_text="Routers")).to_contain_text("1")
    await delivered(stack, "live-2")  # nobody touches the page
    await expect(page.get_by_role("row").filter(has_text="live-2").first).to_be_visible()
    await expect(page.get_by_role("img").first).to_be_visible()


async def test_the_queues_show_who_paces_each_sender(stack: Stack, page: Page) -> None:
    await page.goto(f"{stack.url}/queues")
    row = page.get_by_role("region", name="Senders").get_by_role("row").filter(has_text="us")
    await expect(row).to_contain_text("sending")
    instance = next(line["instance"] for line in stack.log if line["event"] == "router.ready")
    await expect(row).to_contain_text(instance)


@pytest.mark.parametrize("wanted", ["recipient", "id", "provider's id"])
async def test_a_notification_is_found_by(stack: Stack, page: Page, wanted: str) -> None:
    number = {"recipient": "+12025550144", "id": "+12025550145", "provider's id": "+12025550146"}[wanted]
    identity = f"found-{number[-2:]}"
    await delivered(stack, identity, to=number)
    sid = stack.said("attempt.done", identity)["provider_message_id"]
    await page.goto(f"{stack.url}/search")
    field = page.get_by_label("Recipient, notification id or provider's id")
    written = f"+1 ({number[2:5]}) {number[5:8]}-{number[8:]}"
    await field.fill({"recipient": written, "id": identity, "provider's id": sid}[wanted])
    await field.press("Enter")
    await page.get_by_role("link", name=f"shop/{identity}").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(f"shop/{identity}")
    assert number not in page.url


async def test_a_story_is_told_and_goes_on_while_one_looks(stack: Stack, page: Page, shoot: Shoot) -> None:
    await page.goto(f"{stack.url}/notification/shop/story-1")
    await expect(page.get_by_text("not in the log (yet)")).to_be_visible()
    await delivered(stack, "story-1", metadata={"order": "17"})
    story = page.locator("ol.story > li")
    await expect(story.filter(has_text="On the recipient's device")).to_be_visible()
    await expect(story.first).to_contain_text("Routed: sms from us (text)")
    await expect(story.first.locator("li.is-matched").first).to_be_visible()
    await expect(page.locator("dl.facts")).to_contain_text("Metadata: order")
    await shoot(page, "notification")


async def test_personal_data_is_shown_when_asked_for_and_the_asking_is_logged(stack: Stack, page: Page) -> None:
    await delivered(stack, "private-1", metadata={"who": "customer 4711"})
    await page.goto(f"{stack.url}/notification/shop/private-1")
    facts = page.locator("dl.facts")
    await expect(facts).to_contain_text(MASKED)
    await expect(page.get_by_text("secret words")).to_have_count(0)
    await expect(facts).to_contain_text("Metadata: who")
    await expect(page.get_by_text("4711")).to_have_count(0)

    await page.get_by_role("button", name="Show recipient").click()
    await expect(facts).to_contain_text(US)
    await page.get_by_role("button", name="Show what it says").click()
    await expect(page.get_by_text("secret words of private-1")).to_be_visible()
    await expect(facts).to_contain_text("customer 4711")

    asked = [line for line in stack.log if line["event"] == "console.revealed"]
    said = [(line["person"], line["what"]) for line in asked if line.get("notification_id") == "private-1"]
    assert said == [("ada", "recipient"), ("ada", "text")]
    assert US not in json.dumps(asked)


async def test_a_held_attempt_is_resolved_after_a_second_thought(stack: Stack, page: Page, shoot: Shoot) -> None:
    letter = await held(stack, "held-1")
    await page.goto(f"{stack.url}/deadletters")
    await page.get_by_role("link", name=letter[:8]).click()
    await expect(page.get_by_text("nobody can say whether it was sent")).to_be_visible()
    await page.get_by_label("A note").fill("seen at the provider")
    await page.get_by_role("button", name="It was sent").click()
    dialog = page.get_by_role("alertdialog")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(dialog).to_have_count(0)
    assert not [line for line in stack.log if line["event"] == "console.acted"]

    await page.get_by_role("button", name="It was sent").click()
    await shoot(page, "confirmation")
    await page.get_by_role("alertdialog").get_by_role("button", name="It was sent").click()
    await expect(page.get_by_text("resolved: seen at the provider")).to_be_visible()
    await stack.until_stored("deliveries.shop.sent.*.held-1")
    (acted,) = [line for line in stack.log if line["event"] == "console.acted"]
    assert (acted["person"], acted["what"], acted["dead_letter_id"]) == ("ada", "deadletters.resolve", letter)


async def test_a_held_attempt_can_be_sent_again(stack: Stack, page: Page) -> None:
    letter = await held(stack, "held-2")
    await page.goto(f"{stack.url}/deadletters/{letter}")
    await page.get_by_role("button", name="Send it again").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Send it again").click()
    await stack.until_stored("deliveries.shop.delivered.*.held-2")
    await expect(page.get_by_text("replayed")).to_be_visible()


async def test_what_cannot_be_replayed_is_said(stack: Stack, page: Page) -> None:
    await stack.js.publish("notifications.normal.broken", b'{"id": "b1"')
    await stack.until_stored("deadletters.intake.broken")
    await page.goto(f"{stack.url}/deadletters")
    await page.get_by_role("row").filter(has_text="broken").get_by_role("link").click()
    await page.get_by_role("button", name="Show its body").click()
    await expect(page.locator("pre")).to_have_text('{"id": "b1"')
    await page.get_by_role("button", name="Replay").click()
    await page.get_by_role("alertdialog").get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("as malformed as before")).to_be_visible()


async def test_a_problem_shows_on_every_page_and_leads_to_what_is_wrong(stack: Stack, page: Page) -> None:
    await held(stack, "held-3")
    await page.goto(f"{stack.url}/explain")
    await page.get_by_role("link", name=re.compile(r"Problems \(\d+\)")).click()
    row = page.get_by_role("row").filter(has_text="shop/held-3")
    await expect(row).to_contain_text("may or may not have been sent")
    await row.get_by_role("link").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("shop/held-3")


async def test_explain_answers_without_sending(stack: Stack, page: Page, shoot: Shoot) -> None:
    await page.goto(f"{stack.url}/explain")
    await page.get_by_label("To: number or user id").fill("+12025550188")
    await page.get_by_label("Text").fill("Your parcel is on its way.")
    await page.get_by_role("button", name="Explain").click()
    answer = page.get_by_role("status")
    await expect(answer).to_contain_text("Routed")
    await expect(answer).to_contain_text("Steps: sms from us (text)")
    await shoot(page, "explain")
    messages = (await stack.cluster.ask_simulator("/simulator/messages"))["messages"]
    assert "+12025550188" not in json.dumps(messages)


async def test_explain_says_which_field_is_wrong(stack: Stack, page: Page) -> None:
    await page.goto(f"{stack.url}/explain")
    await page.get_by_label("To: number or user id").fill("hello")
    await page.get_by_label("Text").fill("x")
    await page.get_by_role("button", name="Explain").click()
    await expect(page.locator(".q-notification")).to_contain_text("to:")


async def test_a_recipients_consent_and_sessions_are_looked_up(stack: Stack, page: Page) -> None:
    message = {"from": "whatsapp:+12025550177", "to": "whatsapp:+14155238886", "body": "STOP"}
    await stack.cluster.ask_simulator("/simulator/inbound", message)
    await page.goto(f"{stack.url}/recipients")
    await page.get_by_label("Phone number or user id").fill("+12025550177")
    await page.get_by_role("button", name="Look up").click()
    row = page.get_by_role("region", name="Consent").get_by_role("row").filter(has_text="holds")
    await expect(row).to_contain_text("opted out")
    await expect(page.get_by_role("region", name="WhatsApp sessions")).to_contain_text("open")


#: Each theme and each size once; all four where pictures are wanted.
_LOOKS = [("light", "desk"), ("dark", "phone")] + [("dark", "desk"), ("light", "phone")] * bool(PICTURES)


@pytest.mark.parametrize(("scheme", "size"), _LOOKS)
async def test_every_page_is_accessible_and_fits(stack: Stack, shoot: Shoot, scheme: str, size: str) -> None:
    await delivered(stack, f"axe-{scheme}-{size}")
    letter = await held(stack, f"axe-held-{scheme}-{size}")
    viewport = PHONE if size == "phone" else DESK
    context = await stack.context(viewport=viewport, color_scheme=scheme)
    page = await context.new_page()
    wrong: list[str] = []
    for place in [*PLACES, f"/notification/shop/axe-{scheme}-{size}", f"/deadletters/{letter}", "/login"]:
        await page.goto(stack.url + place)
        await page.get_by_role("heading", level=1).wait_for()
        await page.wait_for_timeout(1_000)  # what comes over the WebSocket says nowhere that it was all
        result = await Axe().run(page)
        wrong += [f"{place}: {each['id']}: {each['nodes'][0]['html'][:200]}" for each in result.response["violations"]]
        width = await page.evaluate("document.documentElement.scrollWidth")
        wrong += [f"{place} is {width} pixels wide"] if width > viewport["width"] else []
        name = place.strip("/").partition("/")[0] or "overview"
        await shoot(page, f"{name}-{size}-{scheme}")
    await context.close()
    assert wrong == []


async def test_the_keyboard_alone_does_it(stack: Stack, page: Page) -> None:
    await page.goto(f"{stack.url}/explain")
    await page.get_by_role("heading", name="Explain").wait_for()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_label("To: number or user id")).to_be_focused()
    await page.keyboard.type(US)
    await page.get_by_label("Text").focus()
    await page.keyboard.type("hello")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Explain")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("Routed")


async def test_the_theme_can_be_chosen_and_is_remembered(stack: Stack, page: Page) -> None:
    await page.goto(stack.url)
    button = page.get_by_role("button", name="Theme")
    await expect(button).to_have_text("Theme: auto")
    await button.click()
    await button.click()
    await expect(page.locator("body.body--dark")).to_have_count(1)
    await page.goto(f"{stack.url}/queues")
    await expect(page.locator("body.body--dark")).to_have_count(1)


@pytest.mark.parametrize("place", ["/nowhere", "/deadletters/x", "/notification/SHOP/n1", "/notification/shop/%3Cb%3E"])
async def test_an_address_that_leads_nowhere_says_so_and_repeats_nothing(stack: Stack, place: str) -> None:
    context = await stack.context()
    page = await context.new_page()
    answer = await page.goto(stack.url + place)
    assert answer is not None
    assert answer.status == 404
    assert "<b>" not in await answer.text()
    await context.close()


_OPENS = """url => new Promise(done => {
    const socket = new WebSocket(url);
    socket.onopen = () => done(true);
    socket.onerror = () => done(false);
})"""


async def test_another_site_gets_nothing_out_of_a_session(stack: Stack) -> None:
    """A page of elsewhere in the browser of somebody who is logged in: its requests and sockets are refused."""
    context = await stack.context()
    foreign = f"http://localhost:{stack.url.rpartition(':')[2]}"  # same machine, another origin
    page = await context.new_page()
    await page.goto(f"{foreign}/healthz")
    socket = stack.url.replace("http", "ws") + "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    opened = await page.evaluate(_OPENS, socket)
    assert opened is False
    status = await page.evaluate(
        "url => fetch(url, {credentials: 'include', mode: 'cors'}).then(r => r.status, () => 'refused')", stack.url
    )
    assert status == "refused"
    await context.close()


async def test_a_page_that_is_open_longer_than_its_session_shows_nothing_more(stack: Stack) -> None:
    context = await stack.context(logged_in=False)
    begun = time.time() - HOURS * 3600 + 6
    cookie: Any = {"name": COOKIE, "value": Sessions({"ada": TOKEN}).begin("ada", begun), "url": stack.url}
    await context.add_cookies([cookie])
    live, search = await context.new_page(), await context.new_page()
    await live.goto(stack.url)
    await search.goto(f"{stack.url}/search")
    over = "Your session is over"
    for page in (live, search):
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await expect(page.get_by_text(over)).to_be_visible(timeout=15_000)
    await delivered(stack, "late-1")
    await search.get_by_label("Recipient, notification id or provider's id").fill("late-1")
    await search.get_by_role("button", name="Search").click()
    await expect(search.get_by_text("your session is over: log in again")).to_be_visible()
    await asyncio.sleep(3)  # longer than between two looks
    for page in (live, search):
        await expect(page.get_by_text("late-1")).to_have_count(0)
    await live.get_by_role("link", name="Log in again").click()
    await expect(live).to_have_url(re.compile("/login"))
    await context.close()


async def test_dead_letters_beyond_a_page_of_them_can_be_reached(stack: Stack, page: Page) -> None:
    for number in range(502):
        await stack.js.publish("notifications.normal.older", b"{" + str(number).encode())
    await stack.until_stored("deadletters.>", 502)
    await page.goto(f"{stack.url}/deadletters")
    first = page.get_by_role("row").nth(1)
    await expect(page.get_by_text(re.compile(r"^\d+ older ones\.$"))).to_be_visible()
    newest = await first.inner_text()
    await page.get_by_role("button", name="Older").click()
    await expect(first).not_to_have_text(newest)
    await expect(page.get_by_text(re.compile(r"^\d+ older ones\.$"))).to_have_count(0)
    assert await page.get_by_role("row").count() < 100
    await page.get_by_role("button", name="Newest").click()
    await expect(page.get_by_role("row")).to_have_count(501)
