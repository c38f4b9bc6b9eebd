"""The one table of verbs: it feeds `%vm`, the CLI and the reference page. Data only.

`%vm create demo` and `jupyter rmx create demo` are parsed by the same rows (`command_line.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Face = Literal["magic", "cell", "cli"]
Kind = Literal["text", "list", "many", "flag"]
"""`text`: one value; `many`: one or more positionals; `list`: an option that may be repeated; `flag`: on or off."""


@dataclass(frozen=True)
class Argument:
    """One argument. A `name` with dashes is an option, else a positional; `required` is about positionals.

    `defaults_in` are the faces in which the default machine stands for one that is not named.
    """

    name: str
    help: str
    kind: Kind = "text"
    metavar: str = ""
    required: bool = True
    short: str = ""
    defaults_in: frozenset[Face] = frozenset()

    @property
    def is_option(self) -> bool:
        """Written with dashes."""
        return self.name.startswith("--")


@dataclass(frozen=True)
class Verb:
    """One verb. `tail` says what stands after `--`, untouched by our parser; empty if nothing may.

    `verbatim` is a word from which on all the rest is one positional, exactly as typed: a pasted `ssh …` line keeps its
    flags.
    """

    name: str
    help: str
    arguments: tuple[Argument, ...] = ()
    faces: frozenset[Face] = frozenset({"magic", "cli"})
    tail: str = ""
    example: str = ""
    verbatim: str = ""


MACHINE = Argument("machine", "The machine's name.", metavar="NAME")
MACHINE_OR_DEFAULT = replace(MACHINE, defaults_in=frozenset({"magic", "cell"}))
NEW_NAME = Argument("--name", "Name of the new machine; without one, a name is chosen.", metavar="NEW")
CWD = Argument("--cwd", "The folder there in which to run; relative to the home directory.", metavar="DIR")
TIMEOUT = Argument("--timeout", "End it, with its whole group, after so many seconds.", metavar="SECONDS")
ENV = Argument("--env", "Set an environment variable there; may be repeated.", kind="list", metavar="K=V")
DEBUG = Argument("--debug", "Show the whole traceback of an error.", kind="flag")
JSON = Argument("--json", "Answer with one JSON document.", kind="flag")

VERBS: tuple[Verb, ...] = (
    Verb(
        "create",
        "Make a machine, or return the one that is there already.",
        (
            Argument("name", "Its name; without one, a name is chosen.", metavar="NAME", required=False),
            Argument("--provider", "Who makes it; `local` is the embedded one.", metavar="P"),
            Argument("--image", "What it starts from; what this means is the provider's.", metavar="I"),
        ),
        example="create demo",
    ),
    Verb("ls", "List your machines.", example="ls"),
    Verb(
        "info",
        "Show one machine: its state, why it is so, what it was made of.",
        (MACHINE,),
        example="info demo",
    ),
    Verb(
        "use",
        "Choose the machine that %%vm and %vm exec mean where none is named.",
        (MACHINE,),
        faces=frozenset({"magic"}),
        example="use demo",
    ),
    Verb(
        "attach",
        "Connect a machine that is there already: a host over SSH, or one of your list.",
        (
            Argument(
                "target",
                "user@host[:port], a Host of your ssh_config, ssh://…, a whole `ssh …` line (our own options stand "
                "before it), or the name of a machine.",
                metavar="TARGET",
            ),
            Argument(
                "--name", "Name of the machine here; without one, it follows from the host.", metavar="N"
            ),
            Argument("--startup", "A command that its terminals run first.", metavar="CMD"),
            Argument(
                "--ssh", "TARGET is a host, also where a machine is called so; as ssh:TARGET.", kind="flag"
            ),
        ),
        example="attach me@gpu01",
        verbatim="ssh",
    ),
    Verb(
        "detach",
        "Let go of a machine's connection. A host over SSH leaves the list; nothing is changed on it.",
        (MACHINE,),
        example="detach gpu01",
    ),
    Verb(
        "exec",
        "Run a command there. Its output streams; an exit code other than 0 is an error.",
        (MACHINE_OR_DEFAULT, CWD, ENV, TIMEOUT),
        tail="CMD…",
        example="exec demo -- uname -a",
    ),
    Verb(
        "upload",
        "Copy files there.",
        (
            MACHINE,
            Argument("files", "The files here.", kind="many", metavar="FILE"),
            Argument("--to", "The folder there; without it, the home directory.", metavar="DIR"),
        ),
        example="upload demo data.csv --to data",
    ),
    Verb(
        "open",
        "Show a port of the machine, as in a browser that runs there.",
        (
            MACHINE,
            Argument("target", "The port, with a path if you like: 8000/docs", metavar="PORT[/PATH]"),
        ),
        example="open demo 8000",
    ),
    Verb(
        "pause",
        "Freeze a machine: it costs less and counts no more; whatever uses it resumes it.",
        (MACHINE,),
        example="pause demo",
    ),
    Verb("resume", "Let a paused machine go on.", (MACHINE,), example="resume demo"),
    Verb(
        "snapshot",
        "Keep a copy of a machine, running or paused.",
        (MACHINE, Argument("--label", "A name for the copy.", metavar="TEXT")),
        example="snapshot demo --label before",
    ),
    Verb(
        "restore",
        "Make a machine that starts as a snapshot.",
        (Argument("snapshot", "The snapshot's id.", metavar="SNAPSHOT"), NEW_NAME),
        example="restore snap_3f9a2c41d0b7e865 --name demo-2",
    ),
    Verb(
        "fork",
        "Make a machine that goes on as a copy of this one.",
        (MACHINE, NEW_NAME),
        example="fork demo --name demo-2",
    ),
    Verb(
        "rename",
        "Give a machine another name; all else of it stays.",
        (MACHINE, Argument("new", "The new name.", metavar="NEW")),
        example="rename demo trial",
    ),
    Verb(
        "destroy",
        "End machines and remove everything of them.",
        (Argument("machines", "Their names.", kind="many", metavar="NAME"),),
        example="destroy demo",
    ),
    Verb(
        "serve",
        "Serve your machines where there is no Jupyter server; Ctrl-C ends it.",
        faces=frozenset({"cli"}),
        example="serve",
    ),
)

CELL = Verb(
    "",
    "Run the cell's body on a machine: in its shell, or with --python.",
    (
        MACHINE_OR_DEFAULT,
        Argument("--python", "The body is Python; it is run by the machine's python3.", kind="flag"),
        CWD,
        ENV,
        TIMEOUT,
        Argument("--no-raise-error", "Let the notebook go on after an exit code other than 0.", kind="flag"),
    ),
    faces=frozenset({"cell"}),
    example="demo --python",
)


def verbs_of(face: Face) -> tuple[Verb, ...]:
    """The verbs that a face has."""
    return tuple(verb for verb in VERBS if face in verb.faces)


def common_of(face: Face) -> Argument:
    """The option that every verb of a face has."""
    return JSON if face == "cli" else DEBUG
