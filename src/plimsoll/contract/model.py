"""`plimsoll.toml` as frozen models: what was decided about an agent.

Everything that may be left out has the safe default. Seconds end in `_s`; money is in US dollars (`usd`).
"""

from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from plimsoll.contract.concessions import CONCESSIONS
from plimsoll.core.calls import Effect, Fault

__all__ = [
    "GATE_CLAIMS",
    "AgentSection",
    "AlertsSection",
    "Approval",
    "BulkheadSection",
    "CircuitBreakerSection",
    "Connection",
    "Contract",
    "DayLimits",
    "Fresh",
    "GateSection",
    "GatewaySection",
    "GuardSection",
    "HedgeSection",
    "JournalSection",
    "Limits",
    "Mode",
    "Model",
    "OutputRule",
    "Protections",
    "RateLimitSection",
    "Retry",
    "ServiceLevel",
    "ServiceLevels",
    "TelemetrySection",
    "Tool",
    "Upstream",
]

Positive = Annotated[float, Meta(gt=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
NonNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(gt=0, lt=1)]
WholeShare = Annotated[float, Meta(gt=0, le=1)]
Named = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$",
        extra={"words": "a Python name written module:attribute, such as shop.agent:agent"},
    ),
]
"""Something to be imported."""
RuleSource = Annotated[str, Meta(extra={"rule": True, "words": "a rule, such as amount > 50"})]
"""An expression over a call's arguments; see `plimsoll.contract.expressions`."""
PatternSource = Annotated[str, Meta(min_length=1, extra={"pattern": True, "words": "a regular expression"})]
JsonType = Literal["object", "array", "string", "number", "integer", "boolean"]

GATE_CLAIMS = ("monitoring", "fallbacks", "oversight", "bounded", "latency", "honesty", "exactly_once")
"""What the gate shows of an agent; see `plimsoll.gate.verdict.CLAIMS`."""
GateClaim = Annotated[
    str, Meta(pattern=rf"^(?:{'|'.join(GATE_CLAIMS)})$", extra={"words": f"one of {', '.join(GATE_CLAIMS)}"})
]
Concession = Annotated[
    str, Meta(pattern=rf"^(?:{'|'.join(CONCESSIONS)})$", extra={"words": f"one of {', '.join(CONCESSIONS)}"})
]
"""The name of something that is done without; see `plimsoll.contract.concessions`."""


DatabaseUrl = Annotated[
    str,
    Meta(
        pattern=r"^(sqlite:///.|postgres(ql)?://|env:[A-Za-z_][A-Za-z0-9_]*$)",
        extra={"words": "sqlite:///FILE, postgresql://…, or env:NAME for a variable of the environment that holds it"},
    ),
]


WebhookUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?://.|env:[A-Za-z_][A-Za-z0-9_]*$)",
        extra={"words": "an address (https://…), or env:NAME for a variable of the environment that holds it"},
    ),
]
RunUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^{}]*\{run_id\}[^{}]*$",
        extra={"words": "an address with {run_id} in it, such as https://ops.example/runs/{run_id}"},
    ),
]
HttpUrl = Annotated[
    str, Meta(pattern=r"^https?://[^\s/]", extra={"words": "an address, such as https://api.openai.com/v1"})
]
LocalReference = Annotated[
    str,
    Meta(
        pattern=r"^(https?://[^\s/]\S*|registry:[^\s:@]+(@[^\s:@]+|:[0-9]+)|(?!https?:|registry:)\S(.*\S)?)$",
        extra={
            "words": "a model's directory (models/assistant), the address of a server with OpenAI's interface "
            "(http://127.0.0.1:8000/v1), or registry:NAME@champion"
        },
    ),
]
"""Where a model of one's own is."""
FromEnvironment = Annotated[
    str,
    Meta(
        pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$",
        extra={"words": "env:NAME, for a variable of the environment that holds it"},
    ),
]


