// SPDX-License-Identifier: Apache-2.0
#include "codec/zero.h"

#include <isa-l/mem_routines.h>

namespace vmferry::codec {

bool IsZero(std::span<const std::byte> bytes) {
  // ISA-L only reads; its prototype forgot to say so.
  return bytes.empty() || isal_zero_detect(const_cast<std::byte*>(bytes.data()), bytes.size()) == 0;
}

}  // namespace vmferry::codec
