"""`[transfers.ID.start]` and `[calendars.ID]`: when a transfer runs."""

from __future__ import annotations

from typing import Literal

from mft.model.spec import Spec


class CalendarSpec(Spec, frozen=True, kw_only=True):
    """Days on which nothing is started: bank holidays, shutdowns."""

    name: str = ""
    days: tuple[str, ...]
    """Dates: `2026-12-25`, or `12-25` for every year."""


class StartSpec(Spec, frozen=True, kw_only=True):
    """What starts a transfer. Without this table it polls every `poll_interval_s`, always."""

    poll: bool | None = None
    """Look every `poll_interval_s`. Not given: yes, unless `cron` says when to look, or `after` without `notify`.
    `false`, and nothing else that starts it: by request only (`mft-admin transfers run`, or the API)."""
    notify: bool = False
    """Look at once when a file comes into a local source folder (inotify). It is never the only way: storage that other
    machines write to tells nothing, so the folder is polled as well, or looked at at the times of `cron`."""
    cron: tuple[str, ...] = ()
    """Times of five fields (minute, hour, day, month, weekday), for example `0 6 * * mon-fri`, in `time_zone`. A time
    that the change to summer time leaves out happens right after it; one that comes twice happens once. With `*` as
    hour (also `*/2`) the hours are those of the clock: one left out does not happen, one that comes twice does so
    twice."""
    windows: tuple[str, ...] = ()
    """When it may run, for example `mon-fri 08:00-18:00`, `22:00-06:00`, `day 1-5,last` (of the month) or `mon day 1-7`
    (its first Monday); none: always. Outside of them nothing is begun, what is begun is finished, and times of `cron`
    do not count."""
    time_zone: str = "UTC"
    """IANA name, for example `Europe/Berlin`. Dates in expressions (`t/…/`) are by its clocks as well."""
    calendars: tuple[str, ...] = ()
    """Calendars on whose days neither `cron` starts nor a window opens. Without windows each day is one."""
    after: tuple[str, ...] = ()
    """Transfers of the same leader group: run after a pass of one of them has delivered something, and once when
    another instance has taken over, because it cannot know that."""
    missed: Literal["run-once", "skip", "catch-up"] = "run-once"
    """What to do with times of `cron` that fell into an outage: one run for all of them, none, or one for each."""
