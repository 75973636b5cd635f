// SPDX-License-Identifier: Apache-2.0
//
// Reads the input as the file of a hash tree. What is accepted can be written and read again.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/byte_reader.h"
#include "base/check.h"
#include "proof/hash_tree_file.h"

namespace {

using namespace vmferry;

Result<proof::HashTree> Parse(std::span<const std::byte> file) {
  return proof::ParseHashTree(
      [&](std::uint64_t offset_bytes, std::span<std::byte> out) -> Result<std::size_t> {
        const auto rest = file.subspan(std::min<std::size_t>(offset_bytes, file.size()));
        const std::size_t count = std::min(rest.size(), out.size());
        if (count > 0) std::memcpy(out.data(), rest.data(), count);
        return count;
      });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto tree = Parse(std::as_bytes(std::span(data, size)));
  if (!tree) return 0;
  std::string text;
  VMFERRY_CHECK(proof::PrintHashTree(*tree, [&](std::string_view line) {
                  text += line;
                  return Result<void>();
                }).has_value());
  const auto again = Parse(AsBytes(text));
  VMFERRY_CHECK(again.has_value() && *again == *tree);
  return 0;
}
