#!/bin/sh
# Active learning with a leverage: copper is heated with a potential that knows cold crystals only. LAMMPS writes the
# frames that are far from its training data and ends when it is lost; `ase-mlip design` picks what to label; the
# next potential knows the liquid. EMT stands in for DFT. A minute on one core. docs/optimal_design.md says more.
#
#   cd examples/active_learning && ./run.sh
set -eu
bin=$(cd ../../.venv/bin 2>/dev/null && pwd || true)
PATH="${bin:+$bin:}$PATH"
export OMP_NUM_THREADS=1

echo "== 1. labels of cold crystals, and of a liquid to test on"
python dft.py start

echo "== 2. a potential of the crystals, with the leverage of its training data"
rm -rf first second picked
ase-mlip train first.toml --dynamics 0

echo "== 3. heating: frames with an atom beyond leverage 1 are kept, beyond 10000 the run ends"
lmp -in in.heat -var model first/copper.pt -var name first -screen none
grep -c "ITEM: TIMESTEP" first.dump | sed 's/$/ frames were kept/'
grep "Fix halt" first.log # of the second run there is none

echo "== 4. which of them to label"
ase-mlip design first.dump --have train.xyz --pick 8 -o picked

echo "== 5. labels of the picks, and the next potential"
python dft.py label picked/picks.xyz labelled.xyz
ase-mlip train second.toml --dynamics 0
lmp -in in.heat -var model second/copper.pt -var name second -screen none

echo "== 6. both on the liquid"
python -W ignore dft.py compare first/copper.pt second/copper.pt
