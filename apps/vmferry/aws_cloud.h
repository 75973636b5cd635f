// SPDX-License-Identifier: Apache-2.0
//
// AwsCloud: the clients of one account in one region, over libcurl.

#pragma once

#include <memory>

#include "aws/core/caller.h"
#include "http/curl_client.h"
#include "migration/cloud.h"

namespace vmferry::app {

class AwsCloud final : public migration::Cloud {
 public:
  struct Behaviour {
    bool may_edit_disks = true;
    std::chrono::milliseconds poll_interval{10'000};
    std::chrono::milliseconds quiet_limit = std::chrono::hours(3);
  };

  /// Borrows clock, random and log.
  AwsCloud(sys::Clock& clock, sys::Random& random, Log& log, aws::Config config,
           Behaviour behaviour)
      : behaviour_(behaviour),
        region_(config.region),
        http_(clock, {.ca_file = config.ca_file}),
        caller_(http_, clock, random, log, std::move(config)),
        s3_(caller_),
        ec2_(caller_),
        ebs_(caller_),
        sts_(caller_) {}

  aws::s3::Client& s3() override { return s3_; }
  aws::ec2::Client& ec2() override { return ec2_; }
  aws::ebs::Client& ebs() override { return ebs_; }
  aws::sts::Client& sts() override { return sts_; }
  const std::string& region() const override { return region_; }
  bool MayEditDisks() const override { return behaviour_.may_edit_disks; }
  std::chrono::milliseconds PollInterval() const override { return behaviour_.poll_interval; }
  std::chrono::milliseconds QuietLimit() const override { return behaviour_.quiet_limit; }

 private:
  const Behaviour behaviour_;
  const std::string region_;
  http::CurlClient http_;
  aws::Caller caller_;
  aws::s3::Client s3_;
  aws::ec2::Client ec2_;
  aws::ebs::Client ebs_;
  aws::sts::Client sts_;
};

}  // namespace vmferry::app
