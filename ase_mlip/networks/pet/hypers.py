"""Hyper-parameters of PET: their names, their defaults, and which of them go together."""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from .. import expected


@dataclass
class PETHypers:
    """Hyper-parameters of PET; the names are those of the public PET (metatrain 2026.4).

    Attributes
    ----------
    species : list of int
        atomic numbers
    cutoff, cutoff_width : float
        longest edge, and the length over which its weight falls to zero before that, Å
    num_neighbors_adaptive : float or None
        wanted number of neighbours of the adaptive cutoff; None fixes the cutoff
    cutoff_width_adaptive : float
        width of the weights by which the adaptive cutoff counts neighbours, Å
    d_pet, d_node, d_head, d_feedforward : int
        widths of edge tokens, node tokens, read-out heads, and feed-forward layers of the edges
    num_heads : int
        heads of the attention, a divisor of ``d_pet``
    num_attention_layers, num_gnn_layers : int
        transformer layers in each message-passing layer, and the number of these
    normalization : str
        "RMSNorm" or "LayerNorm"
    norm_eps : float or None
        epsilon of RMSNorm; None for that of the precision it runs in
    activation : str
        of the feed-forward layers, "SwiGLU" or "SiLU"
    attention_temperature : float
        divides the scores
    cutoff_function : str
        "Bump" or "Cosine"
    adaptive_cutoff_method : str
        "solver", or "grid", which is of public checkpoints before 2026
    transformer_type : str
        norms before attention and feed-forward ("PreLN") or after them ("PostLN")
    featurizer_type : str
        "feedforward"; or "residual": nodes start anew in every layer, each layer is read out, and messages
        are averaged with their reverse instead of being combined
    combine_last : bool
        whether edges are combined with their reverse once more after the last layer, as in the public PET; it
        widens the interaction range by one cutoff
    direct_forces, direct_stress : bool
        whether there are heads that predict forces and virials

    Raises
    ------
    ValueError
        a choice that is not among those above
    """

    species: list[int] = field(default_factory=list)
    cutoff: float = 4.5
    cutoff_width: float = 0.5
    num_neighbors_adaptive: float | None = None
    cutoff_width_adaptive: float = 1.0
    d_pet: int = 128
    d_node: int = 256
    d_head: int = 128
    d_feedforward: int = 256
    num_heads: int = 8
    num_attention_layers: int = 2
    num_gnn_layers: int = 2
    normalization: Literal["RMSNorm", "LayerNorm"] = "RMSNorm"
    norm_eps: float | None = 1.1920929e-07
    activation: Literal["SwiGLU", "SiLU"] = "SwiGLU"
    attention_temperature: float = 1.0
    cutoff_function: Literal["Bump", "Cosine"] = "Bump"
    adaptive_cutoff_method: Literal["solver", "grid"] = "solver"
    transformer_type: Literal["PreLN", "PostLN"] = "PreLN"
    featurizer_type: Literal["feedforward", "residual"] = "feedforward"
    combine_last: bool = False
    direct_forces: bool = False
    direct_stress: bool = False

    def __post_init__(self):
        choices = {
            "cutoff_function": ("Bump", "Cosine"),
            "adaptive_cutoff_method": ("solver", "grid"),
            "transformer_type": ("PreLN", "PostLN"),
            "featurizer_type": ("feedforward", "residual"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}, got {getattr(self, name)!r}")
        if self.combine_last and self.residual:
            raise ValueError("`combine_last` must be false with featurizer_type 'residual', got true")

    def check(self) -> None:
        """Refuse what cannot work.

        Raises
        ------
        ValueError
            with the name of the hyper-parameter, what was expected and what was got
        """
        expect = partial(expected.expect, self)
        expected.expect_species(self)
        for name in ("d_pet", "d_node", "d_head", "d_feedforward", "num_heads", "num_attention_layers"):
            expect(getattr(self, name) >= 1, name, "at least 1")
        expect(self.num_gnn_layers >= 1, "num_gnn_layers", "at least 1")
        expect(self.d_pet % self.num_heads == 0, "d_pet", f"a multiple of num_heads, {self.num_heads}")
        for name in ("cutoff_width", "cutoff_width_adaptive", "attention_temperature"):
            expect(getattr(self, name) > 0, name, "positive")
        expect(self.cutoff > self.cutoff_width, "cutoff", f"larger than cutoff_width, {self.cutoff_width} Å")
        for name in ("num_neighbors_adaptive", "norm_eps"):
            expect(getattr(self, name) is None or getattr(self, name) > 0, name, "positive, or left out")

    @property
    def residual(self) -> bool:
        """Whether every layer has its own node embedding and read-out."""
        return self.featurizer_type == "residual"

    @property
    def message_passing_layers(self) -> int:
        """Neighbourhoods that a node's energy sees in a row."""
        return self.num_gnn_layers + (1 if self.combine_last else 0)

    @property
    def interaction_range(self) -> float:
        """In Å: one cutoff per layer, and one more if radii depend on the neighbours' neighbours."""
        adaptive = 0 if self.num_neighbors_adaptive is None else 1
        return self.cutoff * (self.message_passing_layers + adaptive)
