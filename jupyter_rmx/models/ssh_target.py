"""Where an SSH workspace is: what a person wrote, without what does not survive (design.md § 2)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SSHTarget:
    """One SSH destination with the options that decide how it is reached. Holds no secret.

    destination
        `[user@]host` as it was written: a host, an address (IPv6 without brackets) or a `Host` entry of ssh_config.
        Never begins with `-`.
    port
        None: whatever ssh_config says, else 22. 22 and None are not the same target.
    identity_files
        Private keys in the order in which they were named, `~` expanded.
    options
        Values of `-o`, as `Key=Value` or `Key Value`, verbatim and in order, without those of a control socket.
    """

    destination: str
    port: int | None = None
    identity_files: tuple[str, ...] = ()
    config_file: str | None = None
    jump_host: str | None = None
    use_ipv4: bool = False
    use_ipv6: bool = False
    forward_agent: bool = False
    compression: bool = False
    options: tuple[str, ...] = ()

    def argv(self) -> list[str]:
        """The words behind `ssh` that mean this target; the destination stands behind `--`."""
        words = [
            flag
            for flag, on in (
                ("-4", self.use_ipv4),
                ("-6", self.use_ipv6),
                ("-A", self.forward_agent),
                ("-C", self.compression),
            )
            if on
        ]
        for flag, value in (("-F", self.config_file), ("-J", self.jump_host), ("-p", self.port)):
            if value is not None:
                words += [flag, str(value)]
        for flag, values in (("-i", self.identity_files), ("-o", self.options)):
            for one in values:
                words += [flag, one]
        return [*words, "--", self.destination]

    def to_wire(self) -> dict[str, Any]:
        """JSON form; also how the store keeps it."""
        return asdict(self) | {
            "identity_files": list(self.identity_files),
            "options": list(self.options),
        }

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> SSHTarget:
        """The inverse of `to_wire`; fields that are not known are ignored."""
        return cls(
            destination=wire["destination"],
            port=wire.get("port"),
            identity_files=tuple(wire.get("identity_files") or ()),
            config_file=wire.get("config_file"),
            jump_host=wire.get("jump_host"),
            use_ipv4=bool(wire.get("use_ipv4")),
            use_ipv6=bool(wire.get("use_ipv6")),
            forward_agent=bool(wire.get("forward_agent")),
            compression=bool(wire.get("compression")),
            options=tuple(wire.get("options") or ()),
        )
