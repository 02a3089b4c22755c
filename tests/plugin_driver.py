"""The torch side of the pair style, driven as LAMMPS drives it; domains made of ASE structures."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_mlip.graph.neighbors import build_graph

ROOT = Path(__file__).resolve().parent.parent


def compile_driver(folder: Path, *flags: str, name: str = "driver") -> Path:
    """tests/cpp/test_torch_evaluator.cpp, which needs neither torch nor LAMMPS."""
    program = folder / name
    source = ROOT / "tests/cpp/test_torch_evaluator.cpp"
    command = ["c++", "-std=c++20", f"-I{ROOT / 'lammps_plugin'}", *flags, source, "-o", program, "-ldl"]
    subprocess.run(command, check=True)
    return program


@dataclass
class Domain:
    """A topology and what its places are.

    Attributes
    ----------
    places: int64 [n_places, 4], index of the atom and its image
    node_of_atom: nodes [n_nodes] as indices of atoms, owned ones first
    lists: the arrays of ``Topology`` in the order of the struct
    """

    n_owned: int
    places: np.ndarray
    atom_of_node: np.ndarray
    lists: list[np.ndarray] = field(repr=False)

    def positions(self, atoms: Atoms) -> np.ndarray:
        """[n_places, 3] in Å, of a structure that has moved since."""
        return atoms.positions[self.places[:, 0]] + self.places[:, 1:] @ np.array(atoms.cell)

    def write(self, path: Path) -> Path:
        sizes = [self.n_owned, len(self.places), len(self.atom_of_node), len(self.lists[1])]
        np.concatenate([np.array(sizes), *self.lists]).astype(np.int64).tofile(path)
        return path


def whole(atoms: Atoms, reach: float) -> Domain:
    """All atoms owned by one rank; images are places folded onto their atoms, as LAMMPS' own-rank ghosts."""
    graph = build_graph(atoms, reach)
    centres, neighbours = graph.edge_index.numpy()
    n = len(atoms)
    own = np.column_stack([np.arange(n), np.zeros((n, 3), dtype=int)])
    seen = np.concatenate([own, np.column_stack([neighbours, graph.shifts.numpy()])])
    unique, first, place = np.unique(seen, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # atoms themselves first
    rank = np.argsort(order)
    place = rank[place.ravel()]
    lists = [atoms.numbers, centres, neighbours, place[centres], place[n:], graph.reverse_edges.numpy()]
    return Domain(n, unique[order], np.arange(n), lists)


def part(atoms: Atoms, owned: np.ndarray, reach: float, halo: float, hops: int) -> Domain:
    """The atoms ``owned``, and every other atom or image within ``halo`` (Å) of one as a node of its own.

    Candidates up to ``reach`` around owned atoms and around ghosts up to ``hops`` - 1 candidates away.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.complete()), axis=0)
    counts = np.ceil(halo / heights).astype(int) + 1
    grid = [np.arange(-c, c + 1) if p else np.zeros(1, int) for c, p in zip(counts, atoms.pbc, strict=True)]
    shifts = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 3)
    atom = np.tile(np.arange(len(atoms)), len(shifts))
    places = np.column_stack([atom, np.repeat(shifts, len(atoms), axis=0)])
    positions = atoms.positions[places[:, 0]] + places[:, 1:] @ np.array(atoms.cell)
    is_owned = np.isin(atom, owned) & (places[:, 1:] == 0).all(axis=1)
    distances = np.linalg.norm(positions[:, None] - atoms.positions[owned][None], axis=2).min(axis=1)
    ghosts = np.flatnonzero(~is_owned & (distances <= halo))
    chosen = np.concatenate([np.flatnonzero(is_owned), ghosts])
    places = places[chosen]
    cluster = Atoms(numbers=atoms.numbers[places[:, 0]], positions=positions[chosen])
    graph = build_graph(cluster, reach)
    centres, neighbours = graph.edge_index.numpy()
    reached = np.arange(len(cluster)) < len(owned)
    for _ in range(hops - 1):
        reached[neighbours[reached[centres]]] = True
    kept = np.flatnonzero(reached[centres])
    new = np.full(len(centres) + 1, -1)
    new[kept] = np.arange(len(kept))
    centres, neighbours = centres[kept], neighbours[kept]
    lists = [
        cluster.numbers,
        centres,
        neighbours,
        centres,
        neighbours,
        new[graph.reverse_edges.numpy()[kept]],
    ]
    return Domain(len(owned), places, places[:, 0], lists)


@dataclass
class Results:
    """What came back, as arrays; ``virials`` and ``centroid_virials`` are None if they were not asked for."""

    energy: float
    virial: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray | None
    centroid_virials: np.ndarray | None
    n_edges: int
    seconds_model: float


class Driver:
    """Sends commands to the program, or to the same code as a library of this process."""

    def __init__(self, library: Path, folder: Path, program: Path | None = None, handle=None, **environment):
        self.folder = folder
        self._handle = handle
        self._n_nodes = 0
        if program is not None:
            pipe = subprocess.PIPE
            environment = {**os.environ, **environment}
            self._process = subprocess.Popen([program], stdin=pipe, stdout=pipe, text=True, env=environment)
        assert self.ask("open", library) == ["7"]  # kInterfaceVersion

    def close(self) -> int:
        """End of the commands; the exit status of the program."""
        self._process.stdin.close()
        status = self._process.wait(timeout=60)
        self._process.stdout.close()
        return status

    def ask(self, *fields) -> list[str]:
        """The fields of the answer; raises RuntimeError with the message of the other side."""
        line = "\t".join(map(str, fields))
        if self._handle is not None:
            answer = self._handle(line.encode()).decode()
        else:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline().rstrip("\n")
        kind, *rest = answer.split("\t")
        if kind != "ok":
            raise RuntimeError(rest[0] if rest else f"no answer: {answer!r}")
        return rest

    def create(
        self, path, device="cpu", dtype="float64", local_rank=0, threads=1, self_test=True
    ) -> list[str]:
        return self.ask("create", path, device, dtype, local_rank, threads, int(self_test))

    def set_topology(self, domain: Domain) -> None:
        self._n_nodes = len(domain.atom_of_node)
        self.ask("topology", domain.write(self.folder / "topology"))

    def evaluate(
        self, positions, direct=False, virials=False, centroid=False, rotation: np.ndarray | None = None
    ) -> Results:
        rotated = np.zeros(0) if rotation is None else np.asarray(rotation)
        np.concatenate([np.ravel(positions), np.ravel(rotated)]).tofile(self.folder / "positions")
        flags = [int(flag) for flag in (direct, virials, centroid, rotation is not None)]
        output = self.folder / "output"
        answer = self.ask("evaluate", self.folder / "positions", len(positions), *flags, output)
        has_virials, has_centroid = (field == "1" for field in answer[2:])
        numbers, n = np.fromfile(output), self._n_nodes
        pieces = np.split(numbers, np.cumsum([1, 9, n, 3 * n, 9 * n * has_virials]))
        return Results(
            energy=float(pieces[0][0]),
            virial=pieces[1].reshape(3, 3),
            energies=pieces[2],
            forces=pieces[3].reshape(n, 3),
            virials=pieces[4].reshape(n, 3, 3) if has_virials else None,
            centroid_virials=pieces[5].reshape(n, 3, 3) if has_centroid else None,
            n_edges=int(answer[0]),
            seconds_model=float(answer[1]),
        )
