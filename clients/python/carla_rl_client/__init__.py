"""Export trained policies for carla-rl-serving."""

from .card import Action, Feature, GoldenVector, card, read_card, sha256_hex, write_card
from .export import export
from .pipeline import normalize, postprocess

__all__ = [
    "Action",
    "Feature",
    "GoldenVector",
    "card",
    "export",
    "normalize",
    "postprocess",
    "read_card",
    "sha256_hex",
    "write_card",
]
