"""The rejects of a whole result: how many, why, and whether the config allows so many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath

from tasks.aggregate.partial import REASONS, describe_missing
from tasks.errors import ShardsFailedError
from tasks.load.parts import DatasetDetails
from tasks.load.rules import check_rejects, describe_share, is_above, warn_of_rejects
from tasks.predict.jobs import Prediction
from tasks.predict.shards import ShardDetails
from tasks.store.manifest import Manifest


def count_rejects(dataset: Manifest, prediction: Prediction) -> dict[str, int]:
    """Return the number of rejected rows by reason: of load, of predict, and of missing shards."""
    reasons = Counter(DatasetDetails.of(dataset).reject_reasons)
    for manifest in prediction.manifests:
        reasons.update(reject.reason for reject in ShardDetails.of(manifest).rejects)
    for outcome in prediction.missing:
        reasons[REASONS[outcome.state]] += outcome.job.shard.rows
    return dict(sorted(reasons.items()))


def check_all_rejects(
    limit: float | None, dataset: Manifest, prediction: Prediction, rejects: PurePath
) -> None:
    """Check the number of all rejects of a result, in the file `rejects`.

    Those of the dataset were checked before anything was predicted; this counts the others too.

    Args:
        limit: `dataset.max_rejected`.
        dataset: the dataset.
        prediction: the shards.
        rejects: the file with the rejects of the result.

    Raises:
        InputError: load and predict rejected more than the limit allows.
        ShardsFailedError: with the rows of missing shards there are more than it allows.
    """
    of_dataset = DatasetDetails.of(dataset)
    reasons, rows_in = count_rejects(dataset, prediction), of_dataset.rows_in
    if reasons == of_dataset.reject_reasons:
        return
    check_rejects(limit, _without_missing(reasons), rows_in, rejects)
    if is_above(limit, sum(reasons.values()), rows_in):
        share = describe_share(sum(reasons.values()), rows_in)
        missing = describe_missing(prediction)
        raise ShardsFailedError(
            f"{share} have no question, `dataset.max_rejected` is {limit:g}: {missing}"
        )
    warn_of_rejects(_without_missing(reasons), rows_in)


def _without_missing(reasons: Mapping[str, int]) -> dict[str, int]:
    return {name: rows for name, rows in reasons.items() if name not in REASONS.values()}
