#pragma once
// The one boundary between the LAMMPS side, which knows no libtorch, and the torch side, which knows no
// LAMMPS: plain data and one class. The torch side lies in a library of its own that is opened when a pair
// style asks for a model, so that LAMMPS starts as fast with us as without.
//
// A domain is described in two steps. When LAMMPS rebuilds its neighbour lists, a Topology: the pairs out to
// cutoff + skin, between own and ghost atoms and between nodes (all ghost atoms of an atom are one node). At
// every step, the positions: the torch side subtracts them, drops what is beyond the cutoff or cannot reach
// an owned node, and evaluates the edges that remain.

#include "../../csrc/snnp/coverage.h"

#include "rotations.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlip {

struct PairCutoff {
    int first, second; // atomic numbers
    double cutoff;     // Å
};

/// What a loaded model says about itself and where it runs. Lengths in Å.
struct Description {
    std::string name, path, citation;
    std::vector<int> species; // atomic numbers the model knows
    double cutoff = 0.0;
    std::vector<PairCutoff> pair_cutoffs; // pairs with a shorter cutoff
    double interaction_range = 0.0;
    int layers = 0; // message-passing layers
    bool direct_forces = false;
    bool direct_virials = false;    // a direct head whose virial is a sum over atoms
    bool direct_stresses = false;   // one whose stress is a mean over atoms
    std::string dtype, device;      // as chosen: "float32", "cuda:0"
    std::string averaging = "none"; // name of the scheme: as exported, or as chosen
    int rotations = 0;              // that the model is averaged over
    std::vector<double>
        operations;        // [n, 3, 3] that must map a periodic box onto itself: of a crystal's group
    int members = 1;       // of a committee of models
    bool leverage = false; // whether it can say how far atoms are from its training data
    int threads = 1;

    /// Edges in a row that reach as far as the interaction range.
    int hops() const { return std::max(1, static_cast<int>(std::ceil(interaction_range / cutoff - 1e-9))); }
};

/// A model's self-test for a kernel that knows no periodic images: its atoms, and a ghost atom for every pair
/// within the cutoff.
struct GhostedSelfTest {
    std::vector<int> numbers;      // [n_all] atomic numbers
    std::vector<int> owners;       // [n_all] the atom that a ghost atom is an image of
    std::vector<double> positions; // [n_all, 3], Å
    std::vector<int> counts;       // [n_atoms] ghost atoms of each atom, which follow in its order
    std::map<std::string, std::vector<double>> reference; // energy, forces and virial
    std::map<std::string, double> tolerances;             // in the dtype of the model
};

/// The leverage of a model file, by which an atom's is |W phi|^2 / scale (leverage_file.h).
struct LeverageTables {
    std::string basis;             // what phi is: the network's "features", or "snnp"
    int64_t size = 0;              // F, of phi
    double scale = 1.0;            // eV^2
    std::vector<int64_t> block_of; // [119] block of an atomic number, -1 where the data hold no atom of it
    std::vector<double> whitening; // [blocks, F, F] row-major, W of each block, lower triangular
};

/// The numbers of an s-NNP, for its kernel on the LAMMPS side: csrc/snnp/model.h says what they are.
struct SnnpTables {
    struct Bank {
        int64_t cases = 0, channels = 0, size = 0;
        std::vector<double> coefficients; // [cases, channels, size]
        std::vector<double> grid;         // [cases, 3]
    };
    struct Layer {
        int64_t enter = 0, leave = 0;
        std::vector<double> weight, bias; // [networks, enter, leave], [networks, leave]
    };
    std::vector<int64_t> type_of_number; // [119] type of an atomic number, or -1
    std::vector<double> references;      // [119] energy of an atom alone, eV
    double cutoff = 0.0, angular_cutoff = 0.0, scale = 1.0;
    int64_t before = 0; // coefficients of phi below its first knot
    Bank phi, rho, f, g, embedding;
    std::vector<int64_t> pair_cases, radial_cases, angle_cases, network_cases;
    int64_t networks = 0, features = 0;
    std::vector<double> skip; // [networks, features]
    std::vector<Layer> layers;
    ase_mlip::snnp::Coverage coverage;
    std::optional<LeverageTables> leverage;   // where the file has one
    std::optional<GhostedSelfTest> self_test; // where the options ask for it
};

