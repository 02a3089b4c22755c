// Drives the torch side of the pair style as LAMMPS does: by dlopen, knowing nothing of libtorch. Commands
// come as lines on standard input, fields separated by tabs, and each is answered by one line; tests/lammps
// and tests/model_file/test_torch_evaluator.py speak this. Compiled as a library, Python calls `handle`
// itself.
//
//   test_torch_evaluator LIBRARY

#include "both_sides/sha256.h"
#include "read_topology.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>

namespace {

void* library = nullptr;
mlip::Evaluator* evaluator = nullptr;
int64_t n_nodes = 0;

template <typename Function> Function symbol(const char* name) {
    void* found = library == nullptr ? nullptr : dlsym(library, name);
    if (found == nullptr) {
        throw std::runtime_error(std::string("no symbol ") + name);
    }
    return reinterpret_cast<Function>(found);
}

void remove_evaluator() {
    if (evaluator != nullptr) {
        symbol<mlip::DeleteEvaluator>("mlip_delete_evaluator")(evaluator);
        evaluator = nullptr;
    }
}

void write(std::ostream& stream, const double* values, size_t count) {
    stream.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(count * sizeof(double)));
}

/// open LIBRARY
std::string open(const std::vector<std::string>& fields) {
    library = dlopen(fields.at(1).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        throw std::runtime_error(dlerror());
    }
    return std::to_string(symbol<int (*)()>("mlip_interface_version")());
}

/// create MODEL DEVICE DTYPE LOCAL_RANK THREADS SELF_TEST
std::string create(const std::vector<std::string>& fields) {
    remove_evaluator();
    mlip::Options options;
    options.path = fields.at(1);
    options.device = fields.at(2);
    options.dtype = fields.at(3);
    options.local_rank = std::stoi(fields.at(4));
    options.threads = std::stoi(fields.at(5));
    options.self_test = fields.at(6) == "1";
    evaluator = symbol<mlip::CreateEvaluator>("mlip_create_evaluator")(options);
    const mlip::Description& model = evaluator->description();
    std::ostringstream text;
    text << model.name << '\t' << model.dtype << '\t' << model.device << '\t' << model.threads << '\t'
         << model.cutoff << '\t' << model.interaction_range << '\t' << model.layers << '\t'
         << model.direct_forces << model.direct_virials << model.direct_stresses << '\t'
         << model.pair_cutoffs.size() << '\t';
    for (const int number : model.species) {
        text << number << ' ';
    }
    return text.str();
}

/// topology FILE
std::string set_topology(const std::vector<std::string>& fields) {
    const mlip::Topology topology = read_topology(fields.at(1));
    n_nodes = static_cast<int64_t>(topology.species.size());
    evaluator->set_topology(topology);
    return "";
}

/// evaluate POSITIONS N_PLACES DIRECT VIRIALS CENTROID ROTATED OUTPUT; the rotation follows the positions
std::string evaluate(const std::vector<std::string>& fields) {
    std::ifstream stream(fields.at(1), std::ios::binary);
    const auto positions = read_numbers<double>(stream, 3 * std::stoul(fields.at(2)));
    mlip::Request request;
    request.direct = fields.at(3) == "1";
    request.virials = fields.at(4) == "1";
    request.centroid_virials = fields.at(5) == "1";
    std::vector<double> rotation;
    if (fields.at(6) == "1") {
        rotation = read_numbers<double>(stream, 9);
        request.rotation = rotation.data();
    }
    const mlip::Results& results = evaluator->evaluate(positions.data(), request);
    std::ofstream output(fields.at(7), std::ios::binary);
    write(output, &results.energy, 1);
    write(output, results.virial, 9);
    write(output, results.energies, n_nodes);
    write(output, results.forces, 3 * n_nodes);
    for (const double* tensors : {results.virials, results.centroid_virials}) {
        if (tensors != nullptr) {
            write(output, tensors, 9 * n_nodes);
        }
    }
    std::ostringstream text;
    text << results.n_edges << '\t' << results.seconds_model << '\t' << (results.virials != nullptr) << '\t'
         << (results.centroid_virials != nullptr);
    return text.str();
}

/// sha256 FILE
std::string digest(const std::vector<std::string>& fields) {
    std::ostringstream content;
    content << std::ifstream(fields.at(1), std::ios::binary).rdbuf();
    return mlip::Sha256::hex(content.str());
}

std::string answer(const std::string& line) {
    std::vector<std::string> fields;
    std::istringstream stream(line);
    for (std::string field; std::getline(stream, field, '\t');) {
        fields.push_back(field);
    }
    const std::string& command = fields.at(0);
    if (command == "open") {
        return open(fields);
    }
    if (command == "create") {
        return create(fields);
    }
    if (command == "topology") {
        return set_topology(fields);
    }
    if (command == "evaluate") {
        return evaluate(fields);
    }
    if (command == "sha256") {
        return digest(fields);
    }
    if (command == "delete") {
        remove_evaluator();
        return "";
    }
    throw std::runtime_error("unknown command " + command);
}

} // namespace

extern "C" const char* handle(const char* line) {
    static std::string reply;
    try {
        reply = "ok\t" + answer(line);
    } catch (const std::exception& error) {
        reply = std::string("error\t") + error.what();
    }
    return reply.c_str();
}

int main() {
    for (std::string line; std::getline(std::cin, line);) {
        std::cout << handle(line.c_str()) << std::endl;
    }
    remove_evaluator();
    return EXIT_SUCCESS;
}
