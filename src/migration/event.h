// SPDX-License-Identifier: Apache-2.0
//
// Events and progress: what a running migration tells whoever watches.
//
// Thread safety: an EventSink's methods may be called from any thread.

#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "migration/step.h"

namespace vmferry::migration {

/// Something happened. Facts become members of the JSON form.
struct Event {
  std::string name;  ///< "migration.started", "step.started", "step.done", "note"...
  std::string migration_id;
  std::string text;  ///< one sentence for people
  std::vector<std::pair<std::string, std::string>> facts;
};

/// Where the present step stands. Sampled by the renderer; counts what is completed.
struct Progress {
  std::string migration_id;
  Step step = Step::kAssess;
  std::string disk;  ///< the source's file name
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;  ///< 0 while unknown or when bytes are not what is counted
  std::string waiting_for;        ///< "upload", "conversion: Progress: 50%"
};

class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnEvent(const Event& event) = 0;
  virtual void OnProgress(const Progress& progress) = 0;
};

}  // namespace vmferry::migration
