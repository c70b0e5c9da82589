"""The policy in force, kept up to date while the router runs.

It is made of the document (a file, or published in the bucket `policy`), the pauses that operators laid over it,
and what the provider says of the templates. Any of them may change at any time. What has changed is read and compiled
in a thread, so that intake does not wait for it, and takes the old policy's place in one step.

A document that cannot be in force changes nothing: the last good one stays, the log and `/readyz` say what is wrong
with the new one, by line. A file is taken once it has been the same for two looks in a row, so that an editor that
empties a file before it writes, or a copy that is still under way, never puts half a document in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from policies.engine import Policy
from policies.world import World
from router.buckets import Mirror
from router.metrics import POLICY_REFUSED, POLICY_RELOADS
from router.policy import PolicyFileError, compiled
from router.published import CURRENT, read_published
from router.settings import PolicySettings
from router.switches import PREFIX, Switch, read_switch
from router.tasks import keep_running

log = structlog.get_logger(__name__)

#: Seconds between looks for changes in the bucket, which cost nothing: it is mirrored in memory.
_LOOK = 0.2
#: Looks at the bucket between two at the file.
_PER_FILE = 5


@dataclass(frozen=True, slots=True)
class _Inputs:
    """All that the policy in force is made of."""

    text: str | None  #: of the document; None: the shipped one
    name: str  #: stands before each problem
    switches: tuple[Switch, ...]
    world: World


class PolicyKeeper:
    """Hands out the policy in force."""

    def __init__(
        self, settings: PolicySettings, bucket: Mirror[bytes], world: Callable[[Mapping[str, bytes]], World]
    ) -> None:
        self._settings = settings
        self._bucket = bucket
        self._world = world  #: what there is to choose from, by what the bucket says of it
        self._inputs: _Inputs | None = None
        self._refused: _Inputs | None = None
        self._policy: Policy | None = None
        self._seen = -1  #: changes of the bucket that were looked at
        self._file: str | None = None  #: the file's text as it is taken
        self._candidate: str | None = None  #: the file's text as it was at the last look
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = None  #: why a newer document is not in force

    def policy(self) -> Policy:
        """The policy in force at this moment."""
        assert self._policy is not None, "start() comes first"
        return self._policy

    def notes(self) -> Mapping[str, str]:
        """For whoever asks how the router is."""
        notes = {"policy": self.policy().version}
        return {**notes, "policy_refused": self.problem} if self.problem else notes

    async def start(self) -> None:
        """The first policy. Raises `PolicyFileError`: there is no older one that could stay in force."""
        if self._settings.file is not None:
            self._file = self._candidate = await self._read(self._settings.file)
        inputs = self._gathered()
        self._take(inputs, await asyncio.to_thread(_compiled, inputs))
        self._task = keep_running("policy", self._follow)

    async def stop(self) -> None:
        """Follow no longer."""
        if self._task:
            self._task.cancel()

    async def _follow(self) -> None:
        while True:
            for _ in range(_PER_FILE):
                await asyncio.sleep(_LOOK)
                if self._bucket.changes != self._seen:
                    await self._renew()
            await self._look_at_file()

    async def _look_at_file(self) -> None:
        if self._settings.file is None:
            return
        try:
            text = await self._read(self._settings.file)
        except PolicyFileError as exc:
            self._refuse(str(exc))
            return
        is_settled, self._candidate = text == self._candidate, text
        if is_settled and (text != self._file or self._problem_is_gone(text)):
            self._file = text
            await self._renew()

    def _problem_is_gone(self, text: str) -> bool:
        """What was wrong may be mended by putting the old text back, or the file where it was."""
        return self.problem is not None and self._inputs is not None and text == self._inputs.text

    async def _read(self, file: Path) -> str:
        try:
            return await asyncio.to_thread(file.read_text, "utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise PolicyFileError(f"policy.file: {file} cannot be read: {type(exc).__name__}") from None

    async def _renew(self) -> None:
        """Compile what there is now, if it differs from what is in force."""
        inputs = self._gathered()
        if inputs == self._inputs:
            self._accept()
            return
        if inputs == self._refused:
            return
        try:
            policy = await asyncio.to_thread(_compiled, inputs)
        except PolicyFileError as exc:
            self._refused = inputs
            self._refuse(str(exc))
            await self._renew_the_rest(inputs)
            return
        self._take(inputs, policy)

    async def _renew_the_rest(self, refused: _Inputs) -> None:
        """A broken document must not keep a pause from being heard: the good one goes on with what else is new."""
        assert self._inputs is not None
        rest = replace(refused, text=self._inputs.text, name=self._inputs.name)
        if rest != self._inputs:
            self._put_in_force(rest, await asyncio.to_thread(_compiled, rest))

    def _gathered(self) -> _Inputs:
        """What there is at this moment."""
        self._seen = self._bucket.changes
        stored = self._bucket.all()
        text, name = self._document(stored)
        switches = tuple(_switches(stored))
        return _Inputs(text, name, switches, self._world(stored))

    def _document(self, stored: Mapping[str, bytes]) -> tuple[str | None, str]:
        if not self._settings.bucket:
            return self._file, str(self._settings.file)
        if CURRENT not in stored:
            return None, "default.toml"
        try:
            published = read_published(stored[CURRENT])
        except (ValueError, KeyError, TypeError):
            return "", "published policy that cannot be read"  # refused as any other that is no policy
        return published.text, f"published policy {published.number}"

    def _take(self, inputs: _Inputs, policy: Policy) -> None:
        """A policy that nothing is wrong with."""
        self._accept()
        self._put_in_force(inputs, policy)

    def _put_in_force(self, inputs: _Inputs, policy: Policy) -> None:
        before, self._policy, self._inputs = self._policy, policy, inputs
        POLICY_RELOADS.inc("taken")
        log.info(
            "policy.in_force",
            version=policy.version,
            before=before.version if before else None,
            paused=[f"{each.kind} {each.name}" for each in policy.pauses.pauses],
        )

    def _accept(self) -> None:
        self.problem, self._refused = None, None
        POLICY_REFUSED.set(0)

    def _refuse(self, problem: str) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        POLICY_REFUSED.set(1)
        POLICY_RELOADS.inc("refused")
        log.error("policy.refused", problem=problem, in_force=self.policy().version)


def _compiled(inputs: _Inputs) -> Policy:
    return compiled(inputs.text, inputs.name, inputs.world, [each.as_pause() for each in inputs.switches])


def _switches(stored: Mapping[str, bytes]) -> list[Switch]:
    switches = []
    for key in sorted(stored):
        if not key.startswith(PREFIX):
            continue
        try:
            switches.append(read_switch(stored[key]))
        except ValueError as exc:
            log.error("policy.switch_unreadable", key=key, why=str(exc))
    return switches
