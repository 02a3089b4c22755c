// Registers `pair_style mlip` with a running LAMMPS. Nothing here, nor in what it calls, links libtorch: a
// script that does not use the style pays for one small library.

#include "pair_mlip.h"
#include "plugin_interface.h"

#ifndef LAMMPS_VERSION
#include "version.h" // of a LAMMPS source tree; a build against an installed one defines the version itself
#endif

namespace {
void* create_pair(void* lammps) { return new LAMMPS_NS::PairMLIP(static_cast<LAMMPS_NS::LAMMPS*>(lammps)); }
} // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lammps, void* handle,
                                                                         void* regfunc) {
    lammpsplugin_t plugin{};
    plugin.version = LAMMPS_VERSION;
    plugin.style = "pair";
    plugin.name = "mlip";
    plugin.info = "machine-learned interatomic potentials exported by ase_mlip";
    plugin.author = "ase_mlip developers";
    plugin.creator.v1 = &create_pair;
    plugin.handle = handle;
    reinterpret_cast<lammpsplugin_regfunc>(regfunc)(&plugin, lammps);
}
