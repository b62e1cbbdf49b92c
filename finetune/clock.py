"""A clock that stands still, for chat templates that write today's date.

With it a prompt has the same tokens whenever it is trained on or measured: across midnight a run goes on from its
checkpoint, figures that were kept still hold, and versions are compared on the same prompts.
"""

from datetime import datetime
from functools import cache

_STOPPED_AT = datetime(2024, 7, 26)  # the date that Llama 3's template falls back on
_DIRECTIVES = "aAbBcdDeFfGHIjmMpRSTuUVwWxXyYzZ"  # of datetime.strftime
_UNPADDED = "dHIjmMSy"  # those that may stand without their zeros in front, as in %-d


@cache
def stopped(template: str) -> str:
    """Return a chat template whose `strftime_now` tells one date for ever.

    A macro of that name stands before the library's function, which takes no other function in its place.
    """
    told = {f"%{one}": _STOPPED_AT.strftime(f"%{one}") for one in _DIRECTIVES}
    told |= {f"%-{one}": told[f"%{one}"].lstrip("0") or "0" for one in _UNPADDED}
    form = "form" + "".join(f".replace({asked!r}, {said!r})" for asked, said in told.items())
    # The newline is taken away with the macro, and what follows begins a line, as it did.
    return f"{{% macro strftime_now(form) %}}{{{{ {form} }}}}{{% endmacro %}}\n{template}"
