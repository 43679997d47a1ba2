// The standard headers that Eigen includes. bench_eigen_*.cc include them first, outside of any
// target, so that their inline functions stay code for the baseline: see bench_eigen.h.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <climits>
#include <cmath>
#include <complex>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <sstream>
#include <type_traits>

#include "apps/bench/eigen.h"
