import json
import os
import shutil
from pathlib import Path

import huggingface_hub
import pytest

from feedback.settings import DataSettings
from feedback.store import Store
from finetune import base
from finetune.base import STARTER, BaseModelError, check_base, check_record, ensure_base
from tests.tiny import make_tiny


def settings(tmp_path: Path, base_model: str = "") -> DataSettings:
    return DataSettings(data_dir=tmp_path / "data", base_model=base_model)


def test_a_folder_is_linked_never_copied(tmp_path: Path, tiny: Path) -> None:
    chosen = settings(tmp_path, str(tiny))
    assert ensure_base(chosen) == str(tiny.resolve())
    assert chosen.base_dir.is_symlink()
    assert chosen.base_dir.resolve() == tiny.resolve()


def test_the_data_dir_remembers_its_base(tmp_path: Path, tiny: Path) -> None:
    ensure_base(settings(tmp_path, str(tiny)))
    assert ensure_base(settings(tmp_path)) == str(tiny.resolve())
    assert ensure_base(settings(tmp_path, str(tiny) + "/")) == str(tiny.resolve())


def test_another_base_on_a_used_data_dir_is_refused_naming_both(tmp_path: Path, tiny: Path) -> None:
    ensure_base(settings(tmp_path, str(tiny)))
    other = make_tiny(tmp_path / "other", seed=1)
    with pytest.raises(BaseModelError) as caught:
        check_base(settings(tmp_path, str(other)))
    assert str(tiny.resolve()) in str(caught.value)
    assert str(other) in str(caught.value)
    assert "--data-dir" in str(caught.value)


@pytest.mark.parametrize("asked", ["qwen", "/nowhere/at/all", "./nowhere", "a/b/c"])
def test_what_is_neither_folder_nor_hub_id_is_named(tmp_path: Path, asked: str) -> None:
    with pytest.raises(BaseModelError, match="neither a folder nor") as caught:
        check_base(settings(tmp_path, asked))
    assert repr(asked) in str(caught.value)


def test_a_hub_id_out_of_reach_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="connect once"):
        ensure_base(settings(tmp_path, "nobody/no-such-model"))
    assert not (tmp_path / "data" / "base.json").exists()


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match="safetensors"):
        check_base(settings(tmp_path, str(folder)))


def test_without_the_starters_package_one_sentence_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_STARTER_PACKAGE", "no_such_package")
    with pytest.raises(BaseModelError, match="make setup"):
        check_base(settings(tmp_path))


def test_a_link_left_by_a_crash_is_made_again(tmp_path: Path, tiny: Path) -> None:
    chosen = settings(tmp_path, str(tiny))
    chosen.base_dir.parent.mkdir(parents=True)
    chosen.base_dir.symlink_to(tmp_path / "gone")
    ensure_base(chosen)
    assert chosen.base_dir.resolve() == tiny.resolve()


def test_a_folder_that_is_not_ours_is_never_deleted(tmp_path: Path, tiny: Path) -> None:
    chosen = settings(tmp_path, str(tiny))
    chosen.base_dir.mkdir(parents=True)
    (chosen.base_dir / "thesis.txt").write_text("ten years")
    with pytest.raises(BaseModelError, match="not Rapport's"):
        ensure_base(chosen)
    assert (chosen.base_dir / "thesis.txt").read_text() == "ten years"


@pytest.mark.parametrize(
    ("file", "said"), [("chat_template.jinja", "no chat template"), ("tokenizer.json", "tokenizer")]
)
def test_a_model_that_cannot_chat_leaves_the_data_dir_free_for_another(
    tmp_path: Path, tiny: Path, file: str, said: str
) -> None:
    folder = make_tiny(tmp_path / "lame")
    (folder / file).unlink()
    with pytest.raises(BaseModelError, match=said):
        ensure_base(settings(tmp_path, str(folder)))
    assert ensure_base(settings(tmp_path, str(tiny))) == str(tiny.resolve())


def test_a_base_that_moved_away_is_said(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "there")
    chosen = settings(tmp_path, str(folder))
    ensure_base(chosen)
    folder.rename(tmp_path / "elsewhere")
    for asked in (settings(tmp_path), chosen):
        with pytest.raises(BaseModelError, match="no longer where.*--base-model"):
            ensure_base(asked)


