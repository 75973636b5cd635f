// SPDX-License-Identifier: Apache-2.0
//
// FakeAwsCaller: an aws::Caller on a fake network, clock and random source.
//
// Header only: link aws_core where it is used.

#pragma once

#include "aws/core/caller.h"
#include "testing/fake_clock.h"
#include "testing/fake_http_client.h"
#include "testing/fake_random.h"

namespace vmferry::testing {

struct FakeAwsCaller {
  /// All services under one address; "" for AWS's own endpoints.
  explicit FakeAwsCaller(std::string_view endpoint = "http://127.0.0.1:8014",
                         std::string_view region = "us-east-1", aws::RetryPolicy retry = {})
      : caller(http, clock, random, log, MakeConfig(endpoint, region), retry) {}

  static aws::Config MakeConfig(std::string_view endpoint, std::string_view region) {
    aws::Config config;
    config.region = region;
    config.credentials.access_key_id = "AKIAIOSFODNN7EXAMPLE";
    config.credentials.secret_access_key = Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    config.endpoints = endpoint.empty()
                           ? *aws::Endpoints::ForRegion(region)
                           : *aws::Endpoints::Single(region, *http::ParseUrl(endpoint));
    return config;
  }

  FakeHttpClient http;
  FakeClock clock;
  FakeRandom random{1};
  NullLog log;
  aws::Caller caller;
  OpContext context;
};

}  // namespace vmferry::testing
