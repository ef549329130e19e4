"""Whether a run is worse than an earlier one by more than chance.

What is compared are the shares of each flag and of the rejects, by Fisher's exact test, and the
mean score per token, by Welch's t-test; each one-sided: better never counts. The probability that
any of them sees a difference between two runs over rows of the same kind is at most `CHANCE`, which
is divided by their number (Bonferroni). With many rows, the tests see differences that matter to
nobody; so a difference counts only if it is also larger than `quality.max_drift`.

The tests take rows to be independent. Duplicates are not quite: their share grows with the number
of rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from tasks.aggregate.gate.limits import SCORE, Breach, Level, Mean, Share

KEY = "max_drift"
CHANCE = 0.01


def find_drift(most: float, now: Level, before: Level) -> Iterator[Breach]:
    """Yield in what a run is worse than an earlier one, by more than `most` and than chance."""
    measures = [name for name in now.shares if name in before.shares]
    has_scores = now.score is not None and before.score is not None
    chance = CHANCE / (len(measures) + has_scores)
    for name in measures:
        ours, others = now.shares[name], before.shares[name]
        if ours.value - others.value > most and (p := compare_shares(ours, others)) < chance:
            numbers = (ours.count, ours.rows, others.value, p)
            yield Breach(KEY, name, ours.value, most, *numbers)
    if now.score is not None and before.score is not None:
        mean, other = now.score.value, before.score.value
        if other - mean > most and (p := compare_means(now.score, before.score)) < chance:
            yield Breach(KEY, SCORE, mean, most, before=other, p_value=p)


def compare_shares(now: Share, before: Share) -> float:
    """Return the probability of so large a share by chance: Fisher's exact test, one-sided."""
    from scipy.stats import fisher_exact  # takes a second, and most runs do not need it

    table = [[share.count, share.rows - share.count] for share in (now, before)]
    return float(fisher_exact(table, alternative="greater").pvalue)


def compare_means(now: Mean, before: Mean) -> float:
    """Return the probability of so low a mean by chance: Welch's t-test, one-sided."""
    if min(now.rows, before.rows) < 2:
        return 1.0
    if now.deviation == before.deviation == 0:
        return float(now.value >= before.value)
    from scipy.stats import ttest_ind_from_stats

    ours, others = ((one.value, one.deviation, one.rows) for one in (now, before))
    test = ttest_ind_from_stats(*ours, *others, equal_var=False, alternative="less")
    return float(test.pvalue)
