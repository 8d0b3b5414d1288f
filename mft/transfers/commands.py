"""Programs and steps at the partner that go with each file. At least once: after a failover they are made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mft.errors import Invalid, LeadershipLost, MftError, NotFound, Unavailable
from mft.events import catalogue
from mft.model.delivery import Record
from mft.model.locations import LocalLocationSpec, LocationSpec
from mft.model.placeholders import Step, filled, parse_step
from mft.transfers.context import RunContext
from mft.transfers.naming import target_of
from mft.transfers.programs import run_program
from mft.transfers.remotes.base import Remote, join
from mft.transfers.taking import Taken


async def run_before(context: RunContext, taken: Taken, target: str) -> None:
    """Do what comes before an upload.

    Raises:
        MftError: a program or step failed, and so does the file.
    """
    spec = context.spec.commands
    if spec is None:
        return
    values = _values(context, taken, target)
    if problem := await _program(context, spec.before, values):
        raise MftError(f"the command before it failed: {problem}")
    await _steps(context, spec.remote_before, values)


async def run_after(context: RunContext, taken: Taken, record: Record) -> None:
    """Do what comes after a delivery. What fails is reported, and changes nothing."""
    spec = context.spec.commands
    if spec is None:
        return
    values = _values(context, taken, record.final_name)
    if problem := await _program(context, spec.after_success, values):
        _report(context, taken, "after_success", problem)
    try:
        await _steps(context, spec.remote_after, values)
    except Unavailable:
        raise
    except MftError as error:
        _report(context, taken, "remote_after", str(error))


async def run_after_failure(context: RunContext, taken: Taken) -> None:
    """Do what comes when a file is given up. What fails is reported, and changes nothing.

    Not even a destination that is lost ends the pass here: the next file to need it will find out.

    Raises:
        LeadershipLost: nothing more may be done in this term.
    """
    spec = context.spec.commands
    if spec is None:
        return
    values = _values(context, taken, _meant(context, taken))
    if problem := await _program(context, spec.after_failure, values):
        _report(context, taken, "after_failure", problem)
    try:
        await _steps(context, spec.remote_after_failure, values)
    except LeadershipLost:
        raise
    except MftError as error:
        _report(context, taken, "remote_after_failure", str(error))


def _meant(context: RunContext, taken: Taken) -> str:
    """Say under which name a file was to arrive that has none settled; where rules make none of use, its own."""
    try:
        return target_of(context.spec.names, taken.name, context.moment_of(taken.delivery))
    except Invalid:
        return taken.name


async def _program(context: RunContext, command: Sequence[str], values: Mapping[str, str]) -> str:
    """Run a program, if there is one. Returns what went wrong; empty if nothing did."""
    if not command:
        return ""
    context.permit.check()
    assert context.spec.commands is not None
    environment = {name.replace(".", "_").upper(): value for name, value in values.items()}
    words = [filled(word, values) for word in command]
    outcome = await run_program(words, environment, context.spec.commands.timeout_s)
    return f"{command[0]}: {outcome}" if outcome.problem else ""


async def _steps(context: RunContext, steps: Sequence[str], values: Mapping[str, str]) -> None:
    for text in steps:
        verb, paths = parse_step(text)
        step = Step(verb, tuple(filled(path, values) for path in paths))
        context.permit.check()
        try:
            await _take(context.destination, step)
        except Unavailable:
            raise
        except MftError as error:
            raise type(error)(f"the step {text!r} failed: {error}") from error


async def _take(remote: Remote, step: Step) -> None:
    """Make one step. What it wants may be so already, since it may be made a second time."""
    match step:
        case Step("mkdir", (path,)):
            await remote.make_folder(path)
        case Step("rm", (path,)):
            try:
                await remote.remove(path)
            except NotFound:
                pass
        case Step("rmdir", (path,)):
            try:
                await remote.remove_folder(path)
            except NotFound:
                pass
        case Step("rename", (old, new)):
            await _rename(remote, old, new)


async def _rename(remote: Remote, old: str, new: str) -> None:
    try:
        await remote.rename(old, new)
    except NotFound:
        try:
            await remote.lstat(new)
        except NotFound:
            pass
        else:
            return
        raise


def _values(context: RunContext, taken: Taken, target: str) -> dict[str, str]:
    """Say what the placeholders stand for. Paths are those that a program here, or a step there, can use."""
    source = _usable(context.source_spec, taken.path(context.spec.source_path))
    return {
        "source.path": source,
        "source.name": taken.name.rpartition("/")[2],
        "destination.path": _usable(context.destination_spec, context.at_destination(target)),
        "destination.name": target.rpartition("/")[2],
        "transfer": context.transfer,
        "delivery": taken.delivery,
    }


def _usable(location: LocationSpec | None, path: str) -> str:
    return join(location.root, path) if isinstance(location, LocalLocationSpec) else path


def _report(context: RunContext, taken: Taken, command: str, reason: str) -> None:
    fields = {
        "transfer": context.transfer,
        "delivery": taken.delivery,
        "path": join(context.spec.source_path, taken.name),
    }
    context.emit(catalogue.COMMAND_FAILED, {**fields, "command": command, "reason": reason})
