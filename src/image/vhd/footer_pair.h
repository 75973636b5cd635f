// SPDX-License-Identifier: Apache-2.0
//
// Finds the footer of a VHD that counts: the one at the end, or else the copy at the front.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/byte_source.h"
#include "image/vhd/footer.h"

namespace vmferry::image::vhd {

struct FoundFooter {
  Footer footer;
  /// Where the footer at the end begins; the file's end when there is none.
  std::uint64_t data_end_bytes = 0;
  /// What is wrong with one of the two, one sentence each.
  std::vector<std::string> defects;
};

/// Errors: those of ParseFooter, when neither can be used; those of the source.
Result<FoundFooter> FindFooter(const ByteSource& source);

}  // namespace vmferry::image::vhd
