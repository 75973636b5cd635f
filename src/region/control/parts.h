// SPDX-License-Identifier: Apache-2.0
//
// Parts: all services and components of a region, put together in parts.cc. The one place that
// knows them all.

#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "region/core/context.h"
#include "region/core/service.h"
#include "text/json.h"

namespace vmferry::region::control {

/// An administrative action, by name: "CorruptVolume". Called from any thread.
using AdminAction = std::function<Result<text::Json>(const text::Json& parameters)>;

class Parts {
 public:
  virtual ~Parts() = default;
  virtual std::vector<Service*> Services() = 0;
  /// In the order of their Start; stopped in reverse.
  virtual std::vector<Component*> Components() = 0;
  virtual std::map<std::string, AdminAction> AdminActions() = 0;
};

/// Opens everything. The context outlives the parts.
Result<std::unique_ptr<Parts>> OpenParts(Context& context);

}  // namespace vmferry::region::control
