"""Bytes of a stream into text, cut where it does not hurt."""

from __future__ import annotations

import codecs


class StreamText:
    """Decodes UTF-8 that arrives in pieces; bytes that are no UTF-8 become U+FFFD.

    A carriage return at the end of a piece waits for what follows it: alone in a message it would be taken for an
    overwrite even where it is half of a line end.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """The text that is complete now."""
        text = self._held + self._decoder.decode(data)
        whole = text.rstrip("\r")
        self._held = text[len(whole) :]
        return whole

    def finish(self) -> str:
        """What is left at the end."""
        text, self._held = self._held + self._decoder.decode(b"", True), ""
        return text
