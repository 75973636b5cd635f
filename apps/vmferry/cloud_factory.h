// SPDX-License-Identifier: Apache-2.0
//
// ProductClouds: AWS as the environment configures it, or the embedded region, started when none
// runs.

#pragma once

#include <functional>

#include "aws_cloud.h"
#include "cli/world.h"

namespace vmferry::app {

class ProductClouds final : public migration::CloudFactory {
 public:
  /// Borrows everything; `say` is told what the user should know.
  ProductClouds(sys::Clock& clock, sys::Random& random, Log& log,
                const sys::Environment& environment, const sys::Folders& folders,
                cli::RegionControl& region, std::function<void(const std::string&)> say)
      : clock_(clock),
        random_(random),
        log_(log),
        environment_(environment),
        folders_(folders),
        region_(region),
        say_(std::move(say)) {}

  Result<std::unique_ptr<migration::Cloud>> Open(const migration::CloudRequest& request,
                                                 const OpContext& context) override;

 private:
  Result<std::unique_ptr<migration::Cloud>> OpenLocal(bool start, const OpContext& context);

  sys::Clock& clock_;
  sys::Random& random_;
  Log& log_;
  const sys::Environment& environment_;
  const sys::Folders& folders_;
  cli::RegionControl& region_;
  const std::function<void(const std::string&)> say_;
};

/// The configuration with which clients reach a running embedded region.
Result<aws::Config> LocalConfig(const cli::RegionView& region);

}  // namespace vmferry::app
