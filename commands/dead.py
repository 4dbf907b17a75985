"""`fb dead ls`, `show`, `edit`, `replay` and `clear`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from fbcli.arguments.shell import parse_pairs
from fbcli.broker import EVERYTHING
from fbcli.clock import SYSTEM
from fbcli.console.editor import discard, edit
from fbcli.console.messages import amount, arguments, lines, summary
from fbcli.console.output import Output, visible
from fbcli.errors import BadMessage, UsageError
from fbcli.queues.dead import DeadLetters, Letter, changed, editable, edited
from fbcli.queues.lookup import find_queue, nearby
from fbcli.queues.queue import Done
from fbcli.values.moments import ago

from ._flags.place import (
    BrokerFlag,
    ContextFlag,
    DryRunFlag,
    JsonFlag,
    NoInputFlag,
    QueueArgument,
    StoreFlag,
    YesFlag,
    new_app,
    settings_of,
)

app = new_app("""List, show, edit, replay and clear dead letters: messages that failed for good.

    \b
      fb dead ls mymod:task
      fb dead show mymod:task 0198c0de-…
      fb dead edit mymod:task 0198c0de-… x=2 --replay
      fb dead replay mymod:task --all

    They are kept in the queue NAME.dead of the same broker until they are replayed or cleared. Exit
    code 3: there is none of these tasks; 8: of some only.
    """)
IN_HELP = "Queues", 8

TaskArgument = Annotated[str, typer.Argument(metavar="TASK_ID", help="As `fb dead ls` shows it.")]
TasksArgument = Annotated[
    list[str] | None, typer.Argument(metavar="TASK_ID", help="As `fb dead ls` shows them.")
]


@app.command("ls")
def list_(
    queue: QueueArgument,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", envvar="FB_LIMIT", metavar="N", min=1, help="How many at most."
        ),
    ] = 20,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """List the dead letters of a queue, the oldest first.

    \b
      fb dead ls mymod:task
      fb dead ls mymod.task -n 1000 --json | jq -r 'select(.error_type == "KeyError") | .task_id'
    """
    out = Output(json=json)
    letters = _letters(queue, context, broker, store)
    held = letters.held()
    found = islice(letters.browse(), limit)
    if json:
        for letter in found:
            out.object(summary(letter))
        return
    now = SYSTEM.now()
    rows = [
        [
            each.task_id,
            ago(each.died, now),
            each.detail("error_type"),
            each.reason,
            each.attempts,
            arguments(each),
        ]
        for each in found
    ]
    out.table(
        ("task_id", "died", "error", "reason", "attempts", "arguments"),
        rows,
        empty=(
            f"{letters.queue.name} has no dead letters.{'' if held else nearby(letters.queue)}",
            "fb queues",
        ),
    )
    total = letters.count()
    if total is not None and total > len(rows):
        out.say(f"{len(rows):,} of {amount(total, 'dead letter')}; -n shows more.")
    if held:
        out.say(
            f"{amount(held, 'more dead letter')} held by another `fb dead`, or by one that was"
            " killed: try again soon."
        )


@app.command()
def show(
    queue: QueueArgument,
    task_id: TaskArgument,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Show one dead letter in full, with its traceback.

    \b
      fb dead show mymod:task 0198c0de-…
      fb dead show mymod.task 0198c0de-… --json | jq .extra.dead.reason
    """
    out = Output(json=json)
    letter = _letters(queue, context, broker, store).find(task_id)
    if json:
        out.object(letter.json)
    else:
        for line in lines(letter):
            out.text(line)


