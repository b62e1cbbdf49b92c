from sqlalchemy import event

from chatui.version_views import VersionViews
from chatui.views import _left_out, rows, with_text
from feedback.records import Said
from feedback.store import Store


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


def test_when_each_version_served_is_read_at_once_however_many_there_are(store: Store) -> None:
    def reads_of_promotions() -> int:
        sent: list[str] = []

        def note(*one: object) -> None:
            sent.append(str(one[2]))

        event.listen(store._database.engine, "before_cursor_execute", note)
        told = VersionViews(store).versions_told()["served"]
        event.remove(store._database.engine, "before_cursor_execute", note)
        assert list(told) == [str(version.number) for version in store.versions()]
        return sum("FROM promotions" in statement for statement in sent)

    store.add_base("tiny")
    before = reads_of_promotions()
    for number in (1, 2, 3):
        store.add_version(number, "adapter", f"versions/{number:03}", store.open_run({}), "promoted", "", {})
    assert reads_of_promotions() == before
