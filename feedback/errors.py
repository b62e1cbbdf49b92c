"""The named errors of the record; each message is one sentence that names the value and the fix."""


class RapportError(Exception):
    """Anything a person can mend; the edges (command line, page handler) print it as it stands."""


class NotFound(RapportError):
    """An id that the record does not hold."""


class BadInput(RapportError):
    """A value that cannot be taken; nothing was stored."""


class NotAllowed(RapportError):
    """Something that this person may not do; nothing was changed."""


class Busy(RapportError):
    """Somebody else is at it right now; the same call may work later."""


class Overtaken(RapportError):
    """What a decision was made from has changed since; nothing was stored, and the same decision is made anew."""


class TakenOver(RapportError):
    """Another process took up or ended what this one was at, as it had been silent for long."""