struct Options {
    std::string path;                   // of the model file
    std::string device = "auto";        // auto, cpu, cuda, cuda:N
    std::string dtype;                  // float32, float64, or empty: that of the weights
    int local_rank = 0;                 // of this process on its node: chooses the GPU with auto and cuda
    int threads = 1;                    // of this process, for libtorch
    std::optional<Averaging> averaging; // none: as exported
    bool self_test = true;              // refuse a file that does not reproduce its own numbers here
};

/// Pairs out to cutoff + skin, sorted by centre, valid until LAMMPS rebuilds. n_nodes nodes, owned ones
/// first.
struct Topology {
    int64_t n_owned = 0;
    int64_t n_all = 0;                // own and ghost atoms of LAMMPS
    std::vector<int64_t> species;     // [n_nodes] atomic numbers
    std::vector<int64_t> centre;      // [n_pairs] node
    std::vector<int64_t> neighbour;   // [n_pairs] node
    std::vector<int64_t> centre_atom; // [n_pairs] row of the positions
    std::vector<int64_t> neighbour_atom;
    std::vector<int64_t> reverse; // [n_pairs] the pair with the opposite vector, or -1
};

/// Å, as for the calculator in Python; nearer atoms are a mistake, and give no meaningful force.
constexpr double kSmallestDistance = 1e-3;

struct Request {
    bool direct = false;              // forces (and virial) of the direct heads instead of derivatives
    bool virials = false;             // per-atom virials
    bool centroid_virials = false;    // -r (x) dE/dr of each edge, all to the neighbour
    bool leverage = false;            // of the owned nodes
    bool spread = false;              // what each sample gave: each rotation, or each member of a committee
    const double* rotation = nullptr; // [3, 3] row-major R: the model sees R x; results are rotated back
};

/// Pointers stay valid until the next call. Energies in eV, forces in eV/Å, virials in eV with LAMMPS' sign.
struct Results {
    double energy = 0.0;    // of the owned nodes
    double virial[9] = {0}; // of all edges of this domain, row-major, not symmetrised; zero if direct
    const double* energies = nullptr; // [n_nodes]
    const double* forces = nullptr;   // [n_nodes, 3]; of ghosts: their share, to be sent home (not if direct)
    const double* virials =
        nullptr;         // [n_nodes, 3, 3] or null; with direct_stresses their stresses, eV/Å^3, ASE's sign
    int64_t n_edges = 0; // edges within the cutoff that were evaluated
    const double* centroid_virials = nullptr; // [n_nodes, 3, 3] if asked for
    const double* leverage = nullptr;         // [n_nodes] if asked for and known; right for owned nodes
    int samples = 0;                          // of what follows; 0 if not asked for, or without any
    const double* forces_by_sample = nullptr; // [n_nodes, samples, 3], shares as in forces
    const double* energy_by_sample = nullptr; // [samples], of the owned nodes
    const double* virial_by_sample = nullptr; // [samples, 3, 3], as `virial`; of direct heads the sum of
                                              // the owned nodes' virials (or stresses), null without
    const double* sample_weights = nullptr;   // [samples], sum 1
    double seconds_model = 0.0;               // of this call, inside the model alone
};

/// A model on one device. Methods throw std::exception with a message for people.
class Evaluator {
  public:
    virtual ~Evaluator() = default;
    virtual const Description& description() const = 0;
    virtual void set_topology(const Topology& topology) = 0;
    /// positions [n_all, 3], Å
    virtual const Results& evaluate(const double* positions, const Request& request) = 0;
    /// What the model is made of if it is an s-NNP, as rounded to its dtype; else null.
    virtual const SnnpTables* snnp_tables() const { return nullptr; }
    /// One of the `members` of a committee, else the model itself.
    virtual const Evaluator& member(int /*which*/) const { return *this; }
};

/// Exported by the torch side as "mlip_create_evaluator"; owned by the caller, deleted with
/// "mlip_delete_evaluator".
using CreateEvaluator = Evaluator* (*)(const Options&);
using DeleteEvaluator = void (*)(Evaluator*);
constexpr int kInterfaceVersion = 7; // exported as "mlip_interface_version"

} // namespace mlip
