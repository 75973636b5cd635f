// SPDX-License-Identifier: Apache-2.0
#include "cloud_factory.h"

#include "region/core/credentials.h"

namespace vmferry::app {

Result<aws::Config> LocalConfig(const cli::RegionView& region) {
  VMFERRY_ASSIGN_OR_RETURN(region::RegionCredentials keys, region::LoadCredentials(region.folder));
  VMFERRY_ASSIGN_OR_RETURN(const http::Url url, http::ParseUrl(region.endpoint));
  VMFERRY_ASSIGN_OR_RETURN(aws::Endpoints endpoints,
                           aws::Endpoints::Single(region.region_name, url));
  return aws::Config{.region = region.region_name,
                     .credentials = {.access_key_id = std::move(keys.access_key_id),
                                     .secret_access_key = std::move(keys.secret_access_key)},
                     .credentials_source = "the embedded region",
                     .endpoints = std::move(endpoints),
                     .ca_file = ""};
}

Result<std::unique_ptr<migration::Cloud>> ProductClouds::Open(
    const migration::CloudRequest& request, const OpContext& context) {
  if (request.to == "local") return OpenLocal(request.start_region, context);
  aws::ConfigRequest wanted;
  if (!request.profile.empty()) wanted.profile = request.profile;
  if (!request.region.empty()) wanted.region = request.region;
  VMFERRY_ASSIGN_OR_RETURN(aws::Config config,
                           aws::LoadConfig(environment_, folders_.home, wanted));
  return std::unique_ptr<migration::Cloud>(
      std::make_unique<AwsCloud>(clock_, random_, log_, std::move(config), AwsCloud::Behaviour{}));
}

Result<std::unique_ptr<migration::Cloud>> ProductClouds::OpenLocal(bool start,
                                                                   const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const cli::RegionView region,
                           start ? region_.Start({}, context) : region_.Status({}));
  if (!region.running) {
    return Error(ErrorCode::kFailedPrecondition, "region.not_running",
                 "the embedded region does not run")
        .WithRemedy("vmferry region start");
  }
  if (region.started_now) {
    say_("started the embedded region at " + region.endpoint + " (vmferry region stop ends it)");
  }
  VMFERRY_ASSIGN_OR_RETURN(aws::Config config, LocalConfig(region));
  return std::unique_ptr<migration::Cloud>(std::make_unique<AwsCloud>(
      clock_, random_, log_, std::move(config),
      AwsCloud::Behaviour{.may_edit_disks = false,
                          .poll_interval = std::chrono::milliseconds(500),
                          .quiet_limit = std::chrono::minutes(15)}));
}

}  // namespace vmferry::app