@app.command(name="edit")
def edit_(
    queue: QueueArgument,
    task_id: TaskArgument,
    pairs: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Arguments to change, written as for `fb push`."),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            "--unset", envvar="FB_UNSET", metavar="NAME", help="Remove this argument (repeatable)."
        ),
    ] = None,
    replay: Annotated[
        bool,
        typer.Option("--replay", envvar="FB_REPLAY", help="Put it back into the queue at once."),
    ] = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Change the arguments of a dead letter; without any given, in your editor.

    \b
      fb dead edit mymod:task 0198c0de-… x=2 'tags:=["a"]' --replay
      fb dead edit mymod:task 0198c0de-… --unset old_name new_name=3
      EDITOR=nano fb dead edit mymod:task 0198c0de-…
    """
    out = Output(json=json)
    letters = _letters(queue, context, broker, store)
    changes = parse_pairs(pairs or ())
    letter = letters.find(task_id)
    body = changed(letter, changes, unset or ()) if pairs or unset else _edited_by_hand(out, letter)
    new = letters.rewrite(letter, body, replay=replay)
    if json:
        out.object(new.json)
    else:
        again = f"`fb dead replay {letters.queue.name} {task_id}` runs it again"
        out.say(
            visible(f"{task_id} {'is back in the queue' if replay else f'was changed; {again}'}.")
        )


@app.command()
def replay(
    queue: QueueArgument,
    task_ids: TasksArgument = None,
    all: Annotated[
        bool, typer.Option("--all", "-a", envvar="FB_REPLAY_ALL", help="All that are there now.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", envvar="FB_REPLAY_LIMIT", metavar="N", min=1, help="The N oldest only."
        ),
    ] = None,
    yes: YesFlag = False,
    dry_run: DryRunFlag = False,
    no_input: NoInputFlag = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Put dead letters back into their queue, as good as new.

    \b
      fb dead replay mymod:task 0198c0de-… 0198c0df-…
      fb dead replay mymod:task --all
      fb dead replay mymod:task --limit 100 -y

    Nothing is lost when it is interrupted: what was moved stays moved, the rest is still a dead
    letter.
    """
    out = Output(json=json)
    if bool(task_ids) == (all or limit is not None):
        raise UsageError("Say which: name task ids, or --all, or --limit N for the oldest.")
    letters = _letters(queue, context, broker, store)
    count, done = letters.count(task_ids), Done(0)
    count = count if count is None or limit is None else min(count, limit)
    if count == 0:
        out.empty(f"{letters.queue.name} has no dead letters.{nearby(letters.queue)}", "fb queues")
    elif dry_run:
        out.say(f"Would put {amount(count, 'dead letter')} back into {letters.queue.name}.")
    else:
        if not task_ids:
            out.confirm(
                f"Put {amount(count, 'dead letter')} back into {letters.queue.name}?",
                yes=yes,
                no_input=no_input,
            )
        with out.progress("replaying", count) as advance:
            done = letters.replay(task_ids, EVERYTHING if limit is None else limit, advance)
        count = done.count
        out.say(f"{amount(count, 'dead letter')} back in {letters.queue.name}.")
    if json:
        out.object({"queue": letters.queue.name, "replayed": count, "dry_run": dry_run})
    done.check()


@app.command()
def clear(
    queue: QueueArgument,
    task_ids: TasksArgument = None,
    yes: YesFlag = False,
    dry_run: DryRunFlag = False,
    no_input: NoInputFlag = False,
    json: JsonFlag = False,
    broker: BrokerFlag = None,
    store: StoreFlag = None,
    context: ContextFlag = None,
) -> None:
    """Remove dead letters for good: those named, or all of a queue.

    \b
      fb dead clear mymod:task
      fb dead clear mymod:task 0198c0de-… -y
      fb dead clear mymod.task --dry-run
    """
    out = Output(json=json)
    letters = _letters(queue, context, broker, store)
    count, done = letters.count(task_ids), Done(0)
    if count == 0:
        out.empty(f"{letters.queue.name} has no dead letters.{nearby(letters.queue)}", "fb queues")
    elif dry_run:
        out.say(f"Would remove {amount(count, 'dead letter')} of {letters.queue.name}.")
    else:
        out.confirm(
            f"Remove {amount(count, 'dead letter')} of {letters.queue.name} for good?",
            yes=yes,
            no_input=no_input,
        )
        done = letters.clear(task_ids)
        count = done.count
        out.say(f"Removed {amount(count, 'dead letter')} of {letters.queue.name}.")
    if json:
        out.object({"queue": letters.queue.name, "removed": count, "dry_run": dry_run})
    done.check()


def _letters(queue: str, context: str | None, broker: str | None, store: str | None) -> DeadLetters:
    return DeadLetters.of(find_queue(queue, settings_of(context, broker, store)))


def _edited_by_hand(out: Output, letter: Letter) -> bytes:
    """Return the body as a person has changed it. Raises `UsageError` when it was left as it was,
    or is no message now."""
    before = editable(letter)
    text, file = edit(
        out,
        before,
        name="message.json",
        instead="Give the changes instead: fb dead edit QUEUE TASK_ID x=2",
    )
    try:
        body = edited(letter, text)
    except BadMessage as error:
        raise UsageError(f"{error} Nothing was changed; your text is in {file}") from None
    discard(file)
    if text.strip() == before.strip():
        raise UsageError("The message was left as it was.")
    return body
