// SPDX-License-Identifier: Apache-2.0
//
// BlobStore: the bytes of objects and parts, one immutable file each, named by a random id.
//
// It knows no keys: those are in the database, which is the truth. A blob whose id no record names
// is an orphan of a crash and is swept at the next start. So the order is always: Put, commit the
// record; or commit its removal, Discard.
//
// Thread safety: all methods, from any thread; Sweep before any other.

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "region/core/service.h"
#include "sys/file.h"
#include "sys/random.h"

namespace vmferry::region {

class BlobStore {
 public:
  /// Makes the folders. `random` outlives this.
  static Result<std::unique_ptr<BlobStore>> Open(std::filesystem::path folder, sys::Random& random);

  /// Keeps the payload's bytes and returns their id. A spooled payload is moved, not copied.
  ///
  /// Post:   the bytes survive power loss.
  /// Errors: kResourceExhausted io.no_space; others of sys/file.h. Nothing is left behind.
  Result<std::string> Put(Payload& payload);
  /// The blobs one behind the other as a new blob; the given ones stay.
  Result<std::string> Join(std::span<const std::string> ids);
  /// A second name for the same bytes, which stay until both are discarded. Costs no copy.
  Result<std::string> Link(std::string_view id);
  /// `length_bytes` of a blob from `offset_bytes` as a new one.
  Result<std::string> Slice(std::string_view id, std::uint64_t offset_bytes,
                            std::uint64_t length_bytes);
  /// Errors: kNotFound io.not_found.
  Result<std::shared_ptr<const sys::File>> Read(std::string_view id) const;
  /// Removes the blob; readers that have it open go on. Failures leave an orphan for the sweep.
  void Discard(std::string_view id);
  /// Removes what is not named in `known`, and what was never finished. Returns how many.
  std::uint64_t Sweep(const std::unordered_set<std::string>& known);

 private:
  BlobStore(std::filesystem::path folder, sys::Random& random)
      : folder_(std::move(folder)), random_(random) {}

  std::filesystem::path PathOf(std::string_view id) const;
  Result<void> MoveIn(const std::filesystem::path& from, std::string_view id) const;

  const std::filesystem::path folder_;
  sys::Random& random_;
};

}  // namespace vmferry::region
