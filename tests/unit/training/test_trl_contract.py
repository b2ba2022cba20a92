"""What trl_internals.py leans on in private TRL and transformers is as it expects, in the versions installed here."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import CodeType

from mini_r1.training import trl_internals
from mini_r1.training.trl_internals import CLOSURES, SIGNATURES, SOURCES

ROOT = Path(__file__).parents[3]
DOOR = ROOT / "mini_r1" / "training" / "trl_internals.py"
FOLDERS = ("benchmarks", "mini_r1", "rewards", "scripts", "tasks")
LIBRARIES = ("trl", "transformers")
TRAINERS = ("DistillationTrainer", "GRPOTrainer", "RewardTrainer", "SFTTrainer")


def look_up(path: str):
    """The function of a dotted path; AttributeError where a part of it is missing."""
    module, *names = path.split(".")
    found = import_module(module)
    for i, name in enumerate(names):
        if not hasattr(found, name) and inspect.ismodule(found):
            import_module(".".join([module, *names[: i + 1]]))
        found = getattr(found, name)
    return inspect.unwrap(found)


def parameters(function) -> list[str]:
    """As they are written, without annotations."""
    kept = [
        each.replace(annotation=inspect.Parameter.empty) for each in inspect.signature(function).parameters.values()
    ]
    return [str(each) for each in kept]


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def differences(signatures: dict, sources: dict, closures: dict) -> list[str]:
    """Everything in which the installed TRL and transformers are not as expected."""
    found = []

    def examine(path: str, look) -> None:
        try:
            function = look_up(path)
        except (AttributeError, ModuleNotFoundError):
            found.append(f"{path} is gone")
            return
        found.extend(f"{path} {what}" for what in look(function))

    def look_at_signature(expected: str):
        def look(function):
            wanted, now = expected.split(", "), parameters(function)
            same = now[: len(wanted) - 1] == wanted[:-1] if wanted[-1] == "..." else now == wanted
            if not same:
                yield f"takes ({', '.join(now)}), not ({expected})"

        return look

    def look_at_source(pieces: tuple[str, ...]):
        def look(function):
            source = squeezed(inspect.getsource(function))
            yield from (f"no longer has: {piece}" for piece in pieces if squeezed(piece) not in source)

        return look

    def look_at_closure(inner: str, variable: str):
        def look(function):
            codes = [code for code in function.__code__.co_consts if isinstance(code, CodeType)]
            if not any(code.co_name == inner and variable in code.co_freevars for code in codes):
                yield f"makes no {inner} that keeps {variable} in its closure"

        return look

    for path, expected in signatures.items():
        examine(path, look_at_signature(expected))
    for path, pieces in sources.items():
        examine(path, look_at_source(pieces))
    for path, names in closures.items():
        examine(path, look_at_closure(*names))
    return list(dict.fromkeys(found))  # what is gone is named once


def test_the_installed_versions_are_as_expected():
    import transformers
    import trl

    found = differences(SIGNATURES, SOURCES, CLOSURES)
    versions = f"TRL {trl.__version__}, transformers {transformers.__version__}"
    assert not found, "\n".join([f"{len(found)} differences in {versions}:", *found])


def test_every_wrong_expectation_is_listed():
    wrong_signatures = {
        "trl.GRPOTrainer._generate": "self, prompts, images",
        "trl.GRPOTrainer._get_per_token_logps_and_entropies": "self, model, attention_mask, ...",
        "trl.GRPOTrainer._no_such_method": "self",
        "trl.no_such_module.f": "self",
    }
    wrong_sources = {"trl.GRPOTrainer.log": ("for key, val in self._metrics[mode].items():", "self._metrics.flush()")}
    head = "trl.trainer.utils.add_fused_lm_head"
    found = differences(wrong_signatures, wrong_sources, {head: ("_fused_forward", "heat")})
    starts = [text.split(" takes (self, model, input_ids")[0] for text in found]
    assert starts == [
        "trl.GRPOTrainer._generate takes (self, prompts), not (self, prompts, images)",
        "trl.GRPOTrainer._get_per_token_logps_and_entropies",
        "trl.GRPOTrainer._no_such_method is gone",
        "trl.no_such_module.f is gone",
        "trl.GRPOTrainer.log no longer has: self._metrics.flush()",
        f"{head} makes no _fused_forward that keeps heat in its closure",
    ]


def private_names(tree: ast.AST) -> set[str]:
    """Underscore names that are read, set or defined on something, dunder names aside."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def test_the_contract_names_all_that_the_door_touches():
    said = " ".join([*SIGNATURES, *SOURCES, *(piece for pieces in SOURCES.values() for piece in pieces)])
    own = {"_cells"}
    assert not {
        name for name in private_names(ast.parse(DOOR.read_text())) - own if not re.search(rf"\b{name}\b", said)
    }
    for hooks in (trl_internals.ExactEnd, trl_internals.GRPOHooks):
        for name in vars(hooks):
            if name.startswith("_") and not name.startswith("__"):
                assert any(path.endswith(f".{name}") for path in SIGNATURES), name


def test_no_other_file_touches_what_is_private():
    """Neither a private name of a trainer, unless the file has its own of that name, nor a closure, nor an import."""
    kinds = [look_up(f"trl.{name}") for name in TRAINERS]
    trainers = {base for kind in kinds for base in kind.__mro__ if base.__module__.split(".")[0] in LIBRARIES}
    private = {name for kind in trainers for name in re.findall(r"self\.(_[a-z]\w*)", inspect.getsource(kind))}
    private |= {name for kind in trainers for name in vars(kind) if re.match("_[a-z]", name)}
    assert {"_metrics", "_logs", "_generate", "_run_epoch", "_buffered_inputs"} <= private
    found = []
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if path != DOOR):
        text, touched = path.read_text(), set()
        tree = ast.parse(text)
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        of_trainers = any(re.search("Trainer$|Hooks$", ast.unparse(base)) for node in classes for base in node.bases)
        own = set() if of_trainers else set(re.findall(r"def (_\w+)|self\.(_\w+)(?:: [^=\n]+)? = ", text))
        touched = private & private_names(tree) - {name for pair in own for name in pair}
        touched |= {word for word in ("cell_contents", "__closure__") if word in text}
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        libraries = [node for node in imports if node.module.split(".")[0] in LIBRARIES]
        touched |= {each.name for node in libraries for each in node.names if each.name.startswith("_")}
        found += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(touched)]
    assert not found, "\n".join(found)
