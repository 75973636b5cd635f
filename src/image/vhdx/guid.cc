// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/guid.h"

#include <fmt/format.h>

#include <iterator>

namespace vmferry::image::vhdx {

std::string GuidText(const Guid& guid) {
  std::string text;
  for (std::size_t i = 0; i < kGuidBytes; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    fmt::format_to(std::back_inserter(text), "{:02x}", guid.bytes[kGuidOrder[i]]);
  }
  return text;
}

}  // namespace vmferry::image::vhdx
