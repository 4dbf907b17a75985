"""`fb chaos`."""

from __future__ import annotations

import random
from typing import Annotated, Any, get_args

import typer

from fbcli.chaos.plan import TrialPlan, cautions
from fbcli.chaos.report import COLUMNS, Progress, figures, line, opening, rows, verdict
from fbcli.chaos.trial import Watchers, run_trial
from fbcli.clients.loading import mask
from fbcli.console.output import Output
from fbcli.console.status import Status
from fbcli.errors import FbError, TimedOut, UsageError, did_you_mean
from fbcli.options.running import Mode

from ._flags.place import (
    ContextFlag,
    JsonFlag,
    NoInputFlag,
    StoreFlag,
    YesFlag,
    new_app,
    seconds_of,
    settings_of,
)

app = new_app()
IN_HELP = "Set-up", 4

MODES = get_args(Mode)

WORK, HARM, OUTAGES, END = "Work", "Harm", "Outages", "End"


def _flag(name: str, panel: str, help: str, metavar: str | None = None, **limits: Any) -> Any:
    """Return the option `--name` with the variable `FB_CHAOS_NAME`."""
    variable = f"FB_CHAOS_{name.upper().replace('-', '_')}"
    short = ("-t",) if name == "timeout" else ()
    return typer.Option(
        f"--{name}",
        *short,
        envvar=variable,
        metavar=metavar,
        help=help,
        rich_help_panel=panel,
        **limits,
    )


