"""The section `decode` of the config: the search for questions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from tasks.config.sections.section import Section

DecodingStrategy = Literal["beam_search", "greedy_search", "sampling"]

_SAMPLING_ONLY = frozenset({"topk", "topp", "temperature", "seed"})
_BEAMS_ONLY = frozenset({"num_beams", "length_penalty", "diversity_rate", "early_stopping"})


class DecodeSettings(Section):
    """How questions are decoded; part of the exported graph."""

    decoding_strategy: DecodingStrategy = Field(
        "beam_search",
        description="Decoding strategy. beam_search with one beam is greedy_search.",
    )
    max_dec_len: int = Field(20, ge=1, le=512, description="Maximum tokens of a question.")
    min_dec_len: int = Field(3, ge=0, le=512, description="Minimum tokens of a question.")
    num_beams: int = Field(6, ge=1, le=64, description="Number of beams (beam_search).")
    length_penalty: float = Field(
        1.2,
        allow_inf_nan=False,
        description="Exponent of the length in a beam's score (beam_search).",
    )
    topk: int = Field(
        4, ge=0, description="Number of most likely tokens to sample from; 0: all (sampling)."
    )
    topp: float = Field(
        1.0, gt=0, le=1, description="Probability mass of the tokens to sample from (sampling)."
    )
    temperature: float = Field(
        1.0, ge=0.001, le=1000, description="Divisor of the logits (sampling)."
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="Seed of each row's random numbers (sampling)."
    )
    num_return_sequences: int = Field(1, ge=1, le=64, description="Questions per row.")
    diversity_rate: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Penalty for lower-ranked candidates of the same beam (beam_search).",
    )
    early_stopping: bool = Field(
        False,
        description="Stop searching for a row once num_beams of its questions are complete "
        "(beam_search).",
    )
    repetition_penalty: float = Field(
        1.0,
        ge=0.001,
        le=1000,
        description="Above 1, tokens that occur in the row or earlier in the question become less "
        "likely.",
    )

    @field_validator("min_dec_len")
    @classmethod
    def _fewest_is_not_above_most(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_dec_len")
        if most is not None and value > most:
            raise ValueError(f"allowed here: at most max_dec_len = {most}")
        return value

    @field_validator("num_return_sequences")
    @classmethod
    def _sequences_exist(cls, value: int, info: ValidationInfo) -> int:
        strategy, beams = info.data.get("decoding_strategy"), info.data.get("num_beams")
        if strategy == "greedy_search" and value > 1:
            raise ValueError("allowed here: 1, because greedy_search finds one sequence")
        if strategy == "beam_search" and beams is not None and value > beams:
            raise ValueError(f"allowed here: at most num_beams = {beams}")
        return value

    @property
    def is_greedy(self) -> bool:
        """Whether decoding is greedy: greedy_search, or beam_search with one beam."""
        return self.decoding_strategy == "greedy_search" or (
            self.decoding_strategy == "beam_search" and self.num_beams == 1
        )

    @property
    def is_sampling(self) -> bool:
        """Whether tokens are drawn at random."""
        return self.decoding_strategy == "sampling"

    @property
    def has_beams(self) -> bool:
        """Whether decoding is beam search with more than one beam."""
        return not (self.is_greedy or self.is_sampling)

    @property
    def unused_options(self) -> set[str]:
        """The keys that have no effect with this decoding strategy."""
        return {
            *(() if self.is_sampling else _SAMPLING_ONLY),
            *(() if self.has_beams else _BEAMS_ONLY),
        }