def test_a_base_that_moved_is_linked_again_where_it_lies_now(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "a")
    ensure_base(settings(tmp_path, str(folder)))
    other = make_tiny(tmp_path / "other", seed=1)
    moved = folder.rename(tmp_path / "b")
    for asked in (other, STARTER):
        with pytest.raises(BaseModelError, match="fit no other"):
            ensure_base(settings(tmp_path, str(asked)))
    chosen = settings(tmp_path, str(moved))
    assert ensure_base(chosen) == str(moved)
    assert chosen.base_dir.resolve() == moved
    assert ensure_base(settings(tmp_path)) == str(moved)


def test_a_base_from_the_hub_is_fetched_again_if_its_cache_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = make_tiny(tmp_path / "old")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    chosen = settings(tmp_path, "owner/name")
    ensure_base(chosen)
    snapshot = snapshot.rename(tmp_path / "new")
    assert ensure_base(chosen) == "owner/name"
    assert chosen.base_dir.resolve() == snapshot
    shutil.rmtree(snapshot)
    snapshot = make_tiny(tmp_path / "revised", seed=1)
    with pytest.raises(BaseModelError, match="fit no other"):
        ensure_base(chosen)


def test_a_base_whose_weights_changed_in_place_is_refused(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "mine")
    chosen = settings(tmp_path, str(folder))
    ensure_base(chosen)
    other = make_tiny(tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    for asked in (chosen, settings(tmp_path)):
        with pytest.raises(BaseModelError, match=r"model\.safetensors.*put .* back") as caught:
            ensure_base(asked)
    assert "--data-dir" in str(caught.value)


def test_neither_a_copy_of_the_data_dir_nor_new_times_nor_a_stray_file_make_it_another_base(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "mine")
    name = ensure_base(settings(tmp_path, str(folder)))
    shutil.copytree(tmp_path / "data", tmp_path / "copy" / "data")  # follows the link
    assert ensure_base(settings(tmp_path / "copy")) == name
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    (folder / "eval_results.json").write_text("{}")
    (folder / "generation_config.json").write_text('{"eos_token_id": 1}')
    assert ensure_base(settings(tmp_path)) == name


def test_a_data_dir_that_knows_only_its_bases_name_learns_its_files(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "mine")
    chosen = settings(tmp_path, str(folder))
    known = chosen.data_dir / "base.json"
    name = ensure_base(chosen)
    whole = json.loads(known.read_text())
    known.write_text(json.dumps({"base_model": name}))
    assert ensure_base(chosen) == name
    assert json.loads(known.read_text()) == whole
    assert "model.safetensors" in whole["files"]


def test_the_starter_is_the_default(tmp_path: Path) -> None:
    assert check_base(settings(tmp_path)) == STARTER


@pytest.mark.parametrize("asked", ["", STARTER])
def test_a_record_restored_without_base_json_is_never_put_on_another_base(tmp_path: Path, asked: str) -> None:
    chosen = settings(tmp_path, asked)
    store = Store.open(chosen.database)
    store.add_base("owner/name")
    with pytest.raises(BaseModelError, match=r"base\.json.*--base-model 'owner/name'"):
        check_record(chosen, store)
    assert not chosen.base_dir.exists() and not (chosen.data_dir / "base.json").exists()
    check_record(settings(tmp_path, "owner/name"), store)


def test_a_record_with_its_base_json_may_know_its_base_by_an_older_place(tmp_path: Path, tiny: Path) -> None:
    chosen = settings(tmp_path, str(tiny))
    store = Store.open(chosen.database)
    store.add_base("/where/it/lay")
    with pytest.raises(BaseModelError, match="/where/it/lay"):
        check_record(chosen, store)
    ensure_base(chosen)
    check_record(settings(tmp_path), store)


def test_a_starter_that_was_not_restored_is_unpacked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_unpack_starter", make_tiny)
    ensure_base(settings(tmp_path))
    for asked in ("", STARTER):
        shutil.rmtree(tmp_path / "data" / "base")
        assert ensure_base(settings(tmp_path, asked)) == STARTER
        assert (tmp_path / "data" / "base" / "config.json").exists()
