// SPDX-License-Identifier: Apache-2.0
//
// What partition types are called.

#pragma once

#include <cstdint>
#include <string_view>

namespace vmferry::guest {

inline constexpr std::string_view kEspGuid = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
inline constexpr std::string_view kBiosBootGuid = "21686148-6449-6e6f-744e-656564454649";
inline constexpr std::uint8_t kMbrProtective = 0xee;
inline constexpr std::uint8_t kMbrEsp = 0xef;

/// Of an MBR partition; empty when it is not known.
std::string_view MbrTypeName(std::uint8_t type);
/// Of a GPT partition, by its GUID in lower case; empty when it is not known.
std::string_view GptTypeName(std::string_view guid);
/// Does the partition only hold other partitions?
bool IsExtended(std::uint8_t type);

}  // namespace vmferry::guest
