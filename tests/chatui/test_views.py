from chatui.views import _left_out, rows, with_text
from feedback.records import Said


def said(number: int, role: str, **columns: object) -> Said:
    return Said(id=f"m{number}", parent_id=None, role=role, content=f"text {number}", status="complete", **columns)


def test_what_no_longer_fitted_is_counted_per_reply() -> None:
    path = [
        said(0, "user"),
        said(1, "assistant", given=1),
        said(2, "user"),
        said(3, "assistant", given=1),
        said(4, "user"),
        said(5, "assistant"),  # imported: nobody knows what it was given
    ]
    assert _left_out(path) == {"m1": 0, "m3": 2}


def test_text_is_shown_to_the_letter() -> None:
    message = Said(id="m", parent_id=None, role="assistant", content="\tif x:\n\t\ty", status="complete")
    shown = rows([message], [])
    assert shown[0]["content"] == [{"type": "text", "text": "\tif x:\n\t\ty"}]
    assert with_text(shown, "m", "  more")[0]["content"] == [{"type": "text", "text": "  more"}]
    assert with_text(shown, "other", "  more") == shown
