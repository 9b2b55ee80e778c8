"""The command line. Each command is a module of its own; this one only gathers them."""

import click

from plimsoll import __version__
from plimsoll.cli.agents import describe_agent
from plimsoll.cli.approvals import approvals
from plimsoll.cli.audit import audit
from plimsoll.cli.compensate import compensate
from plimsoll.cli.contract_commands import check_command, init_command
from plimsoll.cli.erase import erase
from plimsoll.cli.gate import gate, reproduce
from plimsoll.cli.gateway import gateway
from plimsoll.cli.inference import inference
from plimsoll.cli.keys import keys
from plimsoll.cli.kill import kill
from plimsoll.cli.learn import learn
from plimsoll.cli.runs import runs
from plimsoll.cli.status import circuit, status
from plimsoll.cli.steering import adopt, cancel, signal, work

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="plimsoll")
def main() -> None:
    """Keeps AI agents stable in production, and refuses to let one ship until that is proven.

    \b
    Start here:
      plimsoll init shop.agent:agent     writes plimsoll.toml from the agent's own tools
      plimsoll check --agent             finds contradictions and holes in it
      plimsoll gate                      injects faults into the agent: may it ship?

    \b
    Then, while it runs:
      plimsoll approvals list            what waits for a person
      plimsoll runs resume               goes on with whatever can: decided, expired, left by a crash
      plimsoll status                    what runs, what waits, which circuits are open
      plimsoll kill --all                stops every run before its next call
      plimsoll audit verify              is the journal as it was written?
      plimsoll gateway                   OpenAI's interface, for agents in any language
      plimsoll learn fit --data FILE     a small transformer of your own, from rows of text and label
      plimsoll inference MODEL           that transformer behind HTTP

    \b
    Exit codes: 0 done, 1 an error, 2 wrong usage, 130 after ctrl-C. `gate`: 0 SHIP, 1 BLOCK, 2 INCONCLUSIVE.
    `audit verify`: 0 as it was written, 1 not so, 2 could not be tried.
    """


for command in (
    init_command(describe_agent),
    check_command(describe_agent),
    gate,
    reproduce,
    runs,
    approvals,
    status,
    kill,
    circuit,
    audit,
    erase,
    keys,
    gateway,
    inference,
    learn,
):
    main.add_command(command)
for steering in (compensate, signal, cancel, adopt, work):
    runs.add_command(steering)
