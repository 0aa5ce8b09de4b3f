"""Results in the form of Every Eval Ever, a shared schema and database of evaluation results.

See https://evalevalai.com and its schema, github.com/evaleval/every_eval_ever, `eval.schema.json`.
"""

import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.datasets import dataset_names, load_dataset
from harness.protocol.metrics import per_user
from harness.results.files import read_result
from harness.results.ranks_table import RankTable
from harness.results.record import RunResult
from harness.storage.files import write_atomically

#: Version of the schema that the records follow.
SCHEMA_VERSION = "0.3.0"

#: Name and description of each metric of a result.
_METRICS = {
    "hr": ("HR", "hit rate: 1 if the held-out item is among the first {k}"),
    "ndcg": ("NDCG", "normalised discounted cumulative gain of one held-out item within the first {k}"),
    "mrr": ("MRR", "reciprocal rank of the held-out item within the first {k}"),
}


def write_every_eval_ever(path: Path, folder: Path, organization: str, retrieved: float) -> Path:
    """Write a result as a record of Every Eval Ever.

    Args:
        path: of the result file.
        folder: the record goes to `data/<suite>/cdsr-harness/<method>/<uuid>.json` below it.
        organization: who provides the record.
        retrieved: time of the export, in Unix seconds.

    Returns:
        The path of the record. Its UUID is a digest of the result, so exporting again replaces it.

    Raises:
        HarnessError: the result or its ranks cannot be read.
    """
    result, table = read_result(path)
    name = uuid.UUID(hex=result.content_digest()[:32], version=4)
    record = every_eval_ever(result, table, organization, retrieved)
    out = folder / "data" / _suite(result) / "cdsr-harness" / result.method / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return out


def every_eval_ever(result: RunResult, table: RankTable, organization: str, retrieved: float) -> dict[str, Any]:
    """A result as a record of Every Eval Ever; see `write_every_eval_ever`."""
    made = str(int(datetime.fromisoformat(result.provenance.created).timestamp()))
    model = f"cdsr-harness/{result.method}"
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{_suite(result)}/{result.scenario.name}/{model}/seed{result.seed}/{made}",
        "evaluation_timestamp": made,
        "retrieved_timestamp": str(retrieved),
        "source_metadata": {
            "source_name": "cdsr-harness",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": "other",
            "additional_details": _details(
                scored_outside=result.outside is not None, ranks_sha256=result.ranks_sha256, result_key=result.key
            ),
        },
        "eval_library": {
            "name": "cdsr-harness",
            "version": result.code.version,
            "additional_details": _details(
                source_sha256=result.code.source, commit=result.provenance.commit, packages=result.packages
            ),
        },
        "model_info": {
            "name": result.method,
            "id": model,
            "additional_details": {
                "deployment_type": "self_deployed" if result.outside is None else "unknown",
                "model_availability": "unknown",
                **_details(
                    settings=result.settings,
                    seed=result.seed,
                    learns_from=result.learns_from,
                    trained_parameters=sum(record.trainable_parameters for record in result.training),
                    content=result.content,
                ),
            },
        },
        "evaluation_results": list(_scores(result, table)),
    }


def _suite(result: RunResult) -> str:
    return f"{result.suite}-v{result.suite_version}"


def _details(**values: object) -> dict[str, str]:
    """Details as the form asks for them: texts, others as JSON; None is left out."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
        if value is not None
    }


def _scores(result: RunResult, table: RankTable) -> Iterator[dict[str, Any]]:
    """A score for each candidate set, slice and metric; those that lists are too short for are left out."""
    data, length = _source_data(result), result.outside.list_length if result.outside else None
    for candidates, ranks in table.ranks.items():
        for metric, values in per_user(ranks).items():
            name, _, k = metric.partition("@")
            if candidates == "full" and length is not None and int(k) > length:
                continue
            for slice_name, members in table.slices.items():
                if members.any():
                    evaluation = f"{_suite(result)}.{result.scenario.name}.{candidates}.{slice_name}"
                    yield {
                        "evaluation_result_id": f"{evaluation}.{metric}",
                        "evaluation_name": evaluation,
                        "source_data": data,
                        "metric_config": _metric(name, int(k), candidates, slice_name),
                        "score_details": _score(values[members]),
                    }


def _metric(name: str, k: int, candidates: str, slice_name: str) -> dict[str, Any]:
    title, description = _METRICS[name]
    users = "all test users" if slice_name == "all" else f"the test users of the slice {slice_name}"
    return {
        "evaluation_description": f"Next-item recommendation, {description.format(k=k)}; one held-out item a user, "
        f"ranked among the candidate set {candidates}, ties counted by expectation; mean over {users}.",
        "metric_id": f"{name}_at_k",
        "metric_name": f"{title}@{k}",
        "metric_kind": name,
        "metric_unit": "proportion",
        "metric_parameters": {"k": k, "candidates": candidates, "slice": slice_name},
        "lower_is_better": False,
        "score_type": "continuous",
        "min_score": 0,
        "max_score": 1,
    }


def _score(values: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": len(values)}
    if len(values) > 1:
        error = float(values.std(ddof=1) / np.sqrt(len(values)))
        uncertainty["standard_error"] = {"value": error, "method": "analytic"}
    return {"score": float(values.mean()), "uncertainty": uncertainty}


def _source_data(result: RunResult) -> dict[str, Any]:
    """The target's data set, with its publisher's page if it is a named one."""
    scenario = result.scenario
    target = result.data[scenario.target]
    details = _details(
        target=scenario.target,
        sources=scenario.sources,
        split=scenario.split,
        overlap=scenario.overlap,
        k_core=scenario.k_core,
        fingerprints={name: record.fingerprint for name, record in result.data.items()},
        test_users=result.slices["all"],
    )
    for name in dataset_names():
        dataset = load_dataset(name)
        if dataset.source.model_dump(mode="json", exclude_none=True) == target.source:
            return {"dataset_name": name, "source_type": "url", "url": [dataset.page], "additional_details": details}
    return {"dataset_name": scenario.target, "source_type": "other", "additional_details": details}