@app.command()
def chaos(
    broker: Annotated[
        str | None,
        typer.Argument(
            metavar="BROKER_URL", help="The broker to be tried. Default: the context's."
        ),
    ] = None,
    tasks: Annotated[int, _flag("tasks", WORK, "How many tasks.", min=1, max=10_000_000)] = 5000,
    consumers: Annotated[
        int, _flag("consumers", WORK, "How many `fb consume`.", min=1, max=1000)
    ] = 3,
    producers: Annotated[
        int, _flag("producers", WORK, "How many programs that push.", min=1, max=1000)
    ] = 2,
    processes: Annotated[
        int, _flag("processes", WORK, "Processes of each consumer.", min=1, max=1000)
    ] = 1,
    concurrency: Annotated[
        int, _flag("concurrency", WORK, "Calls at once in each process.", min=1, max=100_000)
    ] = 8,
    mode: Annotated[
        str, _flag("mode", WORK, "How calls run side by side.", "|".join(MODES))
    ] = "threads",
    task_time: Annotated[
        str, _flag("task-time", WORK, "How long a call lasts, at random between these.", "MIN..MAX")
    ] = "5ms..50ms",
    heartbeat: Annotated[
        str,
        _flag(
            "heartbeat",
            WORK,
            "Of the consumers; what a dead one held is back within three.",
            "DURATION",
        ),
    ] = "1s",
    seed: Annotated[
        int | None, _flag("seed", WORK, "The same seed makes the same tasks. Default: any.", min=0)
    ] = None,
    kill_every: Annotated[
        str,
        _flag("kill-every", HARM, "Mean time between two kills; 0: nobody is killed.", "DURATION"),
    ] = "500ms",
    poison: Annotated[
        float,
        _flag(
            "poison", HARM, "Percent of the tasks that fail for good.", "PERCENT", min=0, max=100
        ),
    ] = 0.5,
    killers: Annotated[
        int, _flag("killers", HARM, "Tasks that kill their own worker, each time.", min=0)
    ] = 0,
    max_deliveries: Annotated[
        int,
        _flag(
            "max-deliveries",
            HARM,
            "A task whose workers have died so often is a dead letter.",
            min=1,
        ),
    ] = 20,
    restart_command: Annotated[
        str | None,
        _flag(
            "restart-command",
            OUTAGES,
            "Restarts the broker, like 'systemctl restart redis'.",
            "SHELL",
        ),
    ] = None,
    pause_command: Annotated[
        str | None,
        _flag(
            "pause-command", OUTAGES, "Takes the broker away, like 'docker pause redis'.", "SHELL"
        ),
    ] = None,
    resume_command: Annotated[
        str | None, _flag("resume-command", OUTAGES, "Brings it back.", "SHELL")
    ] = None,
    outage: Annotated[
        str, _flag("outage", OUTAGES, "How long it stays paused.", "DURATION")
    ] = "2s",
    outage_every: Annotated[
        str, _flag("outage-every", OUTAGES, "Mean time between two outages.", "DURATION")
    ] = "10s",
    timeout: Annotated[
        str, _flag("timeout", END, "Go on for so long at most; exit code 7 then.", "DURATION")
    ] = "10m",
    patience: Annotated[
        str,
        _flag(
            "patience",
            END,
            "What is missing when nothing has moved for so long is lost.",
            "DURATION",
        ),
    ] = "30s",
    keep: Annotated[
        bool, _flag("keep", END, "Keep the queue, and the records of what happened.")
    ] = False,
    yes: YesFlag = False,
    no_input: NoInputFlag = False,
    json: JsonFlag = False,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Try whether a broker, as its server is set up, loses anything.

    \b
      fb chaos
      fb chaos redis://127.0.0.1:6379/0 --tasks 20000
      fb chaos --mode asyncio --consumers 5 --processes 2 --killers 3
      fb chaos redis://10.0.0.5/0 --restart-command 'ssh 10.0.0.5 systemctl restart redis' -y
      fb chaos --json | jq .lost

    On a queue of its own, producers push numbered tasks and consumers run them, while both are
    killed (kill -9) at random and replaced. Then it counts: tasks lost, done more than once, and
    how soon what was running at a kill began again. It touches nothing else, and removes its queue
    at the end. Exit code 1: something was lost, or is where it does not belong.
    """
    out = Output(json=json)
    if mode not in get_args(Mode):
        raise UsageError(
            f"There is no mode {mode!r}.{did_you_mean(mode, get_args(Mode))} Modes are"
            f" {', '.join(get_args(Mode))}."
        )
    plan = TrialPlan(
        seed=random.SystemRandom().randrange(2**31) if seed is None else seed,
        tasks=tasks,
        consumers=consumers,
        producers=producers,
        processes=processes,
        concurrency=concurrency,
        mode=mode,
        task_time=_range(task_time),
        kill_every=seconds_of(kill_every, "--kill-every"),
        poison=poison,
        killers=killers,
        max_deliveries=max_deliveries,
        pause_command=pause_command or "",
        resume_command=resume_command or "",
        restart_command=restart_command or "",
        outage=seconds_of(outage, "--outage"),
        outage_every=seconds_of(outage_every, "--outage-every"),
        heartbeat=seconds_of(heartbeat, "--heartbeat"),
        timeout=seconds_of(timeout, "--timeout"),
        patience=seconds_of(patience, "--patience"),
        keep=keep,
    )
    plan.check()
    settings = settings_of(context, broker, store)
    warnings = cautions(plan, settings)
    command = plan.restart_command or plan.pause_command
    if command:
        out.confirm(
            f"Take {mask(settings.broker_url)} away every now and then, by {command!r}?",
            yes=yes,
            no_input=no_input,
        )
    for sentence in (opening(plan, mask(settings.broker_url)), *warnings):
        out.say(sentence)
    with Status(out) as status:

        def show(progress: Progress) -> None:
            status.show(line(progress))

        report = run_trial(plan, settings, Watchers(show, out.say))
    if json:
        out.object(figures(report))
    else:
        out.table(COLUMNS, rows(report))
    if report.timed_out:
        raise TimedOut(verdict(report))
    if not report.sound:
        raise FbError(verdict(report))
    if not json:
        out.say(verdict(report))


def _range(text: str) -> tuple[float, float]:
    """Return the shortest and the longest time that `5ms..50ms` or `20ms` allows. Raises
    `UsageError`."""
    least, _, most = text.partition("..")
    times = (seconds_of(least, "--task-time"), seconds_of(most or least, "--task-time"))
    if times[0] > times[1]:
        raise UsageError(
            f"--task-time: {text!r} begins with the longer time; write it like 5ms..50ms."
        )
    return times
