"""Two models on the same problems: the paired difference."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mini_r1.errors import RecipeError
from mini_r1.evaluation.metrics import paired_difference
from mini_r1.evaluation.records import FOLDER, problem_scores


def compare(sources: list[Path]) -> str:
    """pass@1 of the second less that of the first, over the problems that both were asked, as text for people.

    Args:
        sources: two run directories (their `evaluation/after.parquet`), or parquet files of evaluations.

    Raises:
        RecipeError: where there are not two, one has no evaluation, or no problem is in both.
    """
    if len(sources) != 2:
        raise RecipeError(f"takes two runs, or two files of evaluation/, and got {len(sources)}", key="--compare")
    (first, levels), (second, _) = (_scores(source) for source in sources)
    both = [problem for problem in first if problem in second]
    if not both:
        raise RecipeError(
            f"{sources[0]} and {sources[1]} have no problem in common; under another prompt template it is another one",
            key="--compare",
        )
    lines = [f"{sources[1]} less {sources[0]}, pass@1, the same problems, 95% interval"]
    groups = {"all": both}
    if len(found := sorted({levels[problem] for problem in both})) > 1:
        groups |= {f"difficulty {level}": [p for p in both if levels[p] == level] for level in found}
    for name, problems in groups.items():
        ours, theirs = (np.array([scores[problem] for problem in problems]) for scores in (second, first))
        gap, low, high = paired_difference(ours, theirs)
        means = f"{theirs.mean():.3f} -> {ours.mean():.3f}"
        lines.append(f"{name:<14}n {len(problems):>5}   {means}   {gap:+.3f} ({low:+.3f} to {high:+.3f})")
    if alone := len(first) + len(second) - 2 * len(both):
        lines.append(f"{alone} problems were asked of one alone and are left out")
    return "\n".join(lines)


def _scores(source: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Of each problem, by its prompt: share of right samples, and difficulty."""
    path = source if source.suffix == ".parquet" else source / FOLDER / "after.parquet"
    if not path.is_file():
        raise RecipeError(f"there is no {path}; a run that measured held-out problems has it", key="--compare")
    try:
        records = pq.read_table(path, columns=["problem", "prompt", "right", "difficulty"]).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"{path} is no file of evaluation/: {reason}", key="--compare") from error
    names = {record["problem"]: record["prompt"] for record in records}
    levels = {record["prompt"]: record["difficulty"] for record in records}
    return {names[problem]: score for problem, score in problem_scores(records).items()}, levels
