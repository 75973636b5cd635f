// SPDX-License-Identifier: Apache-2.0
//
// Finds out whether bytes are all zero, at the speed of memory.

#pragma once

#include <cstddef>
#include <span>

namespace vmferry::codec {

/// True when every byte is zero; also for no bytes.
bool IsZero(std::span<const std::byte> bytes);

}  // namespace vmferry::codec
