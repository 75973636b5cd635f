// SPDX-License-Identifier: Apache-2.0
//
// Importer::Job: a task and what its worker remembers between steps; private to importer*.cc.

#pragma once

#include <optional>
#include <stop_token>

#include "region/import/importer.h"

namespace vmferry::region {

struct Importer::Job {
  // Guarded by the importer's mutex.
  ConversionTask task;
  bool recorded = false;  ///< in the database; not shown and not run before
  bool busy = false;      ///< a worker has it
  MonotonicTime next = {};

  // The worker's own while busy.
  std::chrono::milliseconds wait{0};
  std::optional<Manifest> manifest;
  std::size_t parts_done = 0;
  std::uint64_t bytes_done = 0;

  std::stop_source stop;
};

}  // namespace vmferry::region
