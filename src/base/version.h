// SPDX-License-Identifier: Apache-2.0
//
// The version of vmferry. CMakeLists.txt holds the same number; a test compares them.

#pragma once

#include <string_view>

namespace vmferry {

inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace vmferry
