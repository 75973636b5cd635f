// SPDX-License-Identifier: Apache-2.0
//
// Importer::Job: a task and what its worker remembers between steps; private to importer*.cc.

#pragma once

#include <optional>

#include "region/import/importer.h"

namespace vmferry::region {

struct Importer::Job {
  // Guarded by the importer's mutex.
  ConversionTask task;
  bool recorded = false;  ///< in the database; not shown and not run before

  // The worker's own.
  std::optional<Manifest> manifest;
  std::size_t parts_done = 0;
  std::uint64_t bytes_done = 0;
  bool part_begun = false;  ///< something may lie already where the next part goes
};

}  // namespace vmferry::region
