"""How many edges an evaluation of many structures may have at once."""

import torch

FIRST_BATCH = 30_000  # edges; small enough for any GPU, large enough to measure the memory per edge
LARGEST_BATCH = 2_000_000  # edges; beyond it a batch gains no speed
MEMORY_SHARE = 0.5  # of the free GPU memory that a batch may take


class BatchLimit:
    """How many edges a batch may have: on a GPU learnt from the memory they take; on a CPU one structure."""

    def __init__(self, device: torch.device):
        self._device = device
        self._on_gpu = device.type == "cuda"
        self.edges = FIRST_BATCH if self._on_gpu else 0

    def before(self) -> None:
        """Call before a batch is evaluated."""
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats(self._device)
            self._allocated = torch.cuda.memory_allocated(self._device)

    def after(self, n_edges: int) -> None:
        """Call after a batch of ``n_edges``."""
        if self._on_gpu and n_edges:
            taken = max(torch.cuda.max_memory_allocated(self._device) - self._allocated, 1)
            unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
            free = torch.cuda.mem_get_info(self._device)[0] + unused
            self.edges = int(min(LARGEST_BATCH, MEMORY_SHARE * free * n_edges / taken))

    def after_running_out(self) -> None:
        """Call after a batch that did not fit."""
        torch.cuda.empty_cache()
        self.edges //= 2