class Mode(StrEnum):
    """Whether a protection acts, or only reports what it would have done."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class AgentSection(_Section, frozen=True, kw_only=True):
    """`[agent]`: which agent this is about.

    `entrypoint` is `module:attribute`: an agent object, or for the framework-free kind an async callable.
    `deps` is `module:callable`, which makes the agent's dependencies when a run is resumed by the command line.
    `harness` is `module:function`, which makes all of it, in the surroundings that it is given: a `Harness`, or a
    hardened agent. The command line goes on with runs by it, instead of by the other two.
    `new_version` says what becomes of a run that another version of the agent began: `pin` parks it until somebody
    adopts it, `replay` goes on with it where this version's code replays its journal.
    """

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
            extra={"words": "text of letters, digits, dots, dashes and underscores, such as shop-assistant"},
        ),
    ]
    entrypoint: Named | None = None
    deps: Named | None = None
    harness: Named | None = None
    new_version: Literal["pin", "replay"] = "pin"


class DayLimits(_Section, frozen=True, kw_only=True):
    """`[limits.day]`: what all runs of this agent together may use up in one day, in every process on one journal.

    A day begins at 00:00 UTC. `runs` is how many may begin. None: no limit.
    """

    usd: Positive | None = None
    tokens: AtLeastOne | None = None
    runs: AtLeastOne | None = None


class Limits(_Section, frozen=True, kw_only=True):
    """`[limits]`: what one run may use up at most. Checked before each call, with that call's worst case.

    `repeats` is how often the same call with the same arguments may bring the same result before it is a loop.
    `max_resumes` is how often a run may be gone on with after its process died: once more and it waits for a person.
    `day` is what all runs may use up in a day.
    """

    steps: AtLeastOne = 50
    seconds: Positive = 300.0
    tokens: AtLeastOne = 200_000
    usd: Positive = 1.0
    repeats: Annotated[int, Meta(ge=2)] = 3
    max_resumes: Annotated[int, Meta(ge=0)] = 10
    day: DayLimits | None = None


class Retry(_Section, frozen=True, kw_only=True):
    """Exponential backoff with full jitter. `on` has no default: an author says which faults are worth another try.

    `max_attempts` counts the first call. The wait before attempt n+1 is uniform in [0, min(cap_s, base_s * 2**(n-1))],
    and never less than the dependency's own Retry-After.
    """

    on: tuple[Fault, ...]
    max_attempts: AtLeastOne = 3
    base_s: Positive = 0.5
    cap_s: Positive = 8.0


class CircuitBreakerSection(_Section, frozen=True, kw_only=True):
    """When a dependency is not asked any more, and when again.

    Looked at are the last `window` attempts that ended within `window_s` seconds, once they are `min_calls`. It opens
    where the share of failed ones is `failure_ratio` or more, or that of slow ones (by the dependency's `slow_s`)
    `slow_ratio`. After `open_s` seconds so many `probes` are let through at a time; as many successes close it.
    """

    failure_ratio: WholeShare = 0.5
    slow_ratio: WholeShare = 0.8
    window: AtLeastOne = 20
    window_s: Positive = 60.0
    min_calls: AtLeastOne = 5
    open_s: Positive = 15.0
    probes: AtLeastOne = 1


class HedgeSection(_Section, frozen=True, kw_only=True):
    """An attempt that is later than the `quantile` of all was is made a second time, and the first answer is taken.

    Not before `min_observations` answers, and for no more than `max_extra` of the calls.
    """

    quantile: Annotated[float, Meta(ge=0.5, lt=1)] = 0.97
    min_observations: Annotated[int, Meta(ge=1, le=500)] = 20
    max_extra: WholeShare = 0.05


class BulkheadSection(_Section, frozen=True, kw_only=True):
    """How many attempts at a dependency may be under way at once, in this process, and how many more may wait for
    their turn, for how many seconds each. The least critical runs are shed first."""

    max_concurrent: AtLeastOne
    max_queue: Annotated[int, Meta(ge=0)] = 0
    max_wait_s: Positive = 10.0


class RateLimitSection(_Section, frozen=True, kw_only=True):
    """How many attempts at a dependency, and tokens of a model's prompts, this process may send in a minute.

    `burst_s` seconds' worth of them may go at once after a pause. One that would be held back for longer than
    `max_wait_s` is not made.
    """

    calls_per_minute: Annotated[float, Meta(ge=1)] | None = None
    tokens_per_minute: Annotated[float, Meta(ge=1)] | None = None
    burst_s: NonNegative = 10.0
    max_wait_s: NonNegative = 10.0


class Fresh(_Section, frozen=True, kw_only=True):
    """How old an answer may be: `field` holds its date, keys of objects within objects being joined by dots.

    A date is a text with a time zone, as in ISO 8601, or a number: Unix time, in seconds or in milliseconds.
    """

    field: Annotated[
        str, Meta(pattern=r"^[^.]+(\.[^.]+)*$", extra={"words": "a key of the answer, such as as_of or quote.as_of"})
    ]
    max_age_s: Positive


class OutputRule(_Section, frozen=True, kw_only=True):
    """What an answer must be to count as one.

    `type` is a JSON type (`object`, `array`, `string`, `number`, `integer`, `boolean`); `required` are keys that an
    object must have; `pattern` is a regular expression that a text must match from beginning to end. `may_be_empty`
    says whether "", [], {} and null are answers; None: as far as nothing that is declared speaks against it, and "",
    which a lost answer looks like, never. Anything that looks like an error in disguise is refused unless
    `may_look_like_error`. `fresh` says how old it may be.
    """

    type: JsonType | None = None
    required: tuple[str, ...] = ()
    pattern: PatternSource | None = None
    may_be_empty: bool | None = None
    may_look_like_error: bool = False
    fresh: Fresh | None = None


class Approval(_Section, frozen=True, kw_only=True):
    """When a call needs a person's word. `when` is an expression over its arguments, such as `amount > 50`.

    `approvers` are the identities that may decide; nobody answering within `expires_s` seconds means no.
    """

    approvers: tuple[str, ...]
    when: RuleSource = "true"
    expires_s: Positive = 3600.0


class Model(_Section, frozen=True, kw_only=True):
    """`[models.NAME]`: one rung of a ladder.

    `id` is the framework's name for the model (`openai:gpt-5`); None is the agent's own. `local` is a model of one's
    own instead: a directory, from the contract's folder, a server's address, or `registry:NAME@champion`. `canned`
    makes the rung an honest fixed answer instead, `cached_for_s` what a model of the ladder answered to the very same
    request within so many seconds, `hand_over` the answer of one of the people named, who have `answer_within_s`
    seconds for it. `fallback` names the rungs below, in order. `slow_s` is from when an answer is reported as slow
    (None: half of `timeout_s`). `idle_timeout_s` is how long a streamed answer may be silent, from the
    request or its last part (None: no limit but `timeout_s`). `max_output_tokens` and the prices give a call's worst
    case. `may_write` false: after this rung answered, the run may not do anything but read.
    """

    id: str | None = None
    local: LocalReference | None = None
    canned: Annotated[str, Meta(min_length=1)] | None = None
    cached_for_s: Positive | None = None
    hand_over: tuple[str, ...] = ()
    answer_within_s: Positive = 3600.0
    fallback: tuple[str, ...] = ()
    timeout_s: Positive = 30.0
    idle_timeout_s: Positive | None = None
    slow_s: Positive | None = None
    retry: Retry | None = None
    hedge: HedgeSection | None = None
    circuit_breaker: CircuitBreakerSection | None = None
    rate_limit: RateLimitSection | None = None
    bulkhead: BulkheadSection | None = None
    max_output_tokens: AtLeastOne = 4096
    usd_per_million_input_tokens: NonNegative = 0.0
    usd_per_million_output_tokens: NonNegative = 0.0
    may_write: bool = True

    @property
    def is_model(self) -> bool:
        """Whether a model is asked here: what answers is not canned, not remembered, and no person."""
        return self.canned is None and self.cached_for_s is None and not self.hand_over

    @property
    def is_served(self) -> bool:
        """Whether it is a model of one's own behind an address: what answers there is not known here."""
        return self.local is not None and self.local.startswith(("http://", "https://"))


class Tool(_Section, frozen=True, kw_only=True):
    """`[tools.NAME]`: what a tool may do to the world, and who must approve it.

    `verify` is `module:function`, called with the arguments and the idempotency key when a write is in doubt.
    `proves_nothing_happened` names the exception classes by which the tool refuses, or says that nothing happened.
    `max_per_run` is how often one run may call it (None: as often as the limits allow); once more is refused.
    `refuse_when` is an expression over the arguments; where it holds the call is refused outright.
    `claims` are phrases by which an agent says that this tool's effect was done; said without it, a finding is raised.
    `connection` names the database that a transaction works on.
    `compensate` is `module:function`, which takes back what a call did, by its arguments and its result, when a person
    says so. It is a call too, to `NAME.compensate`: a write, unless a `[tools."NAME.compensate"]` says otherwise.
    """

    effect: Effect = Effect.WRITE
    timeout_s: Positive = 10.0
    slow_s: Positive | None = None
    retry: Retry | None = None
    hedge: HedgeSection | None = None
    circuit_breaker: CircuitBreakerSection | None = None
    rate_limit: RateLimitSection | None = None
    bulkhead: BulkheadSection | None = None
    approval: Approval | None = None
    refuse_when: RuleSource | None = None
    max_per_run: AtLeastOne | None = None
    verify: Named | None = None
    proves_nothing_happened: tuple[str, ...] = ()
    output: OutputRule = OutputRule()
    claims: tuple[str, ...] = ()
    connection: str | None = None
    compensate: Named | None = None


class GuardSection(_Section, frozen=True, kw_only=True):
    """`[guards.NAME]`: a small model that judges texts on their way, and what follows.

    `model` is the directory of an export, from the contract's folder, or `registry:NAME@champion`. `on` says which
    texts: `input` is what the agent is asked, `tool_result` what a tool brought, `output` what it is about to answer.
    `label` is what it looks for, and `above` how likely that must be, from which on `action` follows: `finding` only
    reports; `halt` ends the run; `hand_over` asks one of `approvers` whether the text may pass, who have `expires_s`
    seconds; `replace` puts `replacement` in its place. `tools` are those whose results are judged (empty: all).
    `unless_done` names tools: an answer is not judged once one of them was carried out. `on_failure` is what follows
    where the guard fails, or has not judged within `timeout_s`.
    """

    model: Annotated[str, Meta(min_length=1)]
    on: tuple[Literal["input", "tool_result", "output"], ...]
    label: Annotated[str, Meta(min_length=1)]
    above: Share
    action: Literal["finding", "halt", "hand_over", "replace"] = "halt"
    replacement: Annotated[str, Meta(min_length=1)] | None = None
    approvers: tuple[str, ...] = ()
    expires_s: Positive = 3600.0
    tools: tuple[str, ...] = ()
    unless_done: tuple[str, ...] = ()
    timeout_s: Positive = 5.0
    on_failure: Literal["halt", "pass"] = "halt"

    def judges(self, tool: str) -> bool:
        """Whether it judges what this tool brings."""
        return "tool_result" in self.on and (not self.tools or tool in self.tools)


class Connection(_Section, frozen=True, kw_only=True):
    """`[connections.NAME]`: a database that transaction tools work on.

    `url` is `sqlite:///shop.db` (from the contract's folder), `postgresql://…`, or `env:NAME`: the variable of the
    environment that holds one of the two, and any password.
    """

    url: DatabaseUrl


class Protections(_Section, frozen=True, kw_only=True):
    """`[protections]`: each enforces, or only observes. Everything starts enforced."""

    limits: Mode = Mode.ENFORCE
    approvals: Mode = Mode.ENFORCE
    fallback: Mode = Mode.ENFORCE
    retry: Mode = Mode.ENFORCE
    timeout: Mode = Mode.ENFORCE
    hedge: Mode = Mode.ENFORCE
    circuit_breaker: Mode = Mode.ENFORCE
    rate_limit: Mode = Mode.ENFORCE
    bulkhead: Mode = Mode.ENFORCE
    output_check: Mode = Mode.ENFORCE
    loops: Mode = Mode.ENFORCE
    silent_failures: Mode = Mode.ENFORCE
    guards: Mode = Mode.ENFORCE


class JournalSection(_Section, frozen=True, kw_only=True):
    """`[journal]`: where it lies, relative to the contract's file, and how long a run waits for it before it parks.

    `encrypt` seals the personal fields of new runs, with a key for each. `key_file` holds the master key (None: the
    environment's PLIMSOLL_JOURNAL_KEY), `signing_key_file` the key that signs checkpoints (None: the environment's
    PLIMSOLL_SIGNING_KEY; without one there are none). A checkpoint is made after so many events, or so many seconds.
    """

    path: str = ".plimsoll/journal.db"
    patience_s: Positive = 5.0
    encrypt: bool = False
    key_file: Annotated[str, Meta(min_length=1)] | None = None
    signing_key_file: Annotated[str, Meta(min_length=1)] | None = None
    checkpoint_events: AtLeastOne = 1000
    checkpoint_s: Positive = 600.0


class AlertsSection(_Section, frozen=True, kw_only=True):
    """`[alerts]`: whom findings reach besides the log, and how often.

    `webhook` is an address that takes them as JSON, such as Slack's, or `env:NAME`, the variable of the environment
    that holds it. `webhook_key_file` holds the key that signs them (None: the environment's PLIMSOLL_WEBHOOK_KEY;
    without one they are not signed). `run_url` is where a run can be looked at. `severity` is the least that is sent.
    The same cause is sent once in `window_s` seconds, with how often it was there, and at most `per_minute` are sent.
    """

    webhook: WebhookUrl | None = None
    webhook_key_file: Annotated[str, Meta(min_length=1)] | None = None
    run_url: RunUrl | None = None
    severity: Literal["info", "warning", "critical"] = "info"
    window_s: Positive = 3600.0
    per_minute: AtLeastOne = 20


class ServiceLevel(_Section, frozen=True, kw_only=True):
    """What is promised of an agent's runs, or of the calls of a model or a tool.

    `objective` is the share that must go well. Of those, the share `quantile` takes at most `within_s` seconds.
    """

    objective: Share | None = None
    within_s: Positive | None = None
    quantile: Share = 0.95


class ServiceLevels(_Section, frozen=True, kw_only=True):
    """`[service_levels]`: what is promised, and from when on people are told that it is not kept.

    `runs` is for the agent's own runs, `models` and `tools` for what it calls, by name. `silent_s` is how long a run
    may record nothing while it runs (None: `limits.seconds`), `waiting_s` how long runs may wait for people.
    """

    runs: ServiceLevel | None = None
    models: dict[str, ServiceLevel] = field(default_factory=dict)
    tools: dict[str, ServiceLevel] = field(default_factory=dict)
    silent_s: Positive | None = None
    waiting_s: Positive = 1800.0


class TelemetrySection(_Section, frozen=True, kw_only=True):
    """`[telemetry]`: what may leave by it, wherever the environment sends it.

    `record_content` false: names and numbers only. True: also what the agent was asked and answered, what its tools
    were given and returned, what its models answered, and the messages of errors. What a model was asked is
    never told: it is made of these, and of prompts that stand in the code.
    """

    record_content: bool = False


class GateSection(_Section, frozen=True, kw_only=True):
    """`[gate]`: how sure the gate must be.

    `scenarios` is `module:attribute`, a list of `plimsoll.gate.Scenario`. Storms (sampled combinations of faults) must
    be survived in at least `storm_target` of cases, shown with `confidence`, corrected for the number of claims.
    `finding_within_s` is how soon after an injected fault the finding that names it must have arrived. `claims` are
    those that must have been shown (empty: all). `accepts` names what is done without, of all that every agent is held
    to.
    """

    scenarios: Named | None = None
    seed: int = 7
    storms: Annotated[int, Meta(ge=0)] = 200
    storm_target: Share = 0.95
    confidence: Share = 0.95
    finding_within_s: Positive = 120.0
    claims: tuple[GateClaim, ...] = ()
    accepts: tuple[Concession, ...] = ()


class Upstream(_Section, frozen=True, kw_only=True):
    """`[gateway.upstreams.NAME]`: an HTTP service with OpenAI's interface, to which the models `NAME:…` are sent.

    `base_url` ends where `/chat/completions` begins. `api_key` is `env:NAME` (None: it wants none). `output_cap` is
    what the service calls the most tokens of a chat completion; `responses` whether it has `/responses`.
    """

    base_url: HttpUrl
    api_key: FromEnvironment | None = None
    output_cap: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    responses: bool = True


class GatewaySection(_Section, frozen=True, kw_only=True):
    """`[gateway]`: the service `plimsoll gateway`, and what it takes from its clients.

    `keys` is the file of its tenants' keys, relative to the contract's. A request has `max_request_bytes` at most, and
    has come within `read_timeout_s`. Each tenant may send so many requests a minute, of which a sixth at once, and have
    `max_concurrent` under way. A run whose client has not come back for `run_idle_s` seconds ends.
    """

    upstreams: dict[str, Upstream]
    keys: Annotated[str, Meta(min_length=1)] = ".plimsoll/gateway-keys.json"
    max_request_bytes: AtLeastOne = 4_194_304
    read_timeout_s: Positive = 30.0
    requests_per_minute: AtLeastOne = 600
    max_concurrent: AtLeastOne = 64
    run_idle_s: Positive = 604_800.0


class Contract(_Section, frozen=True, kw_only=True):
    """The whole of `plimsoll.toml`. The model named `primary` is the one that the agent is asked with."""

    agent: AgentSection
    limits: Limits = Limits()
    protections: Protections = Protections()
    models: dict[str, Model] = field(default_factory=lambda: {"primary": Model()})
    tools: dict[str, Tool] = field(default_factory=dict)
    guards: dict[str, GuardSection] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    journal: JournalSection = JournalSection()
    service_levels: ServiceLevels = ServiceLevels()
    alerts: AlertsSection = AlertsSection()
    telemetry: TelemetrySection = TelemetrySection()
    gate: GateSection = GateSection()
    gateway: GatewaySection | None = None

    def tool(self, name: str) -> Tool:
        """What was decided about the tool `name`. An undeclared tool is a write that nobody may retry."""
        return self.tools.get(name) or Tool()

    def accepts(self, concession: str) -> bool:
        """Whether the gate is to go without this; see `plimsoll.contract.concessions`."""
        return concession in self.gate.accepts
