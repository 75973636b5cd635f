// SPDX-License-Identifier: Apache-2.0
//
// FakeAwsCaller: an aws::Caller on a fake network, clock and random source.
//
// When VMFERRY_REQUEST_DUMP names a file, every request sent is appended to it as a line of JSON;
// tests/interop/aws_requests_test.py holds them against botocore's API models and signer.
//
// Header only: link aws_core where it is used.

#pragma once

#include <cstdlib>
#include <fstream>

#include "aws/core/caller.h"
#include "testing/fake_clock.h"
#include "testing/fake_http_client.h"
#include "testing/fake_random.h"
#include "text/json.h"

namespace vmferry::testing {

struct FakeAwsCaller {
  /// All services under one address; "" for AWS's own endpoints.
  explicit FakeAwsCaller(std::string_view endpoint = "http://127.0.0.1:8014",
                         std::string_view region = "us-east-1", aws::RetryPolicy retry = {})
      : caller(http, clock, random, log, MakeConfig(endpoint, region), retry) {}

  ~FakeAwsCaller() {
    const char* path = std::getenv("VMFERRY_REQUEST_DUMP");  // NOLINT(concurrency-mt-unsafe)
    if (path == nullptr) return;
    std::ofstream file(path, std::ios::app);
    for (const FakeHttpClient::Sent& sent : http.sent()) file << Describe(sent).Dump() << "\n";
  }
  FakeAwsCaller(const FakeAwsCaller&) = delete;
  FakeAwsCaller& operator=(const FakeAwsCaller&) = delete;

  static text::Json Describe(const FakeHttpClient::Sent& sent) {
    text::Json headers = text::Json::MakeObject();
    for (const auto& [name, value] : sent.headers.fields()) headers.Set(name, value);
    text::Json request = text::Json::MakeObject();
    request.Set("method", sent.method).Set("scheme", sent.url.scheme).Set("path", sent.url.path);
    request.Set("query", sent.url.query).Set("headers", headers).Set("body", sent.body);
    return request;
  }

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
