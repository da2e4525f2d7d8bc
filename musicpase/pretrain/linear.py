"""The linear probe: standardised rows, multinomial logistic regression, its strength chosen without test data."""

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicpase.errors import MissingExtraError, ModelError
from musicpase.labelled import Fold

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["STRENGTHS", "Problem", "choose_strength", "fit_linear", "macro_f1"]

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Values that scikit-learn's `C` (one over the penalty) is chosen from."""

MAX_ITERATIONS = 1000  # of L-BFGS; a fit that is not done by then is a candidate like any other

Rows = NDArray[np.float32]
Labels = NDArray[Any]


class Problem(NamedTuple):
    """Clips to choose the strength on; never those that are tested on.

    Attributes:
        rows: `(clips, dim)`, one vector per clip.
        labels: `(clips,)`.
        splits: pairs of positions: fit on the first, compare on the second.
    """

    rows: Rows
    labels: Labels
    splits: Sequence[Fold]


def fit_linear(rows: Rows, labels: Labels, strength: float) -> "Pipeline":
    """Fit the probe; convex, so no seed enters.

    Args:
        rows: `(clips, dim)`.
        labels: `(clips,)`, two different ones at least.
        strength: scikit-learn's `C`.

    Returns:
        What predicts labels from rows; it standardises by the mean and the deviation of `rows`.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ModelError: a row is not finite.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingExtraError(
            "probing needs scikit-learn, which is not installed: pip install 'musicpase[train]'"
        ) from error
    if not np.isfinite(rows).all():
        raise ModelError("cannot probe: the encoder gives NaN or infinity for a clip; its training has diverged")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=MAX_ITERATIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # in float64: lbfgs stops early on the noise of float32 gradients
        return model.fit(rows.astype(np.float64), labels)


def choose_strength(problems: Sequence[Problem], strengths: Sequence[float] = STRENGTHS) -> float:
    """The strength with the best macro-F1, averaged over all splits of all problems; of equals the smallest."""
    scores = [
        np.mean(
            [
                macro_f1(labels[valid], fit_linear(rows[train], labels[train], strength).predict(rows[valid]))
                for rows, labels, splits in problems
                for train, valid in splits
            ]
        )
        for strength in strengths
    ]
    # rounded, so that equal scores that were summed in another order stay equal
    return strengths[int(np.argmax(np.round(scores, 9)))]


def macro_f1(labels: Labels, predicted: Labels) -> float:
    """F1 averaged over the labels that occur in `labels`; 0 for one that is never predicted rightly.

    Equals scikit-learn's `f1_score(..., labels=np.unique(labels), average="macro", zero_division=0)`, faster.
    """
    kinds, true = np.unique(labels, return_inverse=True)
    place = np.searchsorted(kinds, predicted).clip(max=len(kinds) - 1)
    known = kinds[place] == predicted
    hits = np.bincount(true[known & (place == true)], minlength=len(kinds))
    support = np.bincount(true, minlength=len(kinds))
    guesses = np.bincount(place[known], minlength=len(kinds))
    return math.fsum(2 * hits / (support + guesses)) / len(kinds)
