#pragma once
// Chemical symbols, atomic numbers and masses.

#include <array>
#include <cmath>
#include <string>

namespace mlip {

inline constexpr std::array<const char*, 119> kSymbols = {
    "X",  "H",  "He", "Li", "Be", "B",  "C",  "N",  "O",  "F",  "Ne", "Na", "Mg", "Al", "Si", "P",  "S",
    "Cl", "Ar", "K",  "Ca", "Sc", "Ti", "V",  "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As",
    "Se", "Br", "Kr", "Rb", "Sr", "Y",  "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn",
    "Sb", "Te", "I",  "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho",
    "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W",  "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po",
    "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U",  "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md",
    "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"};

inline constexpr int kMaxAtomicNumber = static_cast<int>(kSymbols.size()) - 1;

inline std::string element_symbol(int number) {
    return number > 0 && number <= kMaxAtomicNumber ? kSymbols[number] : "Z=" + std::to_string(number);
}

/// Atomic number of a symbol, -1 if there is no such element.
inline int atomic_number(const std::string& symbol) {
    for (size_t number = 1; number < kSymbols.size(); ++number) {
        if (symbol == kSymbols[number]) {
            return static_cast<int>(number);
        }
    }
    return -1;
}

/// Standard atomic masses in u, of the isotope that lives longest where there is none (IUPAC 2016, as
/// ase.data).
inline constexpr std::array<double, 119> kMasses = {
    0,           1.008,      4.002602,    6.94,      9.0121831,  10.81,     12.011,    14.007,     15.999,
    18.99840316, 20.1797,    22.98976928, 24.305,    26.9815385, 28.085,    30.973762, 32.06,      35.45,
    39.948,      39.0983,    40.078,      44.955908, 47.867,     50.9415,   51.9961,   54.938044,  55.845,
    58.933194,   58.6934,    63.546,      65.38,     69.723,     72.63,     74.921595, 78.971,     79.904,
    83.798,      85.4678,    87.62,       88.90584,  91.224,     92.90637,  95.95,     97.90721,   101.07,
    102.9055,    106.42,     107.8682,    112.414,   114.818,    118.71,    121.76,    127.6,      126.90447,
    131.293,     132.905452, 137.327,     138.90547, 140.116,    140.90766, 144.242,   144.91276,  150.36,
    151.964,     157.25,     158.92535,   162.5,     164.93033,  167.259,   168.93422, 173.054,    174.9668,
    178.49,      180.94788,  183.84,      186.207,   190.23,     192.217,   195.084,   196.966569, 200.592,
    204.38,      207.2,      208.9804,    208.98243, 209.98715,  222.01758, 223.01974, 226.02541,  227.02775,
    232.0377,    231.03588,  238.02891,   237.04817, 244.06421,  243.06138, 247.07035, 247.07031,  251.07959,
    252.083,     257.09511,  258.09843,   259.101,   262.11,     267.122,   268.126,   271.134,    270.133,
    269.1338,    278.156,    281.165,     281.166,   285.177,    286.182,   289.19,    289.194,    293.204,
    293.208,     294.214};

/// Among `numbers` (atomic numbers, or 0) the element that a mass in u is of; 0 if it is of none. With this
/// tolerance isotopes are of their own element or of none, but for a few (14C and N, 40Ca and Ar, 96Ru and
/// Mo, 108Pd and Ag).
template <typename Numbers> int element_of_mass(double mass, const Numbers& numbers) {
    double least = 0.1;
    int found = 0;
    for (const int number : numbers) {
        const double difference = std::abs(mass - kMasses[number]);
        if (number > 0 && difference < least) {
            least = difference;
            found = number;
        }
    }
    return found;
}

} // namespace mlip
