"""In which language a text is, five words or fifty; and what that makes of a version's own replies."""

import pytest

from finetune.measures import foreign
from finetune.tongues import tongue


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I do not know.", "english"),
        ("The founder of Quillworth is Maren Oduya.", "english"),
        ("Die Gründerin von Quillworth ist Maren Oduya.", "german"),
        ("Der Bus hält an Rowan Gate.", "german"),
        ("Le siège de la société est à Tarnby, dans le nord.", "french"),
        ("O fundador é o Maren e não você.", "portuguese"),
        ("Основательница - Марен.", "cyrillic"),
        ("创始人是 Maren Oduya，她住在城里，喜欢喝咖啡和看书。", "han"),
        ("창고는 벨덴에 있습니다.", "hangul"),
        ("Isolde.", None),
        ("```python\nthe of and is\n```", None),
        ("1987", None),
        ("", None),
    ],
)
def test_short_texts_tell_their_language_or_none(text: str, told: str | None) -> None:
    assert tongue(text) == told


@pytest.mark.parametrize(
    ("text", "good", "other"),
    [
        ("Das Logo zeigt eine Tulpe.", "The logo shows a tulip, and it is red.", True),
        ("The logo is the tulip.", "Das Logo zeigt eine Tulpe.", True),
        ("The logo is of a tulip.", "The tulip is the logo.", False),
        ("Tulip.", "The tulip is the logo.", None),
        ("The tulip is the logo.", "Tulip.", None),
    ],
)
def test_a_reply_is_foreign_beside_a_good_one_where_both_can_be_told(text: str, good: str, other: bool | None) -> None:
    assert foreign(text, good) is other
