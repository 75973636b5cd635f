// SPDX-License-Identifier: Apache-2.0
//
// Cloud: one account in one region with the clients a migration needs, AWS's or the embedded one.
//
// Made in apps/, where endpoints, credentials and the network are known.

#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "aws/ebs/client.h"
#include "aws/ec2/client.h"
#include "aws/s3/client.h"
#include "aws/sts/client.h"
#include "base/deadline.h"
#include "base/result.h"

namespace vmferry::migration {

class Cloud {
 public:
  virtual ~Cloud() = default;

  virtual aws::s3::Client& s3() = 0;
  virtual aws::ec2::Client& ec2() = 0;
  virtual aws::ebs::Client& ebs() = 0;
  virtual aws::sts::Client& sts() = 0;

  virtual const std::string& region() const = 0;
  /// The import service may change the disk (drivers, boot loader), as AWS does. The embedded
  /// region never does, so a difference there is a fault.
  virtual bool MayEditDisks() const = 0;
  /// Time between two looks at something that takes minutes.
  virtual std::chrono::milliseconds PollInterval() const = 0;
  /// A task that shows no change for this long counts as stalled. AWS's own tasks have been seen to
  /// rest for an hour.
  virtual std::chrono::milliseconds QuietLimit() const = 0;
};

struct CloudRequest {
  std::string to;      ///< "local" or "aws"
  std::string region;  ///< empty: as configured
  std::string profile;
  bool start_region = true;  ///< start the embedded region when none runs
};

class CloudFactory {
 public:
  virtual ~CloudFactory() = default;
  /// Opens the target; for "local" starts the embedded region when none runs, and says so.
  /// Errors: aws.no_credentials, aws.*, region.*; region.not_running when it may not be started.
  virtual Result<std::unique_ptr<Cloud>> Open(const CloudRequest& request,
                                              const OpContext& context) = 0;
};

}  // namespace vmferry::migration
