// SPDX-License-Identifier: Apache-2.0
//
// PayloadSpool: receives one payload, in memory while it is small, then in a spool file, computing
// checksums on the way.
//
// Thread safety: one thread at a time.

#pragma once

#include <filesystem>
#include <optional>
#include <span>

#include "base/result.h"
#include "region/core/payload_digest.h"
#include "region/core/service.h"
#include "sys/file.h"

namespace vmferry::region {

class PayloadSpool {
 public:
  /// The file at `path` is made only when the payload outgrows `memory_bytes`.
  PayloadSpool(std::filesystem::path path, std::uint64_t memory_bytes)
      : path_(std::move(path)), memory_bytes_(memory_bytes) {}
  /// Removes the spool file if it is still there.
  ~PayloadSpool();
  PayloadSpool(const PayloadSpool&) = delete;
  PayloadSpool& operator=(const PayloadSpool&) = delete;

  /// To be asked before the first Write.
  void Want(ChecksumKind kind) { digester_.Want(kind); }
  /// Room for a payload of that size, when it is known.
  void Expect(std::uint64_t size_bytes);
  /// Errors: those of sys/file.h, kResourceExhausted io.no_space among them.
  Result<void> Write(std::span<const std::byte> data);
  /// The payload without trailers. Call once.
  Payload Finish();

 private:
  Result<void> Spill();

  const std::filesystem::path path_;
  const std::uint64_t memory_bytes_;
  std::optional<sys::File> file_;
  std::string memory_;
  std::uint64_t size_bytes_ = 0;
  PayloadDigester digester_;
};

}  // namespace vmferry::region
