// SPDX-License-Identifier: Apache-2.0
//
// HashGuest: the hash tree of a source disk, kept in the journal while it grows.
//
// Leaves are stored in blobs of 4,096 as they are complete, so that a run cut off goes on with the
// first blob that is missing.

#pragma once

#include "proof/hash_disk.h"
#include "store/store.h"

namespace vmferry::transfer {

struct GuestHash {
  proof::Root root{};
  proof::BlockCounts counts;
};

/// Hashes the blocks whose leaves the store lacks, and computes the root over all of them.
///
/// Cost:   reads only blocks with data; two threads; memory of one blob.
/// Errors: those of proof::HashLeaves and of the store.
Result<GuestHash> HashGuest(const image::DiskImage& disk, std::uint64_t volume_bytes,
                            store::Store& store, std::string_view migration_id,
                            std::uint32_t disk_number, const OpContext& context);

/// All leaves of a disk from the store.
Result<proof::LeafSet> LoadLeaves(const store::Store& store, std::string_view migration_id,
                                  std::uint32_t disk_number);

}  // namespace vmferry::transfer
