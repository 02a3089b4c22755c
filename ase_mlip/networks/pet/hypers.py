"""Hyper-parameters of PET: their names, their defaults, and which of them go together."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class PETHypers:
    """Hyper-parameters of PET; the names are those of the public PET (metatrain 2026.4)."""

    species: list[int] = field(default_factory=list)  # atomic numbers
    cutoff: float = 4.5  # Å
    cutoff_width: float = 0.5  # Å
    num_neighbors_adaptive: float | None = None  # target of the adaptive cutoff; None = fixed cutoff
    cutoff_width_adaptive: float = 1.0  # Å
    d_pet: int = 128
    d_node: int = 256
    d_head: int = 128
    d_feedforward: int = 256
    num_heads: int = 8
    num_attention_layers: int = 2
    num_gnn_layers: int = 2
    normalization: Literal["RMSNorm", "LayerNorm"] = "RMSNorm"
    norm_eps: float | None = 1.1920929e-07  # of RMSNorm; None = the epsilon of the precision it runs in
    activation: Literal["SwiGLU", "SiLU"] = "SwiGLU"
    attention_temperature: float = 1.0
    cutoff_function: Literal["Bump", "Cosine"] = "Bump"
    # "grid" is of public checkpoints before 2026
    adaptive_cutoff_method: Literal["solver", "grid"] = "solver"
    # norms before attention and feed-forward, or after them
    transformer_type: Literal["PreLN", "PostLN"] = "PreLN"
    # "residual": nodes start anew in every layer, each layer is read out, and messages are averaged with
    # their reverse instead of being combined.
    featurizer_type: Literal["feedforward", "residual"] = "feedforward"
    # The public PET combines edges with their reverse once more after the last layer, which
    # widens the interaction range by one cutoff.
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
        """Raises ValueError for what cannot work, with the name of the hyper-parameter."""

        def expect(ok: bool, name: str, expected: str) -> None:
            if not ok:
                raise ValueError(f"`{name}` must be {expected}, got {getattr(self, name)!r}")

        expect(len(self.species) > 0, "species", "at least one atomic number")
        expect(all(1 <= z <= 118 for z in self.species), "species", "a list of atomic numbers from 1 to 118")
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
        """Å; one cutoff per layer, and one more if radii depend on the neighbours' neighbours."""
        adaptive = 0 if self.num_neighbors_adaptive is None else 1
        return self.cutoff * (self.message_passing_layers + adaptive)
